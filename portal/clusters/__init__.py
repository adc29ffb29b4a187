"""Clusters: what customers want, what is there, and the operations that bring the two together."""
