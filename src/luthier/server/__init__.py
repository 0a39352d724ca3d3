"""HTTP: one folder per wire, one way in, and no torch."""
