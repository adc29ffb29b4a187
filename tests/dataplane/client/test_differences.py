"""What a restore would change is counted exactly, from a whole backup and from an increment."""

import io
import random

import msgspec
import pytest
from blake3 import blake3
from hypothesis import given, settings
from hypothesis import strategies as st

from dataplane.client.backups import BackupReader, chained
from dataplane.client.differences import Difference, differences
from dataplane.client.errors import BackupError
from dataplane.documents.commands import CollectionDrop, Delete, Put
from dataplane.documents.values import pack_document
from dataplane.wire.backups import Leaf, Rows
from tests.dataplane.client.test_backups import packed, records_of, verify
from tests.proving import Replicas

NAMES = ("cities", "people")


def held(replicas: Replicas) -> dict[str, dict[str, bytes]]:
    """Return what every collection holds, as stored."""
    view = replicas.machine.view
    return {
        record.name: {
            name: row
            for number in range(60)
            if (row := view.row(record.name, name := f"id-{number}")) is not None
        }
        for record in view.collections()
    }


def live(replicas: Replicas, chosen: random.Random, rounds: int) -> None:
    for _ in range(rounds):
        name, key = chosen.choice(NAMES), f"id-{chosen.randrange(60)}"
        exists = replicas.machine.view.get(name, key) is not None
        if exists and chosen.random() < 0.4:
            replicas.do(Delete(name, key))
        else:
            replicas.do(Put(name, key, pack_document({"n": chosen.randrange(9)})))


def expected(then: dict[str, dict[str, bytes]], now: dict[str, dict[str, bytes]]):
    for name in sorted({*then, *now}):
        old, new = then.get(name, {}), now.get(name, {})
        both = set(old) & set(new)
        yield Difference(
            name,
            now=len(new),
            then=len(old),
            added=len(set(old) - both),
            changed=sum(old[key] != new[key] for key in both),
            removed=len(set(new) - both),
        )


@settings(max_examples=10)
@given(st.integers(0, 2**32), st.booleans())
def test_every_document_is_counted_once_as_what_becomes_of_it(seed, is_increment):
    chosen, replicas = random.Random(seed), Replicas()
    live(replicas, chosen, 80)
    then, file = held(replicas), packed(records_of(replicas))
    known = verify(replicas, file).contents.known if is_increment else b""
    live(replicas, chosen, 40)
    readers = [BackupReader(io.BytesIO(file))] if is_increment else []
    readers.append(BackupReader(io.BytesIO(packed(records_of(replicas, known)))))
    found = differences(BackupReader(io.BytesIO(file)).records(), chained(readers))
    assert found == list(expected(then, held(replicas)))


def test_a_collection_made_again_is_another_one_and_a_dropped_one_comes_back():
    replicas = Replicas()
    for number in range(5):
        replicas.do(Put("cities", f"id-{number}", pack_document({})))
        replicas.do(Put("people", f"id-{number}", pack_document({})))
    file = packed(records_of(replicas))
    replicas.do(CollectionDrop("cities"))
    replicas.do(CollectionDrop("people"))
    replicas.do(Put("cities", "id-0", pack_document({})))
    # Rows of what was dropped may still be there until they are cleared away: they have no name.
    now = iter(records_of(replicas)[1:])
    found = differences(BackupReader(io.BytesIO(file)).records(), now)
    assert [(row.collection, row.now, row.then) for row in found] == [
        ("cities", 1, 5),
        ("people", 0, 5),
    ]
    assert [(row.added, row.changed, row.removed) for row in found] == [(5, 0, 1), (5, 0, 0)]


def test_equal_states_differ_in_nothing():
    replicas = Replicas()
    replicas.fill(50)
    one, other = (iter(records_of(replicas)[1:]) for _ in range(2))
    (found,) = differences(one, other)
    assert found == Difference("airports", now=50, then=50)


def test_a_collection_row_that_cannot_be_read_is_refused():
    rows = [Leaf("", 1), Rows(((b"Cx", b"\xc1"),))]
    with pytest.raises(BackupError):
        differences(iter(rows), iter([]))


def test_rows_of_a_dropped_collection_that_are_not_cleared_away_yet_are_no_documents():
    named = (b"Ccities", msgspec.msgpack.encode([1, 0, 0, b"", 0, 0]))
    rows = [(b"D" + (1).to_bytes(4, "big") + b"id-%d" % number, b"row") for number in range(6)]
    rows.sort(key=lambda row: blake3(row[0]).digest())
    with_name, without = (Rows((named, *rows)),), (Rows(tuple(rows)),)
    (came,) = differences(iter(with_name), iter(without))
    assert came == Difference("cities", then=6, added=6)
    (went,) = differences(iter(without), iter(with_name))
    assert went == Difference("cities", now=6, removed=6)
