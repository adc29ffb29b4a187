"""A real S3 server, and clusters whose backups go there."""

import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path

import httpx
import pytest

from dataplane.client.client import Client
from dataplane.client.local import LocalCluster, free_ports
from portal.core import clock
from tests.portal.clusters.conftest import access_of, tidy_nodes

__all__ = ["access_of", "tidy_nodes"]

BUCKET = "backups"
SERVERS = ("master", "volume", "filer", "s3")


@pytest.fixture(scope="session")
def s3(tmp_path_factory) -> str:
    """The address of a real S3 server (SeaweedFS) with an empty bucket."""
    directory = tmp_path_factory.mktemp("s3")
    ports = iter(free_ports(2 * len(SERVERS)))
    named = {server: next(ports) for server in SERVERS}
    options = [f"-{server}.port={port}" for server, port in named.items()]
    options += [f"-{server}.port.grpc={next(ports)}" for server in SERVERS]
    command = [
        str(Path(sys.executable).with_name("weed")),
        "server",
        "-s3",
        "-ip=127.0.0.1",
        f"-dir={directory}",
        "-master.telemetry=false",
        "-master.volumeSizeLimitMB=64",
        "-s3.port.iceberg=0",
        "-s3.port.lance=0",
        *options,
    ]
    url = f"http://127.0.0.1:{named['s3']}"
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, cwd=directory)
    try:
        deadline = time.monotonic() + 60
        while not _makes_bucket(f"{url}/{BUCKET}"):
            assert time.monotonic() < deadline, (directory / "log").read_text()[-2000:]
            assert process.poll() is None, (directory / "log").read_text()[-2000:]
            time.sleep(0.2)
        yield url
    finally:
        process.kill()
        process.wait(20)


def _makes_bucket(url: str) -> bool:
    try:
        return httpx.put(url, timeout=5, trust_env=False).is_success
    except httpx.HTTPError:
        return False


@pytest.fixture
def s3_store(s3, settings) -> str:
    """Keep backups in the S3 server."""
    settings.BACKUP_STORE_URL = f"s3://{BUCKET}"
    settings.BACKUP_STORE_OPTIONS = {
        "endpoint": s3,
        "region": "us-east-1",
        "access_key_id": "any",
        "secret_access_key": "any",
    }
    return f"{s3}/{BUCKET}"


@pytest.fixture
def directory_store(settings, tmp_path) -> Path:
    """Keep backups in a directory."""
    settings.BACKUP_STORE_URL = (tmp_path / "backups").as_uri()
    settings.BACKUP_STORE_OPTIONS = {}
    settings.BACKUP_WORK_DIR = tmp_path / "work"
    return tmp_path / "backups"


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

    return Access(user=alice, organization=in_acme, role="owner", permissions=ALL_PERMISSIONS)
