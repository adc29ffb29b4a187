"""The root of the HTTP API; assembles, decides nothing."""
