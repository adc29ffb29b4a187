"""The database engine: one schema and one role for each organization."""
