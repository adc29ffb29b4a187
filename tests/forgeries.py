"""Ways to forge a proof: thing by thing, and by name as cases that every checker is given."""

import base64
import binascii
import copy
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import msgspec
from blake3 import blake3

from dataplane.client.anchors import TrustAnchor
from dataplane.client.errors import ProofError
from dataplane.client.proofs import verify_answer
from dataplane.documents.commands import CollectionPut, Put
from dataplane.documents.values import pack_document
from dataplane.security.signing import Ed25519Signer
from dataplane.wire.proofs import EpochChange, Proof, epoch_change_payload
from tests.proving import Replicas

ENTRY = 48
CHILD = 40
WORLD = {
    "n": 7,
    "big": 2**63 - 1,
    "low": -(2**63),
    "real": -1.5e-7,
    "whole": 1e22,
    "list": [1, None, True, {"__proto__": "kept", "constructor": 2}],
    "text": "Tromsø \U0001f30d \ufeff",
    "long": "x" * 70_000,
    "many": list(range(300)),
}


def variants(value: object) -> Iterator[object]:
    """Yield what a liar might put in the place of a value."""
    match value:
        case str():
            yield from ("", value[:-4], value + "AAAA", None, 7)
            try:
                raw = base64.b64decode(value, validate=True)
            except binascii.Error:
                return
            for at in {0, len(raw) // 2, len(raw) - 1} if raw else ():
                flipped = bytearray(raw)
                flipped[at] ^= 1
                yield base64.b64encode(flipped).decode()
        case int():
            yield from (value + 1, value - 1, -1, 2**63, str(value), None)
        case None:
            yield from ("", "AAAA", {}, [])
        case list():
            yield from ([], value[:-1], value[1:], value + value[-1:], value[::-1], None)
        case dict():
            yield from ({**value, "stranger": 1}, {}, None, [])


def forgeries(value: object) -> Iterator[object]:
    """Yield the value with one thing changed, thing by thing."""
    yield from variants(value)
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for name, item in list(items):
        changed: Iterator[object] = variants(item)
        if isinstance(item, dict | list) and item:
            changed = forgeries(item)
        for other in changed:
            copied = copy.copy(value)
            copied[name] = other
            yield copied
        if isinstance(value, dict):
            yield {key: kept for key, kept in value.items() if key != name}


# --- Cases by name --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Case:
    """An answer, whom its reader trusts, and what the reader is to say."""

    name: str
    answer: Any
    anchor: TrustAnchor

    @property
    def verdict(self) -> str:
        """What the verifier of the Python client says: present, absent, or the code of a fault."""
        try:
            proven = verify_answer(json.dumps(self.answer).encode(), self.anchor)
        except ProofError as error:
            return error.code
        return "absent" if proven.document is None else "present"


def builtin(value: object) -> Any:
    return json.loads(msgspec.json.encode(value))


def answer_of(replicas: Replicas, proof: Proof) -> dict[str, Any]:
    """Return what an honest node answers: the document with its proof, or that there is none."""
    document = verify_answer(msgspec.json.encode(proof), replicas.anchor).document
    shown = builtin(proof)
    return {"proof": shown} if document is None else {**document, "_proof": shown}


def change(value: Any, **fields: object) -> Any:
    return msgspec.structs.replace(value, **fields)


def cases() -> Iterator[Case]:
    """Yield what is true, and every lie that a checker must not believe."""
    replicas = Replicas()
    replicas.fill(60)
    replicas.do(Put("airports", "world", pack_document(WORLD | {"long": "x" * 40, "many": [1, 2]})))
    replicas.do(CollectionPut("others", pack_document({})))
    replicas.do(Put("others", "id-1", pack_document({"n": "lie"})))
    trusted = replicas.anchor
    for name, document_id, collection in (
        ("a document", "id-1", "airports"),
        ("a document of every kind of value", "world", "airports"),
        ("no document", "nowhere", "airports"),
        ("no collection", "id-1", "unknown"),
    ):
        proof = replicas.prove(document_id, collection=collection)
        yield Case(name, answer_of(replicas, proof), trusted)
    for name, proof in (*_signatures(replicas), *_paths(replicas)):
        yield Case(name, builtin(proof), trusted)
    yield from _shown(replicas)
    yield from _epochs()
    for document_id, place in (("id-1", "_proof"), ("nowhere", "proof")):
        answer = answer_of(replicas, replicas.prove(document_id))
        for number, forged in enumerate(forgeries(answer[place])):
            # Votes reversed and an empty list left out are no forgeries; the verdict says so.
            if forged != answer[place]:
                yield Case(f"{document_id}, changed {number}", {**answer, place: forged}, trusted)


def _signatures(replicas: Replicas) -> Iterator[tuple[str, Proof]]:
    proof = replicas.prove("id-1")
    votes, stranger = proof.certificate.votes, Ed25519Signer(b"s" * 32).sign(b"x")

    def signed(*given: tuple[int, bytes]) -> Proof:
        return change(proof, certificate=change(proof.certificate, votes=given))

    yield "two of four signed", replicas.prove("id-1", 0, 1)
    yield "one signed twice", replicas.prove("id-1", 0, 1, 1)
    yield "one key under two names", signed(*votes[:2], (2, votes[1][1]))
    yield "a stranger beside a quorum", signed(*votes, (9, stranger))
    yield "a damaged vote beside a quorum", signed(*votes, (3, stranger))
    yield "a vote that is too short", signed(*votes[:2], (2, votes[2][1][:63]))
    later = change(proof.certificate, sequence=proof.certificate.sequence + 1)
    yield "another sequence", change(proof, certificate=later)
    other = change(proof.certificate, root=blake3(b"another").digest())
    yield "another root", change(proof, certificate=other)
    checkpoint = replicas.certificate(kind="checkpoint")
    yield "a checkpoint", change(proof, certificate=checkpoint)
    yield "a checkpoint as a seal", change(proof, certificate=change(checkpoint, kind="seal"))
    liars = Replicas(cluster_id="cd" * 16)
    liars.fill(60)
    yield "another cluster", liars.prove("id-1")
    yield "another cluster under this name", change(liars.prove("id-1"), cluster_id="ab" * 16)


def _paths(replicas: Replicas) -> Iterator[tuple[str, Proof]]:
    proof, other = replicas.prove("id-1"), replicas.prove("id-2")
    found = proof.document
    assert found is not None
    assert found.row is not None
    assert found.bucket is not None

    def stored(**fields: object) -> Proof:
        return change(proof, document=change(found, **fields))

    entries = [found.bucket[at : at + ENTRY] for at in range(0, len(found.bucket), ENTRY)]
    key_hash = blake3(b"D" + (1).to_bytes(4, "big") + b"id-1").digest(16)
    without = b"".join(entry for entry in entries if entry[:16] != key_hash)
    first = found.siblings[0]
    swapped = first[CHILD : 2 * CHILD] + first[:CHILD] + first[2 * CHILD :]
    yield "a row with more behind it", stored(row=found.row + b"\x00")
    yield "another version", stored(row=(2).to_bytes(8, "little") + found.row[8:])
    yield "the row of another document", stored(row=other.document.row)  # type: ignore[union-attr]
    yield "the place of another document", change(proof, document=other.document)
    yield "entries in another order", stored(bucket=b"".join(entries[::-1]))
    yield "an entry twice", stored(bucket=found.bucket + entries[-1])
    yield "no entries", stored(bucket=b"")
    yield "too many entries", stored(bucket=b"x" * ENTRY * 33)
    yield "siblings in other places", stored(siblings=(swapped, *found.siblings[1:]))
    yield "a level too many", stored(siblings=(*found.siblings, first))
    yield "a level left out", stored(siblings=found.siblings[1:])
    yield "a path longer than a key", stored(siblings=(first,) * 33)
    yield "absence of what is there", stored(row=None)
    yield "absence by a bucket without it", stored(row=None, bucket=without)
    yield "absence by an empty place", stored(row=None, bucket=None)
    yield "nothing of the document", change(proof, document=None)
    gone = change(proof.collection_row, row=None)
    yield "absence of its collection", change(proof, collection_row=gone, document=None)
    theirs = replicas.prove("id-1", collection="others")
    yield "a row of another collection", change(proof, document=theirs.document)
    yield "another collection's name", change(theirs, collection="airports")


def _shown(replicas: Replicas) -> Iterator[Case]:
    answer = answer_of(replicas, replicas.prove("world"))
    for name, shown in (
        ("another number beside it", {**answer, "n": 8}),
        ("a large number off by one", {**answer, "big": 2**63 - 2}),
        ("another real number", {**answer, "real": 1.5}),
        ("a field more", {**answer, "more": 1}),
        ("another version beside it", {**answer, "_version": 2}),
        ("a field less", {key: value for key, value in answer.items() if key != "list"}),
    ):
        yield Case(name, shown, replicas.anchor)


def _epochs() -> Iterator[Case]:
    old, new, third = Replicas(), Replicas(n=7, epoch=1), Replicas(epoch=2)
    new.fill(20)
    old.fill(20)
    proof = new.prove("id-1")

    def handed(by: Replicas, to: Replicas, *signers: int, **fields: object) -> EpochChange:
        bare: EpochChange = change(EpochChange(by.epoch, 256, to.validators, ()), **fields)
        payload = epoch_change_payload(bytes.fromhex(by.cluster_id), bare)
        return change(bare, votes=by.sign(payload, *signers))

    good = handed(old, new)
    yield Case("keys of an old epoch", builtin(old.prove("id-1")), new.anchor)
    renamed = change(old.prove("id-1"), epoch=1)
    yield Case("keys of an old epoch under a new number", builtin(renamed), new.anchor)
    yield Case("a later epoch without a handover", builtin(proof), old.anchor)
    for name, steps in (
        ("a handover", (good,)),
        ("a handover by two of four", (handed(old, new, 0, 1),)),
        ("a handover that one signed twice", (handed(old, new, 0, 1, 1),)),
        ("a handover at another sequence", (change(good, sequence=257),)),
        ("a handover to others than was signed", (change(good, validators=old.validators),)),
        ("a handover of another epoch", (change(good, epoch=1),)),
        ("a second handover by the first", (good, handed(old, new, epoch=1, sequence=512))),
        ("the same handover twice", (good, good, handed(new, old, epoch=2))),
        ("too many handovers", (change(good, validators=(), votes=()),) * 65),
        ("two handovers, of which the proof knows one", (good, handed(new, third, sequence=512))),
    ):
        yield Case(name, builtin(change(proof, changes=steps)), old.anchor)
    seen = builtin(change(proof, changes=(good,)))
    yield Case("a handover that is known already", seen, new.anchor)
