"""Migrations of the metering tables in each organization's schema."""
