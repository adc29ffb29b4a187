"""Migrations of the alarm table in the public schema."""
