"""A real S3 server, and clusters whose backups go there."""

from pathlib import Path

import pytest

from tests.portal.clusters.conftest import access_of, tidy_nodes
from tests.portal.single import access, client, cluster, nodes
from tests.s3_server import S3Server

__all__ = ["access", "access_of", "client", "cluster", "nodes", "tidy_nodes"]

BUCKET = "backups"


@pytest.fixture(scope="session")
def s3(tmp_path_factory) -> str:
    """The address of a real S3 server (SeaweedFS) with an empty bucket."""
    server = S3Server(tmp_path_factory.mktemp("s3"))
    server.start(BUCKET)
    yield server.url
    server.stop()


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
