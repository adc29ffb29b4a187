"""The codec of the protocol's messages is strict, and checks never raise."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataplane.consensus.messages import (
    Accusation,
    Batch,
    Checkpoint,
    CheckpointCertificate,
    Commit,
    CommitCertificate,
    Committed,
    CommittedEntry,
    EquivocationProof,
    FetchCommitted,
    Forward,
    Prepare,
    PrePrepare,
    Proposed,
    Replies,
    Reply,
    Request,
    Statement,
    Status,
    decode_batch,
    decode_message,
    digest_of,
    encode_batch,
    encode_message,
    request_payload,
    vote_payload,
)
from dataplane.consensus.verification import verify_message
from dataplane.simulation.scenarios.lab import CLUSTER_ID, Lab
from dataplane.wire.errors import MalformedMessageError

LAB = Lab(4)

numbers = st.one_of(st.integers(-3, 10), st.integers(-(2**63), 2**64 - 1))
blobs = st.one_of(st.binary(max_size=40), st.binary(min_size=32, max_size=32))
replicas = st.integers(-1, 5)
requests = st.builds(
    Request,
    st.sampled_from([member.gateway_key for member in LAB.members]) | blobs,
    st.binary(min_size=8, max_size=8) | blobs,
    numbers,
    numbers,
    st.lists(blobs, max_size=3).map(tuple),
    blobs,
)
batches = st.builds(Batch, numbers, st.lists(requests, max_size=3).map(tuple), numbers)
votes = (numbers, numbers, numbers, blobs, replicas, blobs)
signatures = st.lists(st.tuples(replicas, blobs), max_size=5).map(tuple)
certificates = st.builds(CommitCertificate, numbers, numbers, numbers, blobs, signatures)
certificates_of_checkpoints = st.builds(CheckpointCertificate, numbers, numbers, blobs, signatures)
proposals = st.builds(
    lambda head, batch: PrePrepare(
        *head[:3], digest_of(encode_batch(batch)), *head[3:], encode_batch(batch)
    ),
    st.tuples(numbers, numbers, numbers, replicas, blobs),
    batches,
)
statements = st.builds(Statement, blobs, st.binary(min_size=64, max_size=64) | blobs)
proofs = st.builds(
    EquivocationProof,
    st.sampled_from(["pre_prepare", "prepare", "commit", "checkpoint", "view_change"]),
    numbers,
    numbers,
    numbers,
    replicas,
    statements,
    statements,
)
any_message = st.one_of(
    proposals,
    st.builds(Accusation, st.lists(proofs, max_size=3).map(tuple)),
    st.builds(Proposed, *votes),
    st.builds(Prepare, *votes),
    st.builds(Commit, *votes),
    st.builds(Checkpoint, numbers, numbers, blobs, replicas, blobs),
    certificates_of_checkpoints,
    st.builds(Forward, st.lists(requests, max_size=3).map(tuple)),
    st.builds(
        Replies,
        st.lists(st.builds(Reply, blobs, blobs, numbers, numbers, blobs, replicas), max_size=3).map(
            tuple
        ),
    ),
    st.builds(Status, numbers, numbers, numbers, numbers, replicas),
    st.builds(FetchCommitted, numbers, numbers),
    st.builds(
        Committed,
        st.lists(st.builds(CommittedEntry, blobs, certificates), max_size=3).map(tuple),
    ),
)


@given(any_message)
def test_messages_survive_the_way(message):
    assert decode_message(encode_message(message)) == message


@given(batches)
def test_batches_survive_the_way(batch):
    assert decode_batch(encode_batch(batch)) == batch


@given(st.binary(max_size=300))
def test_garbage_is_malformed_and_nothing_else(data):
    for decode in (decode_message, decode_batch):
        try:
            decode(data)
        except MalformedMessageError:
            continue


@given(any_message, st.data())
def test_damage_is_noticed_or_harmless(message, data):
    encoded = bytearray(encode_message(message))
    at = data.draw(st.integers(0, len(encoded) - 1))
    encoded[at] ^= data.draw(st.integers(1, 255))
    try:
        decode_message(bytes(encoded))
    except MalformedMessageError:
        return


@pytest.mark.parametrize("kind", [Prepare, Commit, Status])
def test_no_field_may_be_added_left_out_or_of_another_type(kind):
    message = kind(
        *[1, 2, 3, b"d" * 32, 0, b"s"] if kind is not Status else [1, 2, 3, 4, 0, True, b""]
    )
    fields = msgspec.msgpack.decode(encode_message(message))
    for wrong in (
        [*fields, 1],
        fields[:-1],
        ["Unknown", *fields[1:]],
        [*fields[:-1], None],
        {"0": fields},
    ):
        with pytest.raises(MalformedMessageError):
            decode_message(msgspec.msgpack.encode(wrong))


def test_bytes_after_a_message_are_refused():
    with pytest.raises(MalformedMessageError):
        decode_message(encode_message(Status(0, 0, 0, 0, 0, True, b"")) + b"\0")


@given(any_message, replicas)
def test_checks_refuse_what_nobody_signed_and_never_raise(message, sender):
    passed = verify_message(message, sender, LAB.config(1), LAB.verifier)
    unsigned = Status | Replies | FetchCommitted
    empty = isinstance(message, Forward | Committed) and not any(
        getattr(message, "requests", ()) or getattr(message, "entries", ())
    )
    assert not passed or isinstance(message, unsigned) or empty


def test_a_vote_signature_covers_every_field():
    base = {"kind": b"P", "cluster_id": CLUSTER_ID}
    base |= {"epoch": 1, "view": 2, "sequence": 3, "digest": b"d" * 32}
    payloads = {vote_payload(**base)}
    for change in (
        {"kind": b"C"},
        {"kind": b"PP"},
        {"cluster_id": b"another-cluster!"},
        {"epoch": 2},
        {"view": 1},
        {"sequence": 4},
        {"digest": b"e" * 32},
        {"view": 3, "sequence": 2},
    ):
        payloads.add(vote_payload(**(base | change)))
    assert len(payloads) == 9


def test_a_request_signature_covers_every_field():
    request = LAB.request(1, 5, b"a", b"b")
    base = request_payload(CLUSTER_ID, request)
    for change in (
        {"client": b"c" * 32},
        {"session": b"another!"},
        {"cseq": 6},
        {"ack": 1},
        {"ops": (b"ab",)},
        {"ops": (b"a", b"b", b"")},
    ):
        assert request_payload(CLUSTER_ID, msgspec.structs.replace(request, **change)) != base
