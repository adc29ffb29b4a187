"""Bounded and proven reads over REST, against a real node."""

import pytest

from dataplane.client import Client, ProofError, TrustAnchor, verify_answer
from dataplane.wire.proofs import Validator
from tests.dataplane.gateways.conftest import problem


def test_a_proof_comes_with_the_document_and_is_of_the_newest_state(api, documents, node):
    written = api.put(f"{documents}/x", json={"n": 1, "proof": "my own field"})
    read = api.get(f"{documents}/x", params={"proof": "true"})
    assert read.status_code == 200
    assert read.headers["ETag"] == '"1"'
    proven = verify_answer(read.content, node.anchor)
    assert proven.document == written.json()
    assert proven.kind == "seal"
    assert proven.sequence == int(read.headers["Aerolith-Sequence"])
    assert proven.sequence > int(written.headers["Aerolith-Sequence"])
    again = api.put(f"{documents}/x", json={**read.json(), "n": 2})
    assert again.json()["_version"] == 2, "what a read returned can be put back, proof and all"


def test_absence_is_proven_in_the_refusal(api, documents, node, collection):
    for place in (f"{documents}/x", "/collections/never-made/documents/x"):
        answer = api.get(place, params={"proof": "true"})
        problem(answer, 404, "not_found")
        assert verify_answer(answer.content, node.anchor).document is None
    api.put(f"{documents}/x", json={})
    api.delete(f"{documents}/x")
    gone = verify_answer(api.get(f"{documents}/x?proof=1").content, node.anchor)
    assert (gone.document, gone.collection) == (None, collection)


def test_a_checkpoint_proves_what_was_then_and_says_of_when(api, documents, node):
    api.put(f"{documents}/old", json={"n": 1})
    for number in range(140):
        newest = api.put(f"{documents}/new", json={"n": number})
    old = api.get(f"{documents}/old?proof=true&consistency=local")
    proven = verify_answer(old.content, node.anchor)
    assert (proven.kind, proven.document["n"]) == ("checkpoint", 1)
    assert proven.sequence % 128 == 0
    assert int(old.headers["Aerolith-Sequence"]) == proven.sequence
    stale = api.get(f"{documents}/new?proof=true&consistency=local")
    behind = int(stale.headers["Aerolith-Lag"])
    assert behind >= 1
    assert verify_answer(stale.content, node.anchor).version < newest.json()["_version"]
    # A session wants what it has seen: the checkpoint is too old for it, and a seal is made.
    seen = newest.headers["Aerolith-Sequence"]
    mine = api.get(
        f"{documents}/new?proof=true&consistency=session", headers={"Aerolith-After": seen}
    )
    proven = verify_answer(mine.content, node.anchor)
    assert (proven.kind, proven.version) == ("seal", newest.json()["_version"])


def test_a_bounded_read_says_how_far_it_may_lag(api, documents):
    written = api.put(f"{documents}/x", json={"n": 1})
    read = api.get(f"{documents}/x?consistency=bounded")
    assert read.json() == written.json()
    assert read.headers["Aerolith-Lag"] == "0"
    absent = api.get(f"{documents}/y?consistency=bounded")
    problem(absent, 404, "not_found")
    assert absent.headers["Aerolith-Lag"] == "0"


@pytest.mark.parametrize("after", ["-1", "1.5", "x", b"\xb2", "9" * 19])
@pytest.mark.parametrize("query", ["consistency=bounded", "consistency=session"])
def test_a_position_that_is_none_is_refused(api, documents, after, query):
    answer = api.get(f"{documents}/x?{query}", headers={"Aerolith-After": after})
    problem(answer, 422, "invalid")


def test_a_bounded_query_is_refused_by_name(api, collection):
    answer = api.post(f"/collections/{collection}/query", json={"consistency": "bounded"})
    assert problem(answer, 422, "invalid")["errors"][0]["pointer"] == "/consistency"


def test_a_key_without_the_collection_gets_no_proof_of_it(api, documents, make_key):
    headers, _ = make_key("documents:read", collections=["others-*"])
    answer = api.get(f"{documents}/x?proof=true", headers=headers)
    problem(answer, 403, "forbidden")


def test_a_client_with_the_wrong_anchor_believes_nothing(node, collection):
    with Client(node.urls, node.api_key, anchor=node.anchor) as client:
        client.put(collection, "x", {"n": 1})
        assert client.get(collection, "x", proof=True)["n"] == 1
    stranger = TrustAnchor(node.cluster_id, 0, (Validator(0, "11" * 32),))
    with (
        Client(node.urls, node.api_key, anchor=stranger) as client,
        pytest.raises(ProofError, match="bad_signature"),
    ):
        client.get(collection, "x", proof=True)
