"""Migrations of the clusters app."""
