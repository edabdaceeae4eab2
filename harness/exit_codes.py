"""Exit codes of the command line."""

OK = 0
INVALID_INPUT = 2
FAILED_UNITS = 3
"""The command finished, but some units have a record with the status "failed"."""
INTERRUPTED = 130
