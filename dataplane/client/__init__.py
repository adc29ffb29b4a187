"""The door to a cluster, for users and for the portal."""
