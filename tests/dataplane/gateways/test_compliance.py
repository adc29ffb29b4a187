"""Compliance modes over HTTP, with a control plane that signs."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from dataplane.client import Client
from dataplane.client.local import LocalCluster
from dataplane.client.membership import modes_put
from tests.dataplane.gateways.conftest import problem
from tests.processes.conftest import wait_ready


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    """A node of its own: modes would get in the way of the other tests."""
    cluster = LocalCluster(Path(tmp_path_factory.mktemp("modes")), 1)
    cluster.start()
    wait_ready(cluster)
    yield cluster
    cluster.kill()


@pytest.fixture
def api(own) -> Iterator[httpx.Client]:
    headers = {"Authorization": f"Bearer {own.api_key}"}
    with httpx.Client(
        base_url=f"{own.urls[0]}/api/v1", headers=headers, trust_env=False, timeout=20
    ) as client:
        yield client


def test_a_dry_run_says_what_would_change_and_changes_nothing(api):
    asked = {"modes": ["sox"], "dry_run": True}
    found = api.put("/compliance", json=asked).json()
    assert {"setting": "level", "from": "basic", "to": "full"} in found["changes"]
    assert found["keys_that_live_longer"], "the key of this test has no end"
    assert api.get("/compliance").json()["modes"] == []


def test_a_mode_that_needs_encryption_is_refused_where_there_is_none(api):
    body = problem(api.put("/compliance", json={"modes": ["hipaa"]}), 409, "compliance_hipaa")
    assert "encrypt" in str(body["detail"])
    problem(api.put("/compliance", json={"modes": ["iso"]}), 422, "invalid")


def test_a_mode_holds_until_the_control_plane_signs_its_end(api, own):
    on = api.put("/compliance", json={"modes": ["sox"]}).json()
    assert on["modes"] == ["sox"]
    problem(api.put("/audit", json={"level": "basic"}), 409, "compliance_sox")
    key = {"name": "x", "hash": "00" * 32, "scopes": ["cluster:read"]}
    problem(api.put("/keys/abc", json=key), 409, "compliance_sox")
    api.put("/collections/kept/documents/a", json={"at": 1})
    problem(api.put("/collections/kept", json={"ttl": 0}), 409, "compliance_sox")
    soon = {"fields": {"at": 1}, "expire_after_s": 0}
    problem(api.put("/collections/kept/indexes/i", json=soon), 409, "compliance_sox")
    problem(api.delete("/collections/kept"), 409, "compliance_sox")
    problem(api.put("/audit", json={"retention_ms": 86_400_000}), 409, "compliance_sox")
    problem(api.put("/compliance", json={"modes": []}), 403, "forbidden")
    shown = api.get("/compliance").json()
    assert shown["catalogue"]["sox"]["is_on"]
    with Client(own.urls, own.api_key) as client:
        assert client.compliance()["revision"] == on["revision"]
        call = modes_put(own.cluster_id, revision=on["revision"], modes=[], seed=own._admin_seed)
        assert client.run(call)["modes"] == []
    assert api.put("/audit", json={"level": "basic"}).status_code == 200
