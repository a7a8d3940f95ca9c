"""What each kind of network computes, in NumPy alone, to be read, and to be written beside exported parameters."""
