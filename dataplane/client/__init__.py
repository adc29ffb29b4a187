"""The door to a cluster, for users and for the portal."""

from dataplane.client.aio import AsyncClient
from dataplane.client.client import Client
from dataplane.client.errors import ApiError, ClientError, ClusterUnreachableError, SpecError

__all__ = [
    "ApiError",
    "AsyncClient",
    "Client",
    "ClientError",
    "ClusterUnreachableError",
    "SpecError",
]
