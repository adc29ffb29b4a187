"""Clusters of real node processes, as `tests/processes` has them."""

from tests.processes.conftest import make_cluster

__all__ = ["make_cluster"]
