"""Migrations of the monitoring tables in each organization's schema."""
