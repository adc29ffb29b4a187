"""Clients of a cluster with the portal's own key."""

import msgspec

from dataplane.client.anchors import TrustAnchor
from dataplane.client.client import Client
from dataplane.client.errors import AnchorError, ClusterUnreachableError
from dataplane.client.provisioning import Authority
from portal.clusters.models import Cluster
from portal.core.crypto import unseal

TIMEOUT_S = 10.0


def admin_key(cluster: Cluster) -> str:
    """Return the portal's key of a cluster; never show it to anybody."""
    return unseal(bytes(cluster.admin_key)).decode()


def node_urls(cluster: Cluster) -> list[str]:
    """Return where the cluster's members answer."""
    return [node.url for node in cluster.members if node.http_port]


def grpc_addresses(cluster: Cluster) -> list[str]:
    """Return where the cluster's members speak gRPC."""
    return [node.grpc_address for node in cluster.members if node.grpc_port]


def authority_certificate(cluster: Cluster) -> bytes:
    """Return the certificate (PEM) that those of the cluster's nodes are checked with.

    Empty before the cluster has an authority.
    """
    if not cluster.authority:
        return b""
    return msgspec.json.decode(unseal(bytes(cluster.authority)), type=Authority).certificate_pem


def trust_anchor(cluster: Cluster) -> TrustAnchor | None:
    """Return whose signatures prove what the cluster holds; None before its nodes have keys."""
    keys = [(node.index, node.public_key) for node in cluster.members]
    try:
        return TrustAnchor.of_keys(cluster.data_plane_id, cluster.epoch, keys)
    except AnchorError:
        return None


def admin_client(cluster: Cluster, *, timeout_s: float = TIMEOUT_S) -> Client:
    """Return a client that tries every node of the cluster; use it as a context manager.

    Raises:
        ClusterUnreachableError: the cluster has no addresses yet, or its keys are gone.
    """
    urls = node_urls(cluster)
    if not urls or not cluster.admin_key:
        raise ClusterUnreachableError("the cluster has no nodes yet")
    # The portal's own word about the members stands above the nodes'.
    return Client(urls, admin_key(cluster), timeout_s=timeout_s, follow=False)
