"""WebSocket: requests and streams as JSON frames over one connection."""
