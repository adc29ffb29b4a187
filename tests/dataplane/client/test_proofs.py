"""What a proof proves, and every way to forge one that must fail."""

import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from blake3 import blake3

from dataplane.client.anchors import TrustAnchor, check_anchor, dump_anchor, follow, load_anchor
from dataplane.client.errors import AnchorError, ApiError, ProofError
from dataplane.client.local import LocalCluster
from dataplane.client.proofs import proof_in, verify_answer, verify_proof
from dataplane.client.reading import ProvenRead
from dataplane.documents.commands import (
    CollectionDrop,
    CollectionPut,
    Delete,
    Put,
)
from dataplane.documents.proving import prove_row
from dataplane.documents.values import pack_document
from dataplane.security.signing import Ed25519Signer
from dataplane.wire.proofs import (
    EpochChange,
    Proof,
    RowProof,
    Validator,
    epoch_change_payload,
)
from dataplane.wire.quorum import quorum_size
from tests import proving

ROOT = Path(__file__).resolve().parents[3]
ENTRY = 48
CHILD = 40
ELSEWHERE = {"other_root", "is_absent"}
"""A path that leads to another place fails by what is found there first."""


class Replicas(proving.Replicas):
    """Replicas whose proofs are to be refused."""

    def refusal(self, proof: Proof) -> str:
        with pytest.raises(ProofError) as caught:
            verify_proof(proof, self.anchor)
        return caught.value.code


@pytest.fixture
def replicas() -> Replicas:
    made = Replicas()
    made.fill(700)
    return made


def change(value: msgspec.Struct, **fields: object):
    return msgspec.structs.replace(value, **fields)


def change_document(proof: Proof, **fields: object) -> Proof:
    assert proof.document is not None
    return change(proof, document=change(proof.document, **fields))


# --- What is true is proven ----------------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 3, 4, 6, 7])
@pytest.mark.parametrize("count", [1, 20, 700])
def test_every_document_of_any_state_and_size_of_cluster_is_proven(n, count):
    replicas = Replicas(n)
    replicas.fill(count)
    for number in range(0, count, 37):
        proven = verify_proof(replicas.prove(f"id-{number}"), replicas.anchor)
        assert proven.document is not None
        assert proven.document["n"] == number
        assert proven.version == 1
        assert proven.sequence == replicas.machine.applied
        assert len(proven.signers) == quorum_size(n)


@pytest.mark.parametrize("count", [1, 20, 700])
def test_absence_is_proven_where_the_document_was_never_or_is_no_more(count):
    replicas = Replicas()
    replicas.fill(count)
    replicas.do(Delete("airports", "id-0"))
    for absent in ("id-0", "never", "id-", "\u00e9"):
        assert verify_proof(replicas.prove(absent), replicas.anchor).document is None


def test_absence_of_the_collection_is_absence_of_the_document(replicas):
    proof = replicas.prove("id-1", collection="nothing")
    assert proof.document is None
    assert verify_proof(proof, replicas.anchor).document is None
    replicas.do(CollectionDrop("airports"))
    assert verify_proof(replicas.prove("id-1"), replicas.anchor).document is None


def test_an_empty_subtree_proves_absence_too():
    replicas = Replicas()
    replicas.fill(40)
    proofs = [replicas.prove(f"absent-{number}") for number in range(400)]
    empty = [p for p in proofs if p.document is not None and p.document.bucket is None]
    assert empty, "some key leads to an empty child"
    for proof in empty:
        assert verify_proof(proof, replicas.anchor).document is None


def test_a_proof_survives_json_and_tells_what_it_proves(replicas):
    proof = replicas.prove("id-3")
    body = {"_id": "id-3", **verify_proof(proof, replicas.anchor).document, "_proof": proof}
    proven = verify_answer(msgspec.json.encode(body), replicas.anchor)
    words = proven.in_words()
    assert "airports/id-3 had version 1" in words
    assert f"after sequence {replicas.machine.applied}" in words
    assert "3 of the 4 nodes of epoch 0" in words
    absent = replicas.prove("nobody")
    problem = msgspec.json.encode({"code": "not_found", "proof": absent})
    assert "there was no document airports/nobody" in (
        verify_answer(problem, replicas.anchor).in_words()
    )


def test_a_checkpoint_and_a_seal_are_not_taken_for_each_other(replicas):
    proof = change(replicas.prove("id-3"), certificate=replicas.certificate(kind="checkpoint"))
    assert verify_proof(proof, replicas.anchor).kind == "checkpoint"
    assert (
        replicas.refusal(change(proof, certificate=change(proof.certificate, kind="seal")))
        == "bad_signature"
    )


# --- Signatures ----------------------------------------------------------------------------------


def test_fewer_than_a_quorum_prove_nothing(replicas):
    assert replicas.refusal(replicas.prove("id-1", 0, 1)) == "not_enough_signers"
    # For six nodes 2f+1 = 3 would be too few as well: a quorum is 4.
    six = Replicas(6)
    six.fill(3)
    assert six.refusal(six.prove("id-1", 0, 1, 2)) == "not_enough_signers"
    assert verify_proof(six.prove("id-1", 2, 3, 4, 5), six.anchor).signers == (2, 3, 4, 5)


def test_a_signer_counts_once(replicas):
    assert replicas.refusal(replicas.prove("id-1", 0, 1, 1)) == "duplicate_signer"
    assert replicas.refusal(replicas.prove("id-1", 3, 3, 3, 3)) == "duplicate_signer"


def test_one_key_under_two_names_counts_once(replicas):
    proof = replicas.prove("id-1", 0, 1)
    (_, _), (_, again) = proof.certificate.votes
    votes = (*proof.certificate.votes, (2, again))
    assert (
        replicas.refusal(change(proof, certificate=change(proof.certificate, votes=votes)))
        == "bad_signature"
    )
    twice = (*replicas.validators[:2], Validator(2, replicas.validators[1].public_key))
    with pytest.raises(AnchorError, match="same public key"):
        check_anchor(TrustAnchor("ab" * 16, 0, twice))


def test_strangers_and_damaged_signatures_are_refused_even_beside_a_quorum(replicas):
    proof = replicas.prove("id-1")
    votes = proof.certificate.votes
    stranger = Ed25519Signer(b"s" * 32).sign(b"x")
    for extra, code in (((9, stranger), "unknown_signer"), ((3, stranger), "bad_signature")):
        more = change(proof.certificate, votes=(*votes, extra))
        assert replicas.refusal(change(proof, certificate=more)) == code
    short = change(proof.certificate, votes=(*votes[:2], (2, votes[2][1][:63])))
    assert replicas.refusal(change(proof, certificate=short)) == "bad_signature"


def test_signatures_of_another_sequence_root_or_cluster_are_refused(replicas):
    proof = replicas.prove("id-1")
    later = change(proof.certificate, sequence=proof.certificate.sequence + 1)
    assert replicas.refusal(change(proof, certificate=later)) == "bad_signature"
    other = change(proof.certificate, root=blake3(b"another").digest())
    assert replicas.refusal(change(proof, certificate=other)) == "bad_signature"
    stranger = Replicas(cluster_id="cd" * 16)
    stranger.fill(700)
    theirs = stranger.prove("id-1")
    assert replicas.refusal(theirs) == "other_cluster"
    assert replicas.refusal(change(theirs, cluster_id=replicas.cluster_id)) == "bad_signature"


# --- Epochs --------------------------------------------------------------------------------------


def handover(old: Replicas, new: Replicas, *signers: int, **fields: object) -> EpochChange:
    unsigned = change(EpochChange(old.epoch, 256, new.validators, ()), **fields)
    payload = epoch_change_payload(bytes.fromhex(old.cluster_id), unsigned)
    return change(unsigned, votes=old.sign(payload, *signers))


def test_keys_of_an_old_epoch_sign_nothing_of_a_new_one():
    old, new = Replicas(4, epoch=0), Replicas(4, epoch=1)
    for replicas in (old, new):
        replicas.fill(3)
    assert new.refusal(old.prove("id-1")) == "other_epoch"
    assert new.refusal(change(old.prove("id-1"), epoch=1)) == "bad_signature"


def test_a_later_epoch_is_trusted_only_through_a_quorum_of_the_one_before():
    old, new = Replicas(4, epoch=0), Replicas(7, epoch=1)
    for replicas in (old, new):
        replicas.fill(3)
    proof = new.prove("id-1")
    assert old.refusal(proof) == "other_epoch"
    good = handover(old, new)
    assert verify_proof(change(proof, changes=(good,)), old.anchor).epoch == 1
    assert verify_proof(change(proof, changes=(good,)), new.anchor).epoch == 1
    for changes, code in (
        ((handover(old, new, 0, 1),), "not_enough_signers"),
        ((handover(old, new, 0, 1, 1),), "duplicate_signer"),
        ((change(good, sequence=257),), "bad_signature"),
        ((change(good, validators=old.validators),), "bad_signature"),
        ((change(good, epoch=1),), "bad_change"),
        ((good, handover(old, new, epoch=1, sequence=512)), "not_enough_signers"),
        ((good, good, handover(new, old, epoch=2)), "bad_change"),
        ((good,) * 65, "bad_change"),
    ):
        assert old.refusal(change(proof, changes=changes)) == code, changes
    third = Replicas(4, epoch=2)
    assert follow(old.anchor, (good, handover(new, third, sequence=512))) == third.anchor


# --- Paths ---------------------------------------------------------------------------------------


def test_a_forged_path_to_the_true_root_is_refused(replicas):
    proof = replicas.prove("id-1")
    siblings = proof.document.siblings
    assert siblings
    for level in range(len(siblings)):
        damaged = bytearray(siblings[level])
        damaged[7] ^= 1
        forged = (*siblings[:level], bytes(damaged), *siblings[level + 1 :])
        assert replicas.refusal(change_document(proof, siblings=forged)) == "other_root"
    swapped = siblings[0][CHILD : 2 * CHILD] + siblings[0][:CHILD] + siblings[0][2 * CHILD :]
    assert replicas.refusal(change_document(proof, siblings=(swapped, *siblings[1:]))) == (
        "other_root"
    )


def test_levels_cannot_be_swapped_left_out_or_added():
    replicas = Replicas()
    replicas.fill(2_000)
    proof = replicas.prove("id-1")
    siblings = proof.document.siblings
    assert len(siblings) == 2
    for forged in (siblings[::-1], siblings[:1], siblings[1:], (), (*siblings, siblings[0])):
        refusal = replicas.refusal(change_document(proof, siblings=forged))
        assert refusal in {"other_root", "malformed"}
    deep = change_document(proof, siblings=(siblings[0],) * 33)
    assert replicas.refusal(deep) == "malformed"


def test_a_changed_document_is_not_the_signed_one(replicas):
    proof = replicas.prove("id-1")
    row = proof.document.row
    assert replicas.refusal(change_document(proof, row=row + b"\x00")) == "other_row"
    older = (1).to_bytes(8, "little") + row[8:]
    assert older == row
    newer = (2).to_bytes(8, "little") + row[8:]
    assert replicas.refusal(change_document(proof, row=newer)) == "other_row"
    other = replicas.prove("id-2")
    assert replicas.refusal(change_document(proof, row=other.document.row)) == "other_row"
    assert replicas.refusal(change(proof, document=other.document)) in ELSEWHERE


def test_a_bucket_with_an_added_or_changed_entry_is_refused(replicas):
    proof = replicas.prove("nobody")
    key = b"D" + (1).to_bytes(4, "big") + b"nobody"
    key_hash = blake3(key).digest(16)
    entry = key_hash + blake3(key_hash + b"forged").digest()
    bucket = proof.document.bucket
    entries = [bucket[at : at + ENTRY] for at in range(0, len(bucket), ENTRY)]
    forged = b"".join(sorted([*entries, entry]))
    assert replicas.refusal(change_document(proof, bucket=forged, row=b"forged")) == "other_root"
    unsorted = b"".join([*entries[::-1]])
    assert replicas.refusal(change_document(proof, bucket=unsorted)) == "malformed"
    assert replicas.refusal(change_document(proof, bucket=bucket + entries[-1])) == "malformed"
    assert replicas.refusal(change_document(proof, bucket=b"")) == "malformed"
    assert replicas.refusal(change_document(proof, bucket=b"x" * ENTRY * 33)) == "malformed"


def test_absence_claimed_for_a_present_document_is_refused(replicas):
    proof = replicas.prove("id-1")
    assert replicas.refusal(change_document(proof, row=None)) == "is_present"
    bucket = proof.document.bucket
    key_hash = blake3(b"D" + (1).to_bytes(4, "big") + b"id-1").digest(16)
    at = next(i for i in range(0, len(bucket), ENTRY) if bucket[i : i + 16] == key_hash)
    without = bucket[:at] + bucket[at + ENTRY :]
    assert replicas.refusal(change_document(proof, row=None, bucket=without)) == "other_root"
    assert replicas.refusal(change_document(proof, row=None, bucket=None)) == "other_root"
    elsewhere = replicas.prove("id-2").document
    assert replicas.refusal(change(proof, document=change(elsewhere, row=None))) in {
        "malformed",
        "other_root",
    }
    assert replicas.refusal(change(proof, document=None)) == "malformed"


def test_absence_of_the_collection_cannot_be_claimed_when_it_is_there(replicas):
    proof = replicas.prove("id-1")
    gone = change(proof.collection_row, row=None)
    assert replicas.refusal(change(proof, collection_row=gone, document=None)) == "is_present"


def test_a_document_of_another_collection_is_not_taken_for_it(replicas):
    replicas.do(CollectionPut("others", pack_document({})))
    replicas.do(Put("others", "id-1", pack_document({"n": "lie"})))
    theirs = replicas.prove("id-1", collection="others")
    assert verify_proof(theirs, replicas.anchor).document["n"] == "lie"
    # The row of the other collection, under the name of this one.
    mixed = change(replicas.prove("id-1"), document=theirs.document)
    assert replicas.refusal(mixed) in ELSEWHERE
    renamed = change(theirs, collection="airports")
    assert replicas.refusal(renamed) in ELSEWHERE


def test_an_inner_node_is_not_taken_for_a_leaf():
    replicas = Replicas()
    replicas.fill(2_000)
    proof = replicas.prove("id-1")
    root_node = replicas.store.get(b"t")
    assert root_node.startswith(b"N")
    as_bucket = change_document(proof, bucket=root_node[1:], siblings=(), row=None)
    assert replicas.refusal(as_bucket) == "malformed", "640 bytes are no whole number of entries"
    shorter = change_document(proof, bucket=root_node[1 : 1 + 13 * ENTRY], siblings=(), row=None)
    assert replicas.refusal(shorter) in {"malformed", "other_root"}


@pytest.mark.parametrize("mark", [b"", b"N"])
def test_a_leaf_counts_only_under_the_mark_of_its_kind(replicas, mark):
    entries = b"".join(bytes([number]) * ENTRY for number in range(1, 9))
    signed = replicas.certificate(root=blake3(mark + entries).digest())
    forged = RowProof(None, entries, ())
    proof = change(replicas.prove("id-1"), collection_row=forged, document=None, certificate=signed)
    assert replicas.refusal(proof) == "other_root"
    true = replicas.certificate(root=blake3(b"B" + entries).digest())
    assert verify_proof(change(proof, certificate=true), replicas.anchor).document is None


@pytest.mark.parametrize("mark", [b"", b"B"])
def test_an_inner_node_counts_only_under_the_mark_of_its_kind(replicas, mark):
    key_hash = blake3(b"C" + b"airports").digest(16)
    at = (key_hash[0] >> 4) * CHILD
    level = bytes(15 * CHILD)
    children = level[:at] + bytes(CHILD) + level[at:]
    signed = replicas.certificate(root=blake3(mark + children).digest())
    forged = RowProof(None, None, (level,))
    proof = change(replicas.prove("id-1"), collection_row=forged, document=None, certificate=signed)
    assert replicas.refusal(proof) == "other_root"
    true = replicas.certificate(root=blake3(b"N" + children).digest())
    assert verify_proof(change(proof, certificate=true), replicas.anchor).document is None


def test_a_truncated_proof_is_refused_wherever_it_is_cut(replicas):
    proof = replicas.prove("id-1")
    data = msgspec.json.encode(proof)
    assert verify_answer(data, replicas.anchor).version == 1
    for end in range(0, len(data), 97):
        with pytest.raises(ProofError) as caught:
            verify_answer(data[:end], replicas.anchor)
        assert caught.value.code == "malformed"
    for cut in (
        change_document(proof, bucket=proof.document.bucket[:-1]),
        change_document(proof, row=proof.document.row[:20]),
        change_document(proof, siblings=(proof.document.siblings[0][:-1],)),
        change(proof, certificate=change(proof.certificate, votes=())),
        change(proof, certificate=change(proof.certificate, root=b"")),
        change(proof, certificate=change(proof.certificate, sequence=0)),
        change(proof, certificate=change(proof.certificate, sequence=2**64)),
        change(proof, version=2),
    ):
        replicas.refusal(cut)


def test_counts_beyond_their_field_are_refused_not_an_error(replicas):
    proof = replicas.prove("id-1")
    level = b"\xff" * len(proof.document.siblings[0])
    assert replicas.refusal(change_document(proof, siblings=(level,))) == "malformed"


def test_a_stale_version_is_proven_for_its_own_sequence_only(replicas):
    old = replicas.prove("id-1")
    replicas.do(Put("airports", "id-1", pack_document({"n": "new"})))
    new = verify_proof(replicas.prove("id-1"), replicas.anchor)
    stale = verify_proof(old, replicas.anchor)
    assert (stale.version, new.version) == (1, 2)
    assert stale.sequence == new.sequence - 1
    assert f"after sequence {stale.sequence}," in stale.in_words()
    # The old row under the new root, or the old path under the new certificate, prove nothing.
    mixed = change(old, certificate=replicas.certificate())
    assert replicas.refusal(mixed) == "other_root"


def test_the_document_beside_the_proof_must_be_the_proven_one(replicas):
    proof = replicas.prove("id-1")
    shown = {**verify_proof(proof, replicas.anchor).document, "n": 99, "_proof": proof}
    with pytest.raises(ProofError, match="other_document"):
        verify_answer(msgspec.json.encode(shown), replicas.anchor)


@pytest.mark.parametrize(
    "data",
    [b"", b"[]", b"{}", b'{"proof": 1}', b'{"_proof": {"version": 1}}', b"\xff", b"[" * 9999],
)
def test_what_is_no_proof_is_said_to_be_none(data):
    with pytest.raises(ProofError) as caught:
        proof_in(data)
    assert caught.value.code == "malformed"


# --- Anchors -------------------------------------------------------------------------------------


def test_an_anchor_survives_its_file_and_wrong_ones_are_named(replicas):
    assert load_anchor(dump_anchor(replicas.anchor)) == replicas.anchor
    for fields, words in (
        ({"version": 2}, "version 2"),
        ({"cluster_id": "AB" * 16}, "cluster_id"),
        ({"epoch": -1}, "epoch"),
        ({"validators": ()}, "validators must be"),
        ({"validators": replicas.validators[::-1]}, "rising order"),
        ({"validators": (Validator(0, "xy"),)}, "public key"),
    ):
        with pytest.raises(AnchorError, match=words):
            load_anchor(dump_anchor(change(replicas.anchor, **fields)))
    for data in (b"", b"{}", b"x" * 70_000):
        with pytest.raises(AnchorError):
            load_anchor(data)


def test_the_root_of_an_empty_path_is_the_bucket_itself():
    replicas = Replicas()
    replicas.machine.root()
    proof = prove_row(replicas.store.get, b"M")
    assert proof.siblings == ()
    assert blake3(b"B" + proof.bucket).digest() == replicas.machine.root()


# --- The client and its command line -------------------------------------------------------------


def read(replicas: Replicas, *, consistency: str | None = None, seen: int = 0) -> ProvenRead:
    return ProvenRead(replicas.anchor, ("airports", "id-1"), consistency, seen)


def answer_of(replicas: Replicas, document_id: str = "id-1") -> dict:
    proof = replicas.prove(document_id)
    document = verify_proof(proof, replicas.anchor).document or {}
    return {**document, "_proof": msgspec.to_builtins(proof)}


def test_a_client_with_an_anchor_believes_the_proof_and_not_what_stands_beside_it(replicas):
    answer = answer_of(replicas)
    lie = {**answer, "n": "a lie"}
    assert read(replicas).answered(lie)["n"] == 1
    for false, code in (
        ({**answer, "_proof": None}, "missing"),
        ({"_id": "id-1"}, "missing"),
        (answer_of(replicas, "id-2"), "other_document"),
        (answer_of(replicas, "nobody"), "other_document"),
    ):
        with pytest.raises(ProofError) as caught:
            read(replicas).answered(false)
        assert caught.value.code == code


def test_a_client_takes_no_proof_older_than_what_it_has_seen(replicas):
    answer, now = answer_of(replicas), replicas.machine.applied
    assert read(replicas, seen=now).answered(answer)["n"] == 1
    with pytest.raises(ProofError, match="stale"):
        read(replicas, seen=now + 1).answered(answer)
    assert read(replicas, consistency="local", seen=now + 1).answered(answer)["n"] == 1


def test_a_client_wants_absence_proven_too(replicas):
    absent = ProvenRead(replicas.anchor, ("airports", "nobody"), None, 0)
    proof = msgspec.to_builtins(replicas.prove("nobody"))
    absent.refused(ApiError(404, "not_found", "", {"proof": proof}))
    absent.refused(ApiError(503, "no_quorum", "", {}))
    with pytest.raises(ProofError, match="missing"):
        absent.refused(ApiError(404, "not_found", "", {}))
    hidden = msgspec.to_builtins(replicas.prove("id-1"))
    with pytest.raises(ProofError, match="is_present"):
        read(replicas).refused(ApiError(404, "not_found", "", {"proof": hidden}))
    with pytest.raises(ProofError, match="is_absent"):
        absent.answered({"_id": "nobody", "_proof": proof})


def run(*arguments: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "dataplane.client", *arguments],
        input=stdin,
        capture_output=True,
        timeout=60,
        cwd=ROOT,
        check=False,
    )


def test_the_command_line_says_what_was_proven_and_by_whom(replicas, tmp_path):
    anchor, file = tmp_path / "anchor.json", tmp_path / "answer.json"
    anchor.write_bytes(dump_anchor(replicas.anchor))
    file.write_bytes(msgspec.json.encode(answer_of(replicas)))
    good = run("verify", str(file), "--anchor", str(anchor))
    assert good.returncode == 0, good.stderr
    assert good.stdout.startswith(b"PROVEN. In cluster abab")
    assert b'"n": 1' in good.stdout
    few = run(
        "verify",
        "-",
        "--anchor",
        str(anchor),
        stdin=msgspec.json.encode(replicas.prove("id-1", 0, 1)),
    )
    assert few.returncode == 1
    assert few.stdout.startswith(b"NOT PROVEN. not_enough_signers: 2 signed the seal")
    for arguments in (
        ("verify", str(tmp_path / "no.json"), "--anchor", str(anchor)),
        ("verify", str(file), "--anchor", str(file)),
        ("verify", str(file), "--anchor", str(tmp_path / "no.json")),
    ):
        bad = run(*arguments)
        assert (bad.returncode, bad.stdout) == (1, b"")
        assert bad.stderr.count(b"\n") == 1


def test_the_anchor_of_a_specification_is_printed(tmp_path):
    cluster = LocalCluster(tmp_path, 4)
    printed = run("anchor", str(cluster.specs[2]))
    assert printed.returncode == 0
    anchor = load_anchor(printed.stdout)
    assert anchor == cluster.anchor
    assert (anchor.cluster_id, anchor.quorum) == (cluster.cluster_id, 3)
