"""The command line's modes, their flags and its help."""
