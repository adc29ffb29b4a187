"""Watching experiments: what nodes refuse, whether clients are served, whether roots are equal."""
