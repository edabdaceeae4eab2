"""Writers of description files for other tools."""
