"""Readers of description files that other tools wrote."""
