"""What a node does for its clients, whatever the protocol: authorize, order or read, answer."""
