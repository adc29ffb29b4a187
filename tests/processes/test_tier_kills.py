"""Documents that move between tiers while their only node is killed are all there afterwards."""

import httpx
import pytest

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
