"""Promises of the protocol, checked from outside the replicas."""
