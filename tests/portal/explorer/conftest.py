"""A real node, and the cluster row that leads to it."""

from tests.portal.single import access, client, cluster, nodes

__all__ = ["access", "client", "cluster", "nodes"]
