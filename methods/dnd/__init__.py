"""Describe-and-Dissect: crops, captions, a language model, synthetic images, selection."""
