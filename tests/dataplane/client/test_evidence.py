"""The offline verifier: believes two good signatures and nothing else."""

import json
from copy import deepcopy

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataplane.client import EvidenceError, verify_evidence
from dataplane.client.__main__ import main
from dataplane.client.anchors import TrustAnchor, dump_anchor
from dataplane.client.evidence import (
    EVIDENCE_BYTES_MAX,
    FAULTS,
    document_of,
)
from dataplane.consensus.evidence import KINDS, proof_from
from dataplane.consensus.messages import (
    Checkpoint,
    Commit,
    EquivocationProof,
    Prepare,
    Proposed,
    Statement,
    checkpoint_payload,
    view_payload,
    vote_payload,
)
from dataplane.security.signing import Ed25519Signer

CLUSTER = "0123456789abcdef0123456789abcdef"
ELSEWHERE = "f" * 32
EPOCH, VIEW, SEQUENCE, LIAR = 2, 5, 12, 3
SIGNERS = {node: Ed25519Signer(bytes([node + 1]) * 32) for node in range(4)}
KEYS = {node: signer.public_key.hex() for node, signer in SIGNERS.items()}
TAGS = {"pre_prepare": (Proposed, b"PP"), "prepare": (Prepare, b"P"), "commit": (Commit, b"C")}
ONE, OTHER = b"\1" * 32, b"\2" * 32


def claim(kind: str, digest: bytes, cluster: str = CLUSTER):
    cluster_id, signer = bytes.fromhex(cluster), SIGNERS[LIAR]
    if kind == "checkpoint":
        payload = checkpoint_payload(cluster_id, epoch=EPOCH, sequence=SEQUENCE, root=digest)
        return Checkpoint(EPOCH, SEQUENCE, digest, LIAR, signer.sign(payload))
    message, tag = TAGS[kind]
    payload = vote_payload(
        tag, cluster_id, epoch=EPOCH, view=VIEW, sequence=SEQUENCE, digest=digest
    )
    return message(EPOCH, VIEW, SEQUENCE, digest, LIAR, signer.sign(payload))


VIEW_TAGS = {"view_change": b"VC", "new_view": b"NV"}


def evidence(kind: str = "commit", cluster: str = CLUSTER) -> dict:
    if kind in VIEW_TAGS:
        said = [view_statement(kind, digest, cluster) for digest in (ONE, OTHER)]
        proof = EquivocationProof(kind, EPOCH, VIEW, 0, LIAR, *said)
        return msgspec.to_builtins(document_of(proof, cluster))
    proof = proof_from(claim(kind, ONE, cluster), claim(kind, OTHER, cluster))
    assert proof is not None
    return msgspec.to_builtins(document_of(proof, cluster))


def view_statement(kind: str, digest: bytes, cluster: str) -> Statement:
    payload = view_payload(
        VIEW_TAGS[kind],
        bytes.fromhex(cluster),
        epoch=EPOCH,
        view=VIEW,
        replica=LIAR,
        digest=digest,
    )
    return Statement(digest, SIGNERS[LIAR].sign(payload))


def check(document, *, cluster_id=CLUSTER, epoch=EPOCH, keys=KEYS):
    return verify_evidence(document, TrustAnchor.of_keys(cluster_id, epoch, sorted(keys.items())))


def fault(document, **options) -> str:
    with pytest.raises(EvidenceError) as refused:
        check(document, **options)
    assert refused.value.detail
    return refused.value.code


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_a_good_proof_of_every_kind_is_believed_and_said_in_words(kind):
    for document in (evidence(kind), json.dumps(evidence(kind)).encode()):
        proven = check(document)
        sequence = 0 if kind in VIEW_TAGS else SEQUENCE
        assert (proven.replica, proven.kind, proven.sequence) == (LIAR, kind, sequence)
    words = proven.in_words()
    assert f"Node {LIAR} of cluster {CLUSTER}" in words
    assert ONE.hex() in words
    assert OTHER.hex() in words
    assert ("view 5" in words) == (kind != "checkpoint")
    assert ("sequence 12" in words) == (kind not in VIEW_TAGS)


def test_every_kind_has_words():
    for kind in KINDS:
        assert check(evidence(kind)).in_words()


SWAPS = [(a, b) for a in sorted(KINDS) for b in sorted(KINDS) if a != b]


@pytest.mark.parametrize(("signed", "claimed"), SWAPS)
def test_signatures_of_one_kind_prove_no_other(signed, claimed):
    view = 0 if claimed == "checkpoint" else VIEW
    sequence = 0 if claimed in VIEW_TAGS else SEQUENCE
    document = evidence(signed) | {"kind": claimed, "view": view, "sequence": sequence}
    assert fault(document) == "bad_signature"


def changed(path: str, value) -> dict:
    document = deepcopy(evidence())
    target = document
    *parents, name = path.split("/")
    for parent in parents:
        target = target[parent]
    target[name] = value
    return document


ATTACKS = [
    ("second/digest", ONE.hex(), "same_statement"),
    ("first/digest", "03" * 32, "wrong_order"),
    ("first/digest", "00" * 32, "bad_signature"),
    ("second/signature", "00" * 64, "bad_signature"),
    ("second/signature", evidence("prepare")["second"]["signature"], "bad_signature"),
    ("first/signature", evidence("commit")["second"]["signature"], "bad_signature"),
    ("replica", 1, "bad_signature"),
    ("replica", 9, "unknown_signer"),
    ("view", VIEW + 1, "bad_signature"),
    ("sequence", SEQUENCE + 1, "bad_signature"),
    ("sequence", 0, "out_of_range"),
    ("view", -1, "out_of_range"),
    ("replica", -1, "out_of_range"),
    ("sequence", 2**70, "out_of_range"),
    ("sequence", 2**63, "out_of_range"),
    ("epoch", EPOCH + 1, "other_epoch"),
    ("cluster_id", ELSEWHERE, "other_cluster"),
    ("kind", "view_change", "out_of_range"),
    ("kind", "suspect", "unknown_kind"),
    ("first/digest", "01", "malformed"),
    ("first/digest", ONE.hex()[:-1], "malformed"),
    ("first/digest", "zz" * 32, "malformed"),
    ("first/digest", (b"\xab" * 32).hex().upper(), "malformed"),
    ("first/digest", " " + ONE.hex(), "malformed"),
    ("second/signature", "", "malformed"),
    ("second/signature", "ab" * 10_000, "malformed"),
    ("format", "aerolith-evidence-2", "not_evidence"),
    ("surprise", 1, "not_evidence"),
    ("replica", "3", "not_evidence"),
    ("first", None, "not_evidence"),
]


@pytest.mark.parametrize(("path", "value", "code"), ATTACKS)
def test_a_forged_proof_is_refused(path, value, code):
    assert fault(changed(path, value)) == code
    assert code in FAULTS


def test_the_statements_may_not_change_places():
    document = evidence()
    swapped = document | {"first": document["second"], "second": document["first"]}
    assert fault(swapped) == "wrong_order"


def test_a_proof_of_another_cluster_does_not_pass_under_this_ones_name():
    assert fault(evidence(cluster=ELSEWHERE) | {"cluster_id": CLUSTER}) == "bad_signature"


def test_a_proof_is_refused_with_the_keys_of_another_epoch_or_cluster():
    assert fault(evidence(), epoch=EPOCH - 1) == "other_epoch"
    assert fault(evidence(), cluster_id=ELSEWHERE) == "other_cluster"
    mixed = {0: KEYS[1], 1: KEYS[2], 2: KEYS[3], 3: KEYS[0]}
    assert fault(evidence(), keys=mixed) == "bad_signature"
    assert fault(evidence(), keys={0: KEYS[0]}) == "unknown_signer"


def test_one_lie_about_a_checkpoint_has_no_second_proof_in_another_view():
    assert fault(evidence("checkpoint") | {"view": 1}) == "out_of_range"


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", "not_evidence"),
        (b"\xff\xfe", "not_evidence"),
        (b"[]", "not_evidence"),
        (b"[" * 5_000, "not_evidence"),
        (b'{"format":"aerolith-evidence-1"}', "not_evidence"),
        (b" " * (EVIDENCE_BYTES_MAX + 1), "too_large"),
    ],
)
def test_what_is_no_proof_at_all_is_refused(data, code):
    assert fault(data) == code


@given(st.binary(max_size=300) | st.text(max_size=300))
def test_nothing_makes_the_verifier_fail_otherwise(data):
    fault(data)


def test_the_command_says_in_words_what_is_proven(tmp_path, capsys):
    good, forged, keys = tmp_path / "good.json", tmp_path / "forged.json", tmp_path / "keys.json"
    good.write_text(json.dumps(evidence()))
    forged.write_text(json.dumps(changed("replica", 1)))
    keys.write_bytes(dump_anchor(TrustAnchor.of_keys(CLUSTER, EPOCH, KEYS.items())))
    assert main(["verify-evidence", str(good), "--anchor", str(keys)]) == 0
    assert capsys.readouterr().out.startswith(f"PROVEN. Node {LIAR} of cluster {CLUSTER}")
    assert main(["verify-evidence", str(forged), "--anchor", str(keys)]) == 1
    assert capsys.readouterr().out.startswith("NOT PROVEN. bad_signature:")
    assert main(["verify-evidence", str(tmp_path / "none"), "--anchor", str(keys)]) == 1
    assert "none" in capsys.readouterr().err
    assert main(["verify-evidence", str(good), "--anchor", str(good)]) == 1
    assert "not a trust anchor" in capsys.readouterr().err
