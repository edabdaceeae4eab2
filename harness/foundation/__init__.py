"""Models that describe images or compare texts: small protocols and their implementations."""
