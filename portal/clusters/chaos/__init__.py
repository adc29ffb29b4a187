"""Breaking nodes on purpose: who may, for how long, and what was seen of it."""
