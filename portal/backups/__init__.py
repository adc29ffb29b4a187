"""Backups of clusters: taken, kept, thinned out, and restored."""
