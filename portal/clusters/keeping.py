"""The keys of clusters: where they are kept, how they change, and what shows that they are gone.

The portal never holds a cluster's key: it has the provider make one, and keeps it as the provider
wrapped it.
"""

from pathlib import Path
from typing import Final

from django.conf import settings

from dataplane.client.key_providers import cluster_key_make, provider_of
from dataplane.client.spec import FileKeySpec, TransitKeySpec
from portal.clusters.models import Cluster
from portal.core.errors import Invalid

ALGORITHMS: Final = ("aes-256-gcm", "chacha20-poly1305", "xchacha20-poly1305")
ALGORITHM_DEFAULT: Final = ALGORITHMS[0]
PLAIN: Final = "none"


def provider_spec(cluster: Cluster) -> FileKeySpec | TransitKeySpec:
    """Return where the key-encryption key of a cluster is."""
    name = f"aerolith-{cluster.data_plane_id}"
    if settings.KEY_SERVER_URL:
        return TransitKeySpec(
            settings.KEY_SERVER_URL,
            name,
            settings.KEY_SERVER_TOKEN_FILE,
            settings.KEY_SERVER_MOUNT,
            settings.KEY_SERVER_CA_FILE or None,
        )
    # Beside the nodes' files and not among them: a copy of those is no copy of the key.
    return FileKeySpec(str(Path(settings.AEROLITH_HOME) / "keys" / f"{name}.key"))


def provider_reference(cluster: Cluster) -> str:
    """Name the key-encryption key for people."""
    return provider_of(provider_spec(cluster)).reference


def algorithm_checked(algorithm: str) -> str:
    """Return the algorithm as it is stored; nothing for a plain cluster.

    Raises:
        Invalid: there is no such algorithm.
    """
    if algorithm == PLAIN:
        return ""
    if algorithm not in ALGORITHMS:
        detail = f"One of {', '.join((*ALGORITHMS, PLAIN))}."
        raise Invalid(errors=[{"pointer": "/encryption", "detail": detail}])
    return algorithm


def cluster_key_ensure(cluster: Cluster) -> None:
    """Have the key of an encrypted cluster made, once.

    Raises:
        KeyProviderError: the provider cannot be reached or refuses.
    """
    if cluster.encryption and not cluster.wrapped_key:
        cluster.wrapped_key = cluster_key_make(provider_spec(cluster), cluster.data_plane_id)
        cluster.save(update_fields=["wrapped_key"])


def cluster_key_destroy(cluster: Cluster) -> None:
    """Destroy the key of a cluster: from here on nobody can read what its nodes stored.

    Raises:
        KeyProviderError: it may still be there.
    """
    if cluster.wrapped_key:
        provider_of(provider_spec(cluster)).destroy()
