"""Ways to place nodes."""
