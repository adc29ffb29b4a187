"""One real node, the cluster row that leads to it, and who may do all with it."""

from datetime import timedelta

import pytest

from dataplane.client.client import Client
from dataplane.client.local import LocalCluster
from portal.core import clock


@pytest.fixture(scope="module")
def nodes(tmp_path_factory):
    cluster = LocalCluster(tmp_path_factory.mktemp("nodes"), 1)
    cluster.start()
    with Client(cluster.urls, cluster.api_key) as client:
        deadline = clock.now() + timedelta(seconds=30)
        while not client.ready():
            assert clock.now() < deadline
    yield cluster
    cluster.kill()


@pytest.fixture
def cluster(nodes, in_acme):
    """The row of a cluster that really runs."""
    return cluster_row(nodes)


def cluster_row(nodes):
    """Write down a cluster that runs already."""
    from portal.clusters.models import Cluster, Node
    from portal.core.crypto import seal

    made = Cluster.objects.create(
        name="Things",
        slug="things",
        plan="free",
        region="local-1",
        status="running",
        desired_nodes=1,
        data_plane_id=nodes.cluster_id,
        admin_key=seal(nodes.api_key.encode()),
        created_by="alice@example.com",
        created_at=clock.now(),
        ready_at=clock.now(),
    )
    member = nodes.members[0]
    Node.objects.create(
        cluster=made,
        index=0,
        name="things-0",
        host=member.host,
        http_port=member.http_port,
        public_key=member.public_key,
        state="ready",
    )
    return made


@pytest.fixture
def client(nodes):
    with Client(nodes.urls, nodes.api_key) as made:
        yield made


@pytest.fixture
def access(alice, in_acme):
    from portal.access.permissions import ALL_PERMISSIONS
    from portal.access.types import Access

    return Access(user=alice, organization=in_acme, role="owner", role_permissions=ALL_PERMISSIONS)
