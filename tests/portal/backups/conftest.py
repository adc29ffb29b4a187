"""A real S3 server, and clusters whose backups go there."""

import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from dataplane.client.local import free_ports
from tests.portal.clusters.conftest import access_of, tidy_nodes
from tests.portal.single import access, client, cluster, nodes

__all__ = ["access", "access_of", "client", "cluster", "nodes", "tidy_nodes"]

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
