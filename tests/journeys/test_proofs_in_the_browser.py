"""The browser's own check of proofs gives the verdict of `dataplane.client`, forgery by forgery."""

import itertools
import json
import os
from pathlib import Path

import msgspec
import pytest
from playwright.sync_api import sync_playwright

from dataplane.client.anchors import TrustAnchor
from dataplane.client.errors import ProofError
from dataplane.client.proofs import verify_answer
from dataplane.documents.commands import CollectionDrop, CollectionPut, Delete, Put
from dataplane.documents.values import pack_document
from dataplane.wire.proofs import EpochChange, epoch_change_payload
from tests.forgeries import WORLD, forgeries
from tests.journeys.browsers import chromium
from tests.proving import Replicas

STATIC = Path(__file__).resolve().parents[2] / "static"
ORIGIN = "http://localhost"

CHECK = """async (cases) => {
  const { verifyAnswer, ProofError } = await import("/proofs/verify.js");
  const { parseJson, EncodingError } = await import("/proofs/encoding.js");
  const verdicts = [];
  for (const [text, anchor] of cases) {
    try {
      const proven = await verifyAnswer(parseJson(text), JSON.parse(anchor));
      verdicts.push(proven.document === null ? "absent" : "present");
    } catch (error) {
      verdicts.push(error instanceof ProofError ? error.code : String(error.stack));
    }
  }
  return verdicts;
}"""


@pytest.fixture(scope="module")
def browser():
    """A page that is served the static files, and nothing else."""

    def serve(route):
        path = STATIC / route.request.url.removeprefix(ORIGIN).lstrip("/")
        if path.suffix == ".js":
            route.fulfill(body=path.read_bytes(), content_type="text/javascript")
        else:
            route.fulfill(body="<!doctype html>", content_type="text/html")

    with sync_playwright() as playwright:
        flags = ["--no-sandbox"] if os.geteuid() == 0 else []
        launched = playwright.chromium.launch(executable_path=chromium(), args=flags)
        page = launched.new_page()
        page.route("**/*", serve)
        page.goto(f"{ORIGIN}/page.html")
        yield page
        launched.close()


@pytest.fixture(scope="module")
def replicas():
    made = Replicas()
    made.fill(300)
    made.do(
        Put("airports", "world", pack_document(WORLD)), CollectionPut("empty", pack_document({}))
    )
    return made


def answer_of(replicas: Replicas, document_id: str, collection: str = "airports") -> dict:
    """Return what a node answers: the document with its proof, or the proof that there is none."""
    proof = replicas.prove(document_id, collection=collection)
    builtin = json.loads(msgspec.json.encode(proof))
    try:
        document = verify_answer(msgspec.json.encode(proof), replicas.anchor).document
    except ProofError:
        document = None
    return {"proof": builtin} if document is None else {**document, "_proof": builtin}


def expected(answer: object, anchor: TrustAnchor) -> str:
    try:
        proven = verify_answer(json.dumps(answer).encode(), anchor)
    except ProofError as error:
        return error.code
    return "absent" if proven.document is None else "present"


def compare(browser, cases: list[tuple[object, TrustAnchor]]) -> list[str]:
    """Return the verdicts of both, which must be the same."""
    sent = [(json.dumps(answer), msgspec.json.encode(anchor).decode()) for answer, anchor in cases]
    verdicts = browser.evaluate(CHECK, sent)
    differing = [
        (verdict, wanted, json.dumps(answer)[:300])
        for verdict, (answer, anchor) in zip(verdicts, cases, strict=True)
        if verdict != (wanted := expected(answer, anchor))
    ]
    assert differing == []
    return verdicts


def test_what_is_proven_is_proven_in_the_browser(browser, replicas):
    replicas.do(Delete("airports", "id-5"))
    cases = [
        (answer_of(replicas, document_id, collection), replicas.anchor)
        for document_id, collection in [
            ("id-1", "airports"),
            ("id-299", "airports"),
            ("world", "airports"),
            ("id-5", "airports"),
            ("nowhere", "airports"),
            ("id-1", "empty"),
            ("id-1", "unknown"),
        ]
    ]
    verdicts = compare(browser, cases)
    assert verdicts == ["present"] * 3 + ["absent"] * 4


@pytest.mark.parametrize("document_id", ["id-1", "nowhere"])
def test_every_forgery_meets_the_same_refusal(browser, replicas, document_id):
    answer = answer_of(replicas, document_id)
    name = "_proof" if "_proof" in answer else "proof"
    changed = [proof for proof in forgeries(answer[name]) if proof != answer[name]]
    forged = [{**answer, name: proof} for proof in changed]
    verdicts = compare(browser, [(case, replicas.anchor) for case in forged])
    assert len(verdicts) > 200
    # Votes in another order and no list of changes in the place of an empty one are no forgeries,
    # and one leaf may prove that several ids are absent: readers compare the id with their own.
    accepted = [
        proof
        for proof, verdict in zip(changed, verdicts, strict=True)
        if verdict in {"present", "absent"} and proof["id"] == document_id
    ]
    assert len(accepted) == 2
    refused = set(verdicts)
    assert {"malformed", "bad_signature", "other_root", "not_enough_signers"} <= refused
    assert {"duplicate_signer", "unknown_signer", "other_cluster", "other_epoch"} <= refused


def test_a_document_beside_the_proof_must_be_the_proven_one(browser, replicas):
    answer = answer_of(replicas, "world")
    changed = [
        {**answer, "n": 8},
        {**answer, "big": 2**63 - 2},
        {**answer, "real": 1.5},
        {**answer, "more": 1},
        {**answer, "_version": answer["_version"] + 1},
        {key: value for key, value in answer.items() if key != "list"},
    ]
    verdicts = compare(browser, [(case, replicas.anchor) for case in changed])
    assert verdicts == ["other_document"] * len(changed)


def test_other_keys_and_other_clusters_prove_nothing(browser, replicas):
    answer = answer_of(replicas, "id-1")
    others = [Replicas(epoch=1), Replicas(n=7), Replicas(cluster_id="cd" * 16)]
    verdicts = compare(browser, [(answer, other.anchor) for other in others])
    assert verdicts == ["other_epoch", "not_enough_signers", "other_cluster"]


def test_epochs_are_followed_by_the_signatures_of_those_before(browser):
    first, second = Replicas(), Replicas(n=7, epoch=1)
    second.fill(50)
    bare = EpochChange(epoch=0, sequence=5, validators=second.validators, votes=())
    payload = epoch_change_payload(bytes.fromhex(first.cluster_id), bare)
    change = msgspec.structs.replace(bare, votes=first.sign(payload))
    proof = msgspec.structs.replace(second.prove("id-1"), changes=(change,))
    builtin = json.loads(msgspec.json.encode(proof))
    cases: list[tuple[object, TrustAnchor]] = [(builtin, first.anchor), (builtin, second.anchor)]
    assert compare(browser, cases) == ["present", "present"]
    forged = [{**builtin, "changes": changes} for changes in forgeries(builtin["changes"])]
    verdicts = compare(browser, list(itertools.product(forged, [first.anchor])))
    assert "bad_change" in verdicts
    assert "bad_signature" in verdicts


def test_a_dropped_collection_is_proven_absent(browser):
    made = Replicas()
    made.fill(10)
    made.do(CollectionDrop("airports"))
    assert compare(browser, [(answer_of(made, "id-1"), made.anchor)]) == ["absent"]
