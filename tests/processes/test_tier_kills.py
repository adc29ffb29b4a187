"""Documents that move between tiers while nodes are killed are all there; erased ones nowhere."""

from pathlib import Path

import httpx
import pytest
import zstandard

from dataplane.client.spec import load_spec
from dataplane.storage.engine import RocksStore
from dataplane.storage.fragments import FRAGMENT, unpack
from tests.processes.conftest import wait_for, wait_ready

TEXT = "x" * 300
COUNT = 40
PATH = "/collections/c"


def tiers(api: httpx.Client) -> dict[str, int]:
    """Return how many documents are where."""
    (found,) = api.get("/collections").json()["collections"]
    return {tier: held["documents"] for tier, held in found["tiers"].items()}


def fill(api: httpx.Client, number: int) -> dict[str, int]:
    """Write all documents with this number, and return what they have then."""
    documents = [
        {"op": "put", "id": f"d{n}", "document": {"n": number, "text": TEXT}} for n in range(COUNT)
    ]
    assert api.post(f"{PATH}/bulk", json={"operations": documents}).status_code == 200
    return {f"d{n}": number for n in range(COUNT)}


@pytest.fixture
def api(make_cluster):
    cluster = make_cluster(1)
    headers = {"Authorization": f"Bearer {cluster.api_key}"}
    url = f"{cluster.urls[0]}/api/v1"
    with httpx.Client(base_url=url, headers=headers, trust_env=False, timeout=20) as client:
        client.cluster = cluster
        assert client.put(PATH, json={"tiering": {"cold_after_s": 1}}).status_code == 201
        yield client


def killed(api: httpx.Client) -> None:
    api.cluster.kill()
    api.cluster.start()
    wait_ready(api.cluster)


def check(api: httpx.Client, expected: dict[str, int]) -> None:
    """Every document is what it was, read alone and with the others."""
    question = {"limit": 100, "consistency": "strong"}
    found = api.post(f"{PATH}/query", json=question).json()["documents"]
    assert {one["_id"]: one["n"] for one in found} == expected
    assert {one["text"] for one in found} <= {TEXT}
    for name, number in list(expected.items())[::7]:
        assert api.get(f"{PATH}/documents/{name}").json()["n"] == number


def test_a_kill_while_documents_become_cold_come_back_and_go_again_loses_none(api):
    expected = fill(api, 1)
    wait_for(lambda: tiers(api)["distributed"] > 0, "the first segment")
    killed(api)
    check(api, expected)
    wait_for(lambda: tiers(api)["distributed"] == COUNT, "all are cold again")
    for name in list(expected)[:30]:
        # Each is put back after its answer: some are on their way when the node dies.
        assert api.get(f"{PATH}/documents/{name}").json()["n"] == 1
    killed(api)
    check(api, expected)
    wait_for(lambda: tiers(api)["distributed"] == COUNT, "all are cold again")
    for name in list(expected)[:25]:
        assert api.delete(f"{PATH}/documents/{name}").status_code == 204
        del expected[name]
    killed(api)
    check(api, expected)
    wait_for(lambda: tiers(api)["distributed"] < 15, "the rest of the segment is put back")
    killed(api)
    check(api, expected)
    wait_for(lambda: tiers(api)["distributed"] == 15, "and becomes cold in another")
    check(api, expected)


def test_a_kill_in_the_middle_of_changes_of_cold_documents_keeps_what_was_acknowledged(api):
    expected = fill(api, 1)
    wait_for(lambda: tiers(api)["distributed"] == COUNT, "all are cold")
    kind = {"Content-Type": "application/vnd.aerolith.update+json"}
    for name in list(expected)[:20]:
        answer = api.patch(f"{PATH}/documents/{name}", content=b'{"$inc": {"n": 1}}', headers=kind)
        assert answer.json()["n"] == 2
        expected[name] = 2
        if len(name) == 3 and name.endswith(("2", "6")):
            killed(api)
    check(api, expected)
    assert api.delete(PATH).status_code == 204
    killed(api)
    wait_for(lambda: api.get("/stats").json()["bytes"]["distributed"] == 0, "nothing is left")


def held_by(cluster, index: int) -> bytes:
    """Return all that a stopped node keeps of segments."""
    store = RocksStore(Path(load_spec(cluster.specs[index]).data_dir) / "state")
    kept = [row for _, row in store.iterate(FRAGMENT)]
    store.close()
    lengths = [zstandard.frame_content_size(row[1:]) if row[:1] == b"\1" else 0 for row in kept]
    whole = [unpack(row, length or len(row) - 1) for row, length in zip(kept, lengths, strict=True)]
    return b"".join([fragment or b"" for fragment in whole])


def test_no_node_keeps_a_piece_of_what_a_person_was_erased_from(make_cluster):
    cluster = make_cluster(4)
    headers = {"Authorization": f"Bearer {cluster.api_key}"}
    url = f"{cluster.urls[0]}/api/v1"
    secret = "3f9a1c77e0b2465d8890fedcba0a5be1"
    pieces = [secret[:10].encode(), secret[11:21].encode(), secret[22:].encode()]
    with httpx.Client(base_url=url, headers=headers, trust_env=False, timeout=20) as api:
        options = {"tiering": {"cold_after_s": 1}, "subject": "who"}
        assert api.put(PATH, json=options).status_code == 201
        documents = [
            {"op": "put", "id": f"d{n}", "document": {"who": f"p{n % 2}", "text": 2 * secret}}
            for n in range(COUNT)
        ]
        assert api.post(f"{PATH}/bulk", json={"operations": documents}).status_code == 200
        wait_for(lambda: tiers(api)["distributed"] == COUNT, "all are cold")
        cluster.stop()
        shown = [held_by(cluster, index) for index in range(4)]
        assert any(piece in part for piece in pieces for part in shown), "pieces are in clear"
        cluster.start()
        wait_ready(cluster)
        for person in ("p0", "p1"):
            asked = {"subject": person}
            done: list[dict] = []

            def is_over(asked=asked, done=done) -> bool:
                answer = api.post("/subjects/erase", json=asked)
                assert answer.status_code in {200, 202}, answer.text
                asked["erasure"] = answer.json()["erasure"]
                done[:] = [answer.json()]
                return answer.status_code == 200

            wait_for(is_over, lambda done=done: f"the erasure is over: {done}")
            assert done[0]["removed"] == {"c": COUNT // 2}
    cluster.stop()
    for index in range(4):
        kept = held_by(cluster, index)
        assert not any(piece in kept for piece in pieces)
