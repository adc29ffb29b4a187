"""A real node for the clients that users install."""

import pytest

from dataplane.client.local import LocalCluster
from tests.processes.conftest import wait_ready


@pytest.fixture(scope="session")
def node(tmp_path_factory):
    cluster = LocalCluster(tmp_path_factory.mktemp("node"), 1)
    cluster.start()
    wait_ready(cluster)
    yield cluster
    cluster.kill()
