"""Replicas that lie: one class an attack, between an honest core and the network."""
