"""What a node tells of its tiers, and that every protocol finds what is cold."""

import json

import grpc
import httpx
import pytest

from dataplane.gateways.rpc.pb import aerolith_pb2 as pb
from dataplane.gateways.rpc.pb import aerolith_pb2_grpc as stubs
from tests.dataplane.gateways.test_tiering import TEXT, cold, until_cold
from tests.dataplane.gateways.test_websocket import opened

__all__ = ["cold"]


def metrics(node) -> dict[str, float]:
    """Return the values of the metrics page by name and labels."""
    page = httpx.get(f"{node.urls[0]}/metrics", trust_env=False).text
    lines = [line for line in page.splitlines() if not line.startswith("#")]
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines)}


def plan_of(api, path, body):
    answer = api.post(path, json=body | {"explain": True})
    assert answer.status_code == 200, answer.text
    return answer.json()["plan"]


def test_a_plan_tells_from_which_tiers_the_documents_came(api, cold):
    put = api.put(f"{cold}/documents/hot", json={"n": 100, "text": TEXT})
    assert put.status_code == 201
    plan = plan_of(api, f"{cold}/query", {"sort": {"n": -1}, "limit": 5})
    assert plan["tiers"] == {"memory": 0, "ssd": 1, "distributed": 10, "archive": 0}
    assert plan["segments"]["needed"] >= 1
    assert plan["segments"]["needed"] >= plan["segments"]["fetched"]
    assert (plan["segments"]["wait_ms"] > 0) or not plan["segments"]["fetched"]

    again = plan_of(api, f"{cold}/query", {"sort": {"n": -1}, "limit": 5})
    assert again["tiers"]["memory"] == 5
    assert again["tiers"]["distributed"] == 10
    assert again["segments"]["fetched"] == 0, "the segments are in memory by now"

    pipeline = [{"$group": {"_id": None, "sum": {"$sum": "$n"}}}]
    summed = plan_of(api, f"{cold}/aggregate", {"pipeline": pipeline})
    assert summed["tiers"] == {"memory": 0, "ssd": 1, "distributed": 10, "archive": 0}
    assert summed["segments"]["needed"] == again["segments"]["needed"]


def test_a_plan_of_a_collection_without_tiers_tells_that_nothing_was_fetched(api, collection):
    path = f"/collections/{collection}"
    api.put(f"{path}/documents/a", json={"n": 1})
    plan = plan_of(api, f"{path}/query", {})
    assert plan["tiers"] == {"memory": 0, "ssd": 1, "distributed": 0, "archive": 0}
    assert plan["segments"] == {"needed": 0, "fetched": 0, "wait_ms": 0}
    assert plan_of(api, f"{path}/query", {})["tiers"]["memory"] == 1


def test_what_is_read_again_comes_from_memory_and_is_the_same(api, node, collection):
    path = f"/collections/{collection}/documents/a"
    api.put(path, json={"n": 1, "deep": {"e": 1e16, "i": 2**62, "u": "å", "none": None}})
    before = metrics(node)["aerolith_memory_tier_hits_total"]
    first, second = api.get(path), api.get(path)
    assert first.text == second.text
    assert first.headers["etag"] == second.headers["etag"]
    assert metrics(node)["aerolith_memory_tier_hits_total"] == before + 1
    with opened(node, {"Authorization": f"Bearer {node.api_key}"}) as socket:
        frame = {"type": "get", "id": 2, "collection": collection, "document_id": "a"}
        socket.send(json.dumps(frame))
        assert json.loads(socket.recv(timeout=20))["body"] == first.json()
    api.put(path, json={"n": 2})
    assert api.get(path).json()["n"] == 2
    api.delete(path)
    assert api.get(path).status_code == 404


def test_the_totals_tell_what_is_in_each_tier(api, cold):
    api.get(f"{cold}/documents/d1")
    until_cold(api, cold, 9)
    api.get(f"{cold}/documents/d1")
    stats = api.get("/stats").json()
    tiers = stats["tiers"]
    assert list(tiers) == ["memory", "ssd", "distributed", "archive"]
    assert tiers["distributed"]["documents"] >= 9
    assert {name: tiers[name]["bytes"] for name in stats["bytes"]} == stats["bytes"]
    memory = tiers["memory"]
    assert memory["documents"] >= 1
    assert 0 < memory["bytes"] <= memory["limit"]
    assert memory["hit_rate"] == round(memory["hits"] / (memory["hits"] + memory["misses"]), 4)
    assert {"bytes", "limit", "hits", "misses", "hit_rate"} == set(tiers["ssd"]["cache"])
    assert tiers["ssd"]["cache"]["limit"] > 0
    shown = until_cold(api, cold, 9)["tiers"]
    assert shown["memory"]["documents"] == 1
    assert shown["memory"]["bytes"] > len(TEXT)


def test_the_metrics_page_tells_of_tiers_and_of_fetching(api, node, cold):
    before = metrics(node)
    assert before["aerolith_documents_sealed_total"] >= 10
    assert before["aerolith_segments_sealed_total"] >= 1
    assert before['aerolith_tier_documents{tier="distributed"}'] >= 10
    api.get(f"{cold}/documents/d7")
    until_cold(api, cold, 9)
    after = metrics(node)
    warmed = "aerolith_documents_warmed_total"
    assert after[warmed] == before[warmed] + 1
    reads = [f'aerolith_segment_reads_total{{outcome="{end}"}}' for end in ("known", "fetched")]
    assert sum(after[name] for name in reads) > sum(before[name] for name in reads)
    assert after["aerolith_segment_cache_hits_total"] >= after[reads[0]]
    assert after["aerolith_segment_cache_segments"] >= 1
    count = after['aerolith_segment_fetch_seconds_count{tier="distributed"}']
    assert after['aerolith_segment_fetch_seconds_bucket{tier="distributed",le="+Inf"}'] == count
    ends = [f'aerolith_segment_reads_total{{outcome="{n}"}}' for n in ("fetched", "gone", "failed")]
    assert count == sum(after[name] for name in ends)


def test_calls_of_grpc_find_cold_documents(node, cold):
    name = cold.rsplit("/", 1)[1]
    metadata = (("authorization", f"Bearer {node.api_key}"),)
    with grpc.insecure_channel(f"127.0.0.1:{node.grpc_ports[0]}") as channel:
        data = stubs.DataServiceStub(channel)
        asked = pb.QueryRequest(collection=name, body_json=b'{"filter":{"n":{"$gte":8}}}')
        pages = list(data.Query(asked, metadata=metadata, timeout=20))
        found = [json.loads(text) for page in pages for text in page.documents_json]
        assert [(each["_id"], each["text"]) for each in found] == [("d8", TEXT), ("d9", TEXT)]
        one = data.Get(pb.GetRequest(collection=name, id="d2"), metadata=metadata, timeout=20)
        assert (one.id, one.version, json.loads(one.json)) == (
            "d2",
            1,
            {"n": 2, "text": TEXT, "who": "p"},
        )


def test_fields_of_graphql_find_cold_documents(node, cold):
    name = cold.rsplit("/", 1)[1]
    query = """query ($c: String!, $f: JSON) {
      one: document(collection: $c, id: "d3") { id version data }
      many: documents(collection: $c, filter: $f) { documents { id data } } }"""
    answer = httpx.post(
        f"{node.urls[0]}/graphql",
        json={"query": query, "variables": {"c": name, "f": {"n": {"$gte": 8}}}},
        headers={"Authorization": f"Bearer {node.api_key}"},
        trust_env=False,
        timeout=20,
    ).json()
    assert "errors" not in answer, answer
    assert answer["data"]["one"]["data"] == {"n": 3, "text": TEXT, "who": "p"}
    many = answer["data"]["many"]["documents"]
    assert [(each["id"], each["data"]["text"]) for each in many] == [("d8", TEXT), ("d9", TEXT)]


@pytest.mark.parametrize("protocol", ["rest", "graphql"])
def test_a_collection_tells_its_policy_and_its_tiers(api, node, cold, protocol):
    name = cold.rsplit("/", 1)[1]
    if protocol == "rest":
        found = until_cold(api, cold, 10)
    else:
        answer = httpx.post(
            f"{node.urls[0]}/graphql",
            json={"query": "{ collections { name documents options tiers } }"},
            headers={"Authorization": f"Bearer {node.api_key}"},
            trust_env=False,
        ).json()
        found = next(each for each in answer["data"]["collections"] if each["name"] == name)
    assert found["options"]["tiering"] == {"cold_after_s": 3600}
    assert found["tiers"]["distributed"]["documents"] == 10
