"""One real node for all tests of the gateway; each test works in a collection of its own."""

import itertools
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from dataplane.client.keys import new_api_key
from dataplane.client.local import LocalCluster
from dataplane.gateways.auth import CALLING
from tests.processes.conftest import wait_ready

_numbers = itertools.count(1)


@pytest.fixture(autouse=True)
def nobody() -> Iterator[None]:
    """Let no test be taken for the caller whom one before it authenticated in the same thread."""
    token = CALLING.set(None)
    yield
    CALLING.reset(token)


@pytest.fixture(scope="session")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    cluster = LocalCluster(Path(tmp_path_factory.mktemp("node")), 1, grpc=True)
    cluster.start()
    wait_ready(cluster)
    yield cluster
    cluster.kill()


@pytest.fixture
def make_node(tmp_path: Path):
    """Start another node, of a cluster of its own."""
    made: list[LocalCluster] = []

    def make() -> LocalCluster:
        cluster = LocalCluster(tmp_path / f"node-{len(made)}", 1)
        made.append(cluster)
        cluster.start()
        wait_ready(cluster)
        return cluster

    yield make
    for cluster in made:
        cluster.kill()


@pytest.fixture
def api(node: LocalCluster) -> Iterator[httpx.Client]:
    headers = {"Authorization": f"Bearer {node.api_key}"}
    with httpx.Client(
        base_url=f"{node.urls[0]}/api/v1", headers=headers, trust_env=False, timeout=20
    ) as client:
        yield client


@pytest.fixture
def collection() -> str:
    return f"things-{next(_numbers)}"


@pytest.fixture
def documents(collection: str) -> str:
    return f"/collections/{collection}/documents"


@pytest.fixture
def make_key(api: httpx.Client):
    """Make a key with the given scopes; return the headers that use it, and its id."""

    def make(*scopes: str, **options: object) -> tuple[dict[str, str], str]:
        key = new_api_key()
        body = {"name": "test", "hash": key.hash, "scopes": list(scopes), **options}
        assert api.put(f"/keys/{key.id}", json=body).status_code == 201
        return {"Authorization": f"Bearer {key.token}"}, key.id

    return make


def problem(response: httpx.Response, status: int, code: str) -> dict[str, object]:
    """Check a refusal and return its body."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    body = response.json()
    assert body["code"] == code
    assert body["status"] == status
    assert {"type", "title", "detail", "instance"} <= set(body)
    return body
