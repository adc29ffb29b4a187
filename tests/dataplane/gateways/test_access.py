"""Keys, scopes, limits and what the node says of itself, against a real node."""

import time

import httpx
import pytest

from dataplane.client import Client
from dataplane.client.keys import new_api_key
from dataplane.client.local import LocalCluster
from dataplane.gateways.errors import TITLES, problem_of
from tests.dataplane.gateways.conftest import problem
from tests.processes.conftest import wait_for, wait_ready


@pytest.mark.parametrize(
    "value",
    [None, "", "Bearer", "Bearer nonsense", "Bearer adk_0000_wrong", "Basic YTpi", "Bearer adk__"],
)
def test_a_missing_or_wrong_token_is_unauthenticated(node, value):
    headers = {} if value is None else {"Authorization": value}
    answer = httpx.get(f"{node.urls[0]}/api/v1/collections", headers=headers)
    problem(answer, 401, "unauthenticated")
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")


def test_a_wrong_secret_under_a_right_id_is_unauthenticated(node):
    key_id = node.api_key.split("_")[1]
    headers = {"Authorization": f"Bearer adk_{key_id}_{'x' * 32}"}
    problem(httpx.get(f"{node.urls[0]}/api/v1/stats", headers=headers), 401, "unauthenticated")


def test_scopes_and_patterns_bound_what_a_key_may_do(api, make_key):
    reader, _ = make_key("documents:read", collections=["logs-*"])
    api.put("/collections/logs-a/documents/x", json={})
    api.put("/collections/secret/documents/x", json={})
    assert api.get("/collections/logs-a/documents/x", headers=reader).status_code == 200
    refused = [
        api.get("/collections/secret/documents/x", headers=reader),
        api.put("/collections/logs-a/documents/x", json={}, headers=reader),
        api.post("/collections/logs-a/bulk", json={"operations": [{}]}, headers=reader),
        api.post("/collections/secret/query", json={}, headers=reader),
        api.delete("/collections/logs-a", headers=reader),
        api.get("/stats", headers=reader),
        api.get("/nodes/status", headers=reader),
        api.get("/keys", headers=reader),
        api.put("/quota", json={}, headers=reader),
    ]
    for answer in refused:
        problem(answer, 403, "forbidden")
    names = [c["name"] for c in api.get("/collections", headers=reader).json()["collections"]]
    assert "logs-a" in names
    assert "secret" not in names


def test_a_revoked_key_stops_working_and_an_expired_one_never_works(api, make_key):
    headers, key_id = make_key("documents:read")
    assert api.get("/collections", headers=headers).status_code == 200
    assert api.delete(f"/keys/{key_id}").status_code == 204
    problem(api.get("/collections", headers=headers), 401, "unauthenticated")
    expired, _ = make_key("documents:read", expires_ms=1)
    problem(api.get("/collections", headers=expired), 401, "unauthenticated")


def test_keys_are_listed_without_hashes(api, make_key):
    _, key_id = make_key("documents:read")
    listed = next(key for key in api.get("/keys").json()["keys"] if key["id"] == key_id)
    assert set(listed) == {
        "id",
        "name",
        "scopes",
        "collections",
        "expires",
        "created",
        "requests_per_s",
        "kind",
    }


def test_unknown_paths_and_methods_are_told(api, collection):
    problem(api.get("/nothing"), 404, "not_found")
    problem(api.get("/collections/a/b/c/d"), 404, "not_found")
    answer = api.post("/stats")
    problem(answer, 405, "method_not_allowed")
    assert answer.headers["Allow"] == "GET"


def test_a_body_over_the_limit_is_refused_before_it_is_read(node):
    with httpx.Client(trust_env=False) as client:
        answer = client.post(
            f"{node.urls[0]}/api/v1/collections/a/bulk", content=b"x" * (16 * 1024 * 1024 + 1)
        )
    problem(answer, 413, "too_large")


def test_what_is_not_http_is_refused(node):
    import socket

    member = node.members[0]
    with socket.create_connection((member.host, member.http_port), timeout=10) as raw:
        raw.sendall(b"\x16\x03\x01 hello\r\n\r\n")
        assert raw.recv(4096).startswith(b"HTTP/1.1 400 ")
    with socket.create_connection((member.host, member.http_port), timeout=10) as raw:
        raw.sendall(b"GET / HTTP/1.1\r\nX: " + b"y" * 70_000)
        assert raw.recv(4096).startswith(b"HTTP/1.1 431 ")


def test_open_pages_need_no_key(node):
    url = node.urls[0]
    assert httpx.get(f"{url}/health").json() == {"status": "ok"}
    assert httpx.get(f"{url}/ready").json() == {"status": "ready"}
    assert "aerolith_batches_executed_total" in httpx.get(f"{url}/metrics").text
    assert httpx.get(f"{url}/openapi.json").json()["openapi"] == "3.1.0"
    page = httpx.get(f"{url}/docs")
    assert "text/html" in page.headers["content-type"]
    assert "default-src 'self'" in page.headers["content-security-policy"]
    for path in ("/docs/docs.js", "/docs/docs.css"):
        assert httpx.get(url + path).status_code == 200


def test_stats_and_nodes_speak_the_contract(api):
    stats = api.get("/stats").json()
    names = "documents bytes collections node_id role ready view sequence primary f quorum"
    for name in (*names.split(), "uptime_s", "version", "ops", "latency_ms", "calls", "storage"):
        assert name in stats, name
    nodes = api.get("/nodes/status").json()
    assert nodes["nodes"][0]["role"] == "primary"
    assert (nodes["f"], nodes["quorum"], nodes["crash_budget"]) == (0, 1, 0)


def test_spent_calls_are_refused_with_the_numbers_shown_but_deletes_go_on(tmp_path):
    cluster = LocalCluster(tmp_path, 1, calls_limit=5)
    cluster.start()
    try:
        wait_ready(cluster)
        headers = {"Authorization": f"Bearer {cluster.api_key}"}
        url = f"{cluster.urls[0]}/api/v1"
        document = f"{url}/collections/a/documents/x"
        for _ in range(5):
            assert httpx.put(document, json={}, headers=headers).is_success
        refused = httpx.put(document, json={}, headers=headers)
        body = problem(refused, 429, "quota_exceeded")
        assert (body["limit"], body["used"]) == (5, 5)
        assert int(refused.headers["Retry-After"]) > 0
        assert httpx.get(f"{url}/stats", headers=headers).json()["calls"]["used"] == 5
        assert httpx.delete(document, headers=headers).status_code == 204
        more = {"calls_limit": 100}
        assert httpx.put(f"{url}/quota", json=more, headers=headers).is_success
        assert httpx.put(document, json={}, headers=headers).is_success
        wait_for(
            lambda: httpx.get(f"{url}/stats", headers=headers).json()["calls"]["used"] == 7,
            "calls counted once, in the replicated total",
        )
    finally:
        cluster.kill()


def test_full_storage_is_507_and_deleting_cures_it(tmp_path):
    cluster = LocalCluster(tmp_path, 1, storage_limit_bytes=3_000)
    cluster.start()
    try:
        wait_ready(cluster)
        headers = {"Authorization": f"Bearer {cluster.api_key}"}
        url = f"{cluster.urls[0]}/api/v1/collections/a/documents"
        for name in ("x", "y"):
            body = {"text": "z" * 1_000}
            assert httpx.put(f"{url}/{name}", json=body, headers=headers).is_success
        full = httpx.put(f"{url}/z", json={"text": "z" * 1_500}, headers=headers)
        problem(full, 507, "storage_quota_exceeded")
        assert httpx.delete(f"{url}/x", headers=headers).status_code == 204
        assert httpx.put(f"{url}/z", json={"text": "z" * 1_500}, headers=headers).is_success
    finally:
        cluster.kill()


def test_the_client_fails_over_to_a_node_that_answers(node):
    dead = "http://127.0.0.1:9"
    with Client([dead, node.urls[0]], node.api_key) as client:
        began = time.monotonic()
        client.put("failover", "x", {"n": 1})
        assert client.get("failover", "x")["n"] == 1
        assert time.monotonic() - began < 30


def test_every_error_class_has_its_problem():
    from dataplane.documents.errors import STATUS, Refusal
    from dataplane.query.types import QueryError, QueryTooCostlyError
    from dataplane.replication import errors as replication

    for code, status in STATUS.items():
        assert TITLES[code][0] == status
        assert problem_of(Refusal(code, "x")).status == status
    assert problem_of(QueryError([("/a", "b")])).status == 422
    assert problem_of(QueryTooCostlyError([("/a", "b")])).status == 413
    expected = {
        replication.NoQuorumError: "no_quorum",
        replication.NotReadyError: "not_ready",
        replication.OverloadedError: "rate_limited",
    }
    for kind, code in expected.items():
        assert problem_of(kind("x")).code == code
    subclasses = set(replication.ReplicationError.__subclasses__())
    assert subclasses == set(expected), "an error class without a problem"
    assert problem_of(ValueError("x")) is None
    assert new_api_key().token.startswith("adk_")


def test_open_pages_take_no_writes(node):
    for path in ("/health", "/docs", "/openapi.json"):
        answer = httpx.post(node.urls[0] + path)
        problem(answer, 405, "method_not_allowed")
        assert answer.headers["Allow"] == "GET"


def test_a_repeated_revocation_under_one_key_has_the_first_outcome(api, make_key):
    _, key_id = make_key("documents:read")
    headers = {"Idempotency-Key": f"revoke-{key_id}"}
    assert api.delete(f"/keys/{key_id}", headers=headers).status_code == 204
    assert api.delete(f"/keys/{key_id}", headers=headers).status_code == 204
    problem(api.delete(f"/keys/{key_id}"), 404, "not_found")


def test_the_description_has_every_route_and_only_them(node):
    from dataplane.gateways.rest.app import NAMED, PLACED, PLAIN
    from dataplane.gateways.rest.pages import ASSETS, PAGES

    described = {
        (method.upper(), path)
        for path, methods in httpx.get(f"{node.urls[0]}/openapi.json").json()["paths"].items()
        for method in methods
    }
    tail = {"collections": "{c}", "erasures": "{id}", "keys": "{id}", "tombstones": "{number}"}
    routes = {(m, "/api/v1/" + "/".join(p)) for p, ms in PLAIN.items() for m in ms}
    for parts, methods in NAMED.items():
        path = "/".join((parts[0], tail[parts[0]], *parts[2:]))
        routes |= {(method, f"/api/v1/{path}") for method in methods}
    for part, placed in PLACED.items():
        kind, *asked = part.split("/")
        path = "/".join((kind, "{name}" if kind == "indexes" else "{id}", *asked))
        routes |= {(method, f"/api/v1/collections/{{c}}/{path}") for method in placed}
    routes |= {("GET", path) for path in set(PAGES) - set(ASSETS)}
    assert described - {("GET", "/openapi.json"), ("GET", "/docs")} == routes - {
        ("GET", "/openapi.json")
    }


def test_a_cluster_is_erased_only_by_who_repeats_its_id(api, node, make_key):
    wanted = {"subject": "a key"}
    problem(api.post("/tombstones", json=wanted), 422, "invalid")
    other = {**wanted, "cluster_id": "0" * 32}
    body = problem(api.post("/tombstones", json=other), 422, "invalid")
    assert body["errors"] == [{"pointer": "/cluster_id", "detail": "of another cluster"}]
    assert api.get("/tombstones").json()["results"] == []
    right = {**wanted, "cluster_id": node.anchor.cluster_id}
    writer, _ = make_key("documents:write", "collections:admin")
    problem(api.post("/tombstones", json=right, headers=writer), 403, "forbidden")
    assert api.post("/tombstones", json=right).status_code == 201
    (found,) = api.get("/tombstones").json()["results"]
    assert (found["kind"], found["name"]) == ("cluster", "a key")
