"""The engine of long work: states, steps, deadlines, resumption."""
