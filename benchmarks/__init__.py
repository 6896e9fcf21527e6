"""What produces every speed figure in the README."""
