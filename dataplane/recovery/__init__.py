"""Telling the state of a cluster at any sequence, from a backup and the batches after it."""
