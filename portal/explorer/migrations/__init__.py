"""Migrations of the explorer's tables in each organization's schema."""
