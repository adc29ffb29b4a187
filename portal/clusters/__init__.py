"""Clusters, their nodes and keys, and the operations that change them."""
