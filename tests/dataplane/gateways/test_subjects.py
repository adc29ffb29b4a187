"""Persons over HTTP: all that is stored of one, and that it is gone, with a receipt."""

import json

import pytest

from dataplane.client import AsyncClient, Client, ProofError, verify_erasure
from dataplane.documents.erasing import STEP_BYTES_MAX
from dataplane.gateways.services import subjects
from tests.dataplane.gateways.conftest import problem


@pytest.fixture
def stored(api, collection):
    """Two collections that name persons, with documents of Ada and of Bob."""
    names = [collection, f"{collection}-b"]
    for name in names:
        api.put(f"/collections/{name}", json={"subject": "person.id"})
        for number in range(5):
            who = "ada" if number % 2 else "bob"
            body = {"person": {"id": f"{who}-{collection}"}, "n": number}
            api.put(f"/collections/{name}/documents/d{number}", json=body)
    yield names
    for name in names:
        # Dropping them would raise the first version of whatever other tests make.
        api.put(f"/collections/{name}", json={})


def test_everything_of_a_person_is_handed_out(api, node, stored, collection, monkeypatch):
    with Client(node.urls, node.api_key) as client:
        found = list(client.subject_export(f"ada-{collection}"))
    places = sorted((item["collection"], item["document"]["_id"]) for item in found)
    assert places == [(name, f"d{n}") for name in stored for n in (1, 3)]


async def test_a_person_is_erased_and_the_receipt_proves_it(node, stored, collection):
    ada = f"ada-{collection}"
    async with AsyncClient(node.urls, node.api_key) as client:
        receipt = await client.subject_erase(ada)
        left = [found async for found in client.subject_export(ada)]
        bob = [found async for found in client.subject_export(f"bob-{collection}")]
        page = await client.audit(after=receipt["record"] - 1, proof=True, limit=1_000)
    assert receipt["removed"] == dict.fromkeys(stored, 2)
    assert (left, len(bob)) == ([], 6)
    lines = [json.dumps(page).encode()]
    assert verify_erasure(receipt, lines, ada, node.anchor).count >= 1
    with pytest.raises(ProofError, match="somebody else"):
        verify_erasure(receipt, lines, f"bob-{collection}", node.anchor)
    boast = {**receipt, "removed": {stored[0]: 99}}
    with pytest.raises(ProofError, match="something else"):
        verify_erasure(boast, lines, ada, node.anchor)
    with pytest.raises(ProofError, match="no such erasure"):
        verify_erasure({**receipt, "erasure": "00"}, lines, ada, node.anchor)


def test_what_is_too_much_for_one_call_goes_on_with_the_next(api, stored, collection, node):
    ada = f"ada-{collection}"
    begun = api.post("/subjects/erase", json={"subject": ada}).json()
    again = api.post("/subjects/erase", json={"subject": ada, "erasure": begun["erasure"]})
    assert again.json() == begun, "what is over stays as it is"
    shown = api.get(f"/erasures/{begun['erasure']}").json()
    assert (shown["is_over"], shown["removed"]) == (True, dict.fromkeys(stored, 2))
    other = {"subject": "bob", "erasure": begun["erasure"]}
    problem(api.post("/subjects/erase", json=other), 409, "conflict")


def test_kept_conflicts_are_handed_out_and_erased_however_many(api, node, stored, collection):
    ada, kept = f"ada-{collection}", stored[0]
    body = {"person": {"id": ada}}
    stale = [
        {"op": "put", "id": "d0", "document": body, "if_version": 99, "stamp": f"s{number}"}
        for number in range(520)
    ]
    headers = {"Idempotency-Key": collection}
    answer = api.post(f"/collections/{kept}/bulk", json={"operations": stale}, headers=headers)
    assert all(done["conflict"] for done in answer.json()["results"])
    with Client(node.urls, node.api_key) as client:
        found = [item["collection"] for item in client.subject_export(ada)]
        assert found.count("_conflicts") == 520
        assert client.subject_erase(ada)["removed"]["_conflicts"] == 520
        assert list(client.subject_export(ada)) == []
        assert list(client.conflicts(kept)) == []


def test_kept_conflicts_are_erased_however_large(api, node, stored, collection):
    """Together they are more than one step may look at."""
    ada, kept = f"ada-{collection}", stored[0]
    theirs = {"person": {"id": ada}, "text": "x" * 700_000}
    assert api.put(f"/collections/{kept}/documents/large", json=theirs).status_code == 201
    stale = [
        {"op": "delete", "id": "large", "if_version": 99, "stamp": f"s{number}"}
        for number in range(40)
    ]
    headers = {"Idempotency-Key": f"large-{collection}"}
    answer = api.post(f"/collections/{kept}/bulk", json={"operations": stale}, headers=headers)
    assert all(done["conflict"] for done in answer.json()["results"])
    assert STEP_BYTES_MAX < 40 * 700_000
    with Client(node.urls, node.api_key) as client:
        assert client.subject_erase(ada)["removed"]["_conflicts"] == 40
        assert list(client.conflicts(kept)) == []


def test_only_who_may_write_everywhere_erases(api, make_key, stored):
    headers, _ = make_key("cluster:admin", "documents:write", collections=[stored[0]])
    problem(api.post("/subjects/erase", json={"subject": "x"}, headers=headers), 403, "forbidden")
    headers, _ = make_key("documents:read", collections=[stored[0]])
    problem(api.post("/subjects/export", json={"subject": "x"}, headers=headers), 403, "forbidden")


def test_who_is_nobody_is_refused(api, stored):
    for subject in ("", "x" * 513, 2**64, None, ["a"]):
        problem(api.post("/subjects/export", json={"subject": subject}), 422, "invalid")
    problem(api.post("/subjects/erase", json={"subject": "x", "erasure": "zz"}), 404, "not_found")
    problem(api.get("/erasures/00"), 404, "not_found")


def test_without_a_collection_that_names_persons_there_is_nothing_to_ask(api):
    problem(api.post("/subjects/export", json={"subject": "x"}), 422, "invalid")


def test_steps_are_bounded():
    assert subjects.PAGE <= subjects.STEP_IDS_MAX
