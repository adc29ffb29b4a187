"""Metering: usage events of nodes, counted once, rolled up, and shown as usage and cost."""
