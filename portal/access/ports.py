"""What access asks of apps above it: the clusters that there are, by name."""

from collections.abc import Callable
from uuid import UUID

type ClusterNames = Callable[[], dict[UUID, str]]

_sources: list[ClusterNames] = []


def cluster_names_register(source: ClusterNames) -> None:
    """Have `source` say which clusters the organization in force has; called when Django is up."""
    _sources[:] = [source]


def cluster_names() -> dict[UUID, str]:
    """Return the clusters of the organization in force, in the recycle bin or not."""
    return {key: name for source in _sources for key, name in source().items()}
