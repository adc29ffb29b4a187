"""Drivers: how nodes are placed and run."""
