"""Durable storage: key-value engines and the write-ahead log."""
