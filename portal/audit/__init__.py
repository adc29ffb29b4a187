"""What was done, by whom, in order and provably unchanged."""
