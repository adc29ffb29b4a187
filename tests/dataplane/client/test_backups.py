"""A backup proves what it holds, and nothing that was done to it on its way goes unnoticed."""

import io
import random

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from dataplane.client.__main__ import main
from dataplane.client.anchors import dump_anchor
from dataplane.client.backups import BackupReader, Weighing, chained, verified, verify_backup
from dataplane.client.errors import ProofError
from dataplane.documents.backing_up import DamagedStateError, backup_records
from dataplane.documents.commands import Delete, Put
from dataplane.documents.values import pack_document
from dataplane.wire.backups import (
    FORMAT,
    KNOWN_BYTES,
    MAGIC,
    AnyRecord,
    Head,
    Leaf,
    Rows,
    Same,
    encode_records,
)
from tests.proving import NOW_MS, Replicas


def packed(records: list[AnyRecord]) -> bytes:
    return MAGIC + zstandard.ZstdCompressor(write_checksum=True).compress(encode_records(records))


def head_of(replicas: Replicas, **fields: object) -> Head:
    return Head(
        FORMAT,
        replicas.cluster_id,
        replicas.epoch,
        fields.get("certificate") or replicas.certificate(),
        (),
        NOW_MS,
    )


def records_of(replicas: Replicas, known: bytes = b"") -> list[AnyRecord]:
    replicas.machine.root()
    names = {known[at : at + KNOWN_BYTES] for at in range(0, len(known), KNOWN_BYTES)}
    return [head_of(replicas), *backup_records(replicas.store.get, names)]


def verify(replicas: Replicas, *files: bytes):
    return verify_backup([io.BytesIO(file) for file in files], replicas.anchor)


def refusal(replicas: Replicas, *files: bytes) -> str:
    with pytest.raises(ProofError) as caught:
        verify(replicas, *files)
    return caught.value.code


@pytest.fixture(scope="module")
def replicas() -> Replicas:
    made = Replicas()
    made.fill(700)
    return made


@pytest.mark.parametrize("count", [0, 1, 20, 700])
@pytest.mark.parametrize("n", [1, 3, 4, 7])
def test_a_backup_of_any_state_hashes_to_what_the_quorum_signed(n, count):
    replicas = Replicas(n)
    replicas.fill(count)
    verified = verify(replicas, packed(records_of(replicas)))
    assert verified.is_whole
    assert verified.contents.root == replicas.machine.root()
    stored = [key for key, _ in replicas.store.iterate(b"") if key[:1].isupper()]
    assert verified.contents.rows == len(stored)
    assert verified.contents.content_rows == count + (1 if count else 0)


def test_a_certificate_of_too_few_or_of_another_cluster_proves_nothing(replicas):
    few = head_of(replicas, certificate=replicas.certificate(0, 1))
    assert refusal(replicas, packed([few, *records_of(replicas)[1:]])) == "not_enough_signers"
    other = Replicas(cluster_id="cd" * 16)
    assert refusal(replicas, packed(records_of(other))) == "other_cluster"


def test_a_changed_missing_or_added_row_is_refused(replicas):
    records = records_of(replicas)
    at = next(n for n, r in enumerate(records) if isinstance(r, Rows) and len(r.rows) > 1)
    rows = records[at].rows
    leaf = records[at - 1]
    assert isinstance(leaf, Leaf)

    def with_rows(*changed: tuple[bytes, bytes], entries: int) -> bytes:
        changes = [Leaf(leaf.path, entries), Rows(changed)]
        return packed([*records[: at - 1], *changes, *records[at + 1 :]])

    key, value = rows[0]
    count = len(rows)
    assert refusal(replicas, with_rows((key, value + b"x"), *rows[1:], entries=count)) == (
        "other_root"
    )
    assert refusal(replicas, with_rows(*rows[1:], entries=count)) == "malformed"
    assert refusal(replicas, with_rows(*rows[1:], entries=count - 1)) == "malformed"
    assert refusal(replicas, with_rows(*reversed(rows), entries=count)) == "malformed"
    assert refusal(replicas, with_rows(rows[0], *rows, entries=count + 1)) == "malformed"


def test_leaves_out_of_order_or_in_the_wrong_place_are_refused(replicas):
    records = records_of(replicas)
    moved = [*records[:1], *records[3:-1], *records[1:3], records[-1]]
    assert refusal(replicas, packed(moved)) == "malformed"
    leaf = records[1]
    elsewhere = Leaf("0" + leaf.path, leaf.entries)
    assert refusal(replicas, packed([records[0], elsewhere, *records[2:]])) in {
        "malformed",
        "other_root",
    }


def test_a_file_cut_short_anywhere_is_refused(replicas):
    whole = packed(records_of(replicas))
    # The last four bytes only repeat, as a checksum, what all the hashes say.
    for end in [*range(40), *range(40, len(whole), 997), len(whole) - 5]:
        assert refusal(replicas, whole[:end]) in {"malformed", "truncated"}
    assert refusal(replicas, whole + b"more") == "malformed"


def test_any_flipped_bit_is_noticed(replicas):
    whole = packed(records_of(replicas))[:-4]
    chosen = random.Random(7)
    for _ in range(150):
        damaged = bytearray(whole)
        damaged[chosen.randrange(len(whole))] ^= 1 << chosen.randrange(8)
        assert refusal(replicas, bytes(damaged))


@settings(max_examples=100)
@given(st.binary(max_size=300))
def test_any_bytes_are_refused_with_a_code(data):
    replicas = Replicas()
    assert refusal(replicas, data) in {"malformed", "truncated"}
    assert refusal(replicas, MAGIC + zstandard.compress(data)) in {"malformed", "truncated"}


def test_what_expands_without_end_is_read_piece_by_piece_and_refused(replicas):
    bomb = MAGIC + zstandard.compress(bytes(200_000_000))
    assert refusal(replicas, bomb) == "malformed"


# --- Increments -----------------------------------------------------------------------------------


def changed_often(seed: int, rounds: int) -> tuple[Replicas, list[bytes]]:
    """Return a cluster whose state grew, changed and shrank, and a chain of its backups."""
    chosen, replicas = random.Random(seed), Replicas()
    files: list[bytes] = []
    known = b""
    for _ in range(rounds):
        for _ in range(chosen.randrange(1, 120)):
            name = f"id-{chosen.randrange(400)}"
            if chosen.random() < 0.3 and replicas.machine.view.get("airports", name):
                replicas.do(Delete("airports", name))
            else:
                body = pack_document({"n": chosen.randrange(9)})
                replicas.do(Put("airports", name, body))
        records = records_of(replicas, known)
        files.append(packed(records))
        known = verify(replicas, *files).contents.known
    return replicas, files


@settings(max_examples=8)
@given(st.integers(0, 2**32))
def test_increments_put_together_are_the_whole(seed):
    replicas, files = changed_often(seed, 4)
    together = verify(replicas, *files)
    whole = verify(replicas, packed(records_of(replicas)))
    assert together.is_whole
    assert together.contents == whole.contents
    readers = [BackupReader(io.BytesIO(file)) for file in files]
    joined = packed([readers[-1].head, *chained(readers)])
    assert verify(replicas, joined).contents == whole.contents


def test_an_increment_is_small_and_proves_its_root_alone(replicas):
    known = verify(replicas, packed(records_of(replicas))).contents.known
    more = Replicas()
    more.fill(700)
    more.do(Put("airports", "id-3", pack_document({"n": -1})))
    records = records_of(more, known)
    rows = sum(len(r.rows) for r in records if isinstance(r, Rows))
    assert rows < 150 < verify(more, packed(records_of(more))).contents.rows
    alone = verify(more, packed(records))
    assert not alone.is_whole
    assert alone.contents.root == more.machine.root()


def test_an_increment_on_another_base_is_refused(replicas):
    known = verify(replicas, packed(records_of(replicas))).contents.known
    replicas.do(Put("airports", "id-4", pack_document({"n": -2})))
    increment = packed(records_of(replicas, known))
    other = Replicas()
    other.fill(690)
    assert refusal(replicas, packed(records_of(other)), increment) == "other_root"


def test_what_was_received_before_a_stream_broke_off_is_not_sent_again():
    replicas = Replicas()
    replicas.fill(700)
    compressor = zstandard.ZstdCompressor().compressobj()
    records = records_of(replicas)
    sent = MAGIC
    for at in range(0, len(records), 20):
        sent += compressor.compress(encode_records(records[at : at + 20]))
        sent += compressor.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK)
    part = sent[: len(sent) // 2]
    weighing = Weighing()
    broken = BackupReader(io.BytesIO(part), may_break_off=True)
    for _ in weighing.through(broken.records()):
        pass
    assert weighing.known
    rest = records_of(replicas, weighing.known)
    assert sum(isinstance(record, Same) for record in rest)
    readers = [
        BackupReader(io.BytesIO(part), may_break_off=True),
        BackupReader(io.BytesIO(packed(rest))),
    ]
    again = Weighing()
    for _ in again.through(chained(readers)):
        pass
    assert verified(readers[-1].head, again.contents(), replicas.anchor).is_whole


# --- The node's side, and the command -------------------------------------------------------------


def test_a_node_whose_rows_are_damaged_makes_no_backup():
    replicas = Replicas()
    replicas.fill(60)
    replicas.machine.root()
    key, value = next(iter(replicas.store.iterate(b"D")))
    replicas.store.write({key: value + b"x"})
    with pytest.raises(DamagedStateError):
        list(backup_records(replicas.store.get))


def test_the_command_says_in_words_what_a_backup_proves(replicas, tmp_path, capsys):
    (tmp_path / "backup").write_bytes(packed(records_of(replicas)))
    (tmp_path / "anchor.json").write_bytes(dump_anchor(replicas.anchor))
    arguments = [
        "verify-backup",
        str(tmp_path / "backup"),
        "--anchor",
        str(tmp_path / "anchor.json"),
    ]
    assert main(arguments) == 0
    assert "PROVEN. This is the state of cluster" in capsys.readouterr().out
    (tmp_path / "backup").write_bytes(packed(records_of(replicas))[:-9])
    assert main(arguments) == 1
    assert "NOT PROVEN." in capsys.readouterr().out
