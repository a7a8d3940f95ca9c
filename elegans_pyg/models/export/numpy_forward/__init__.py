"""Definitions of the networks in plain NumPy, to be read, and to be written beside exported parameters."""
