"""Keys, signatures and the TLS of the links between nodes."""
