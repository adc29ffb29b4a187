"""Mail that the portal sends."""
