"""Designs human studies: chooses units, orders descriptions, adds checks, computes power and cost."""
