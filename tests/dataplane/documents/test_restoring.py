"""A cluster is filled with what a backup holds, wholly or not at all."""

import io
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dataplane.client.backups import BackupReader, Verified
from dataplane.client.restores import announcement, parts_of
from dataplane.documents import collections, restoring, tables
from dataplane.documents.audit_commands import AuditPut
from dataplane.documents.commands import (
    Barrier,
    CollectionDrop,
    CollectionPut,
    Delete,
    Get,
    IndexPut,
    KeyPut,
    Op,
    OpResult,
    Put,
    QuotaPut,
    RestoreBegin,
    RestoreDiscard,
    RestoreEnd,
    RestoreRows,
    decode_result,
    encode_op,
)
from dataplane.documents.state import StateMachine
from dataplane.documents.tables import COLLECTION, CollectionRow
from dataplane.documents.types import Genesis
from dataplane.documents.values import pack_document
from dataplane.wire.backups import CONTENT
from tests.dataplane.client.test_backups import packed, records_of, verify
from tests.dataplane.documents.index_checks import check_clean
from tests.proving import NOW_MS, Replicas, Sent

ID = b"r" * 16
PARTS = 7
"""So many rows go into one part here, for many parts of little."""


class Source:
    """A cluster with content, and its backup."""

    def __init__(self) -> None:
        self.replicas = Replicas()
        self.replicas.fill(90)
        self.replicas.do(CollectionPut("planes", pack_document({"conflict_policy": "lww"})))
        self.replicas.do(Put("planes", "a/b".replace("/", "-"), pack_document({"seats": 3})))
        self.replicas.do(Put("planes", "x", pack_document({"seats": 4})), Delete("planes", "x"))
        self.replicas.do(Put("gone", "g", pack_document({})), CollectionDrop("gone"))
        self.replicas.do(Put("airports", "id-7", pack_document({"n": "seven"})))
        self.file = packed(records_of(self.replicas))
        self.verified: Verified = verify(self.replicas, self.file)

    def begin(self, **fields: object) -> RestoreBegin:
        announced = announcement(self.verified.head, self.verified.contents)
        known = {name: getattr(announced, name) for name in announced.__slots__}
        known["source_root"] = bytes.fromhex(announced.source_root)
        known["content"] = bytes.fromhex(announced.content)
        return RestoreBegin(**{"id": ID, **known, **fields})

    def rows(self) -> list[tuple[bytes, bytes]]:
        records = BackupReader(io.BytesIO(self.file)).records()
        return [row for part in parts_of(self.verified.contents, records) for row in part]

    def parts(self) -> Iterator[RestoreRows]:
        rows = self.rows()
        for number, start in enumerate(range(0, len(rows), PARTS)):
            yield RestoreRows(ID, number, tuple(rows[start : start + PARTS]))


class Target(Replicas):
    """A cluster that is to be filled."""

    def ask(self, op: Op) -> OpResult:
        self.cseq += 1
        sent = Sent((encode_op(op),), self.cseq, ack=self.cseq - 1)
        result = self.machine.apply(self.machine.applied + 1, NOW_MS + 1, [sent])
        return decode_result(result.requests[0].results[0])

    def restart(self) -> None:
        self.machine = StateMachine(self.store, Genesis())

    def refused(self, op: Op, code: str) -> None:
        before = {k: v for k, v in self.store.iterate(b"") if k[:1] in (b"C", b"D", b"R")}
        result = self.ask(op)
        assert result.code == code, result
        assert before == {k: v for k, v in self.store.iterate(b"") if k[:1] in (b"C", b"D", b"R")}

    def content(self) -> dict[bytes, bytes]:
        return {key: value for kind in CONTENT for key, value in self.store.iterate(kind)}

    def totals(self) -> tuple[int, int, int]:
        stats = self.machine.view.stats()
        return stats.documents, stats.bytes, stats.collections


def content_of(replicas: Replicas) -> dict[bytes, bytes]:
    return {key: value for kind in CONTENT for key, value in replicas.store.iterate(kind)}


@pytest.fixture(scope="module")
def source() -> Source:
    return Source()


def load(source: Source, target: Target) -> None:
    assert target.ask(source.begin()).detail == "loading"
    for part in source.parts():
        assert target.ask(part).status == 200


def test_a_restored_cluster_holds_the_same_documents_versions_and_times(source):
    target = Target()
    load(source, target)
    ended = target.ask(RestoreEnd(ID))
    assert (ended.status, ended.detail) == (200, "done")
    assert target.content() == content_of(source.replicas)
    stats, source_stats = target.machine.view.stats(), source.replicas.machine.view.stats()
    assert (stats.documents, stats.bytes) == (source_stats.documents, source_stats.bytes)
    found = target.machine.view.get("airports", "id-7")
    assert found == source.replicas.machine.view.get("airports", "id-7")
    assert found is not None
    assert found.version == 2
    assert target.machine.view.collection("planes") == (
        source.replicas.machine.view.collection("planes")
    )


def test_life_goes_on_after_a_restore_and_no_version_comes_twice(source):
    target = Target()
    load(source, target)
    target.ask(RestoreEnd(ID))
    assert target.ask(Put("airports", "id-7", pack_document({"n": 8}))).version == 3
    assert target.ask(Put("planes", "x", pack_document({}))).version == 2
    # The collection that the source had dropped comes back above the versions it had there.
    assert target.ask(Put("gone", "g", pack_document({}))).version == 2
    fresh = tables.decode_collection(target.store.get(b"Cgone") or b"").id
    assert fresh not in {
        tables.decode_collection(row).id
        for key, row in source.replicas.store.iterate(b"C")
        if key != b"Cgone"
    }
    assert target.machine.view.restore() is not None


def test_documents_can_be_neither_read_nor_written_until_the_end(source):
    target = Target()
    target.ask(source.begin())
    for op in (
        Get("airports", "id-1"),
        Put("airports", "new", pack_document({})),
        CollectionPut("new", pack_document({})),
        CollectionDrop("airports"),
    ):
        target.refused(op, "restoring")
    assert target.machine.view.is_restoring
    assert target.ask(QuotaPut(None, 10**9)).status == 200
    assert target.ask(KeyPut("k", b"h" * 32, "n", ("documents:read",))).status == 201
    load(source, target)
    end = (encode_op(RestoreEnd(ID)), encode_op(Put("airports", "new", pack_document({}))))
    target.cseq += 1
    sent = Sent(end, target.cseq, ack=target.cseq - 1)
    result = target.machine.apply(target.machine.applied + 1, NOW_MS + 1, [sent]).requests[0]
    assert [decode_result(r).code for r in result.results] == [None, "restoring"]
    assert target.ask(Put("airports", "new", pack_document({}))).status == 201
    assert not target.machine.view.is_restoring


def test_keys_and_limits_of_the_cluster_stay(source):
    target = Target()
    target.ask(QuotaPut(5, 10**9))
    target.ask(KeyPut("k", b"h" * 32, "n", ("documents:read",)))
    load(source, target)
    target.ask(RestoreEnd(ID))
    assert target.machine.view.key("k") is not None
    assert target.machine.view.quota().storage_limit_bytes == 10**9


def test_parts_may_be_sent_again_but_not_left_out(source):
    target = Target()
    target.ask(source.begin())
    parts = list(source.parts())
    for part in parts[:3]:
        assert target.ask(part).version == part.number + 1
    assert target.ask(parts[1]).version == 3
    target.refused(parts[4], "conflict")
    target.restart()
    assert target.ask(source.begin()).version == 3
    for part in parts[3:]:
        assert target.ask(part).status == 200
    assert target.ask(RestoreEnd(ID)).status == 200
    assert target.ask(RestoreEnd(ID)).detail == "done"
    assert target.content() == content_of(source.replicas)


def test_what_was_not_announced_is_not_taken_up(source):
    target = Target()
    target.ask(source.begin())
    parts = list(source.parts())
    for part in parts[:-1]:
        target.ask(part)
    target.refused(RestoreEnd(ID), "restore_mismatch")
    other = Target()
    other.ask(source.begin(content=bytes(32)))
    for part in parts:
        other.ask(part)
    other.refused(RestoreEnd(ID), "restore_mismatch")


def test_a_discarded_restore_leaves_an_empty_cluster_that_can_be_filled(source):
    target = Target()
    empty = target.totals()
    target.ask(source.begin())
    for part in list(source.parts())[:-1]:
        target.ask(part)
    assert target.totals() != empty
    assert target.ask(RestoreDiscard(ID)).status == 204
    assert target.totals() == empty
    assert target.ask(RestoreDiscard(ID)).code == "not_found"
    while target.ask(source.begin()).detail == "clearing":
        pass
    assert target.content() == {}
    load(source, target)
    assert target.ask(RestoreEnd(ID)).status == 200
    assert target.content() == content_of(source.replicas)


def test_what_is_written_after_a_discard_outlives_the_clearing_away(source, monkeypatch):
    monkeypatch.setattr(collections, "DROPS_PER_BATCH", 10)
    target = Target()
    load(source, target)
    assert target.ask(RestoreDiscard(ID)).status == 204
    assert target.ask(Put("mine", "zz", pack_document({}))).status == 201
    while target.machine.maintenance.is_due(NOW_MS):
        target.ask(Barrier())
    assert target.machine.view.get("mine", "zz") is not None
    assert target.totals()[0] == sum(1 for _ in target.store.iterate(b"D")) == 1


def test_replicas_that_begin_anew_meanwhile_go_on_alike(source):
    anew, other = Target(), Target()
    begun, parts = source.begin(), list(source.parts())
    write = Put("airports", "id-7", pack_document({"n": 7}))
    ops: list[Op] = [AuditPut("forensic"), begun, *parts, write, RestoreDiscard(ID), write]
    ops += [Barrier(), begun, *parts, write, RestoreEnd(ID), write]
    for op in ops:
        for target in (anew, other):
            target.ask(op)
        assert anew.machine.root() == other.machine.root()
        anew.restart()
    assert len(other.content()) > 1


def test_another_restore_does_not_begin_in_the_batch_that_ends_one(source):
    target = Target()
    load(source, target)
    target.cseq += 1
    ops = (RestoreEnd(ID), source.begin(id=b"o" * 16))
    sent = Sent(tuple(map(encode_op, ops)), target.cseq, ack=target.cseq - 1)
    result = target.machine.apply(target.machine.applied + 1, NOW_MS + 1, [sent])
    ended, begun = map(decode_result, result.requests[0].results)
    assert (ended.status, begun.code) == (200, "conflict")
    assert target.content() == content_of(source.replicas)


def test_a_restore_leaves_numbers_for_the_collections_that_come_later(source):
    Target().refused(source.begin(next_collection=2**32 - 1), "invalid")


def test_a_conflict_that_nobody_could_resolve_is_refused(source):
    target = Target()
    target.ask(source.begin())
    row = CollectionRow(7, 0, 0, pack_document({}), 0, 0, 1, 20)
    target.ask(RestoreRows(ID, 0, ((COLLECTION + b"_conflicts", tables.encode_row(row)),)))
    record = tables.encode_document_row(1, 0, 0, pack_document({"collection": "c"}))
    target.refused(RestoreRows(ID, 1, ((tables.document_prefix(7) + b"c.1", record),)), "invalid")


def test_a_cluster_with_content_is_only_replaced_when_that_is_asked(source):
    target = Target()
    target.fill(1500)
    target.do(Put("airports", "id-3", pack_document({})))
    target.refused(source.begin(), "conflict")
    state = target.ask(source.begin(replace=True))
    assert state.detail == "clearing"
    assert target.totals() == (0, 0, 0)
    assert target.ask(next(source.parts())).code == "conflict"
    while target.ask(source.begin(replace=True)).detail == "clearing":
        pass
    load(source, target)
    target.ask(RestoreEnd(ID))
    assert target.content() == content_of(source.replicas)
    target.refused(source.begin(id=b"s" * 16), "conflict")


def test_two_restores_do_not_mix(source):
    target = Target()
    target.ask(source.begin())
    target.refused(source.begin(id=b"s" * 16), "conflict")
    part = next(source.parts())
    target.refused(RestoreRows(b"s" * 16, 0, part.rows), "not_found")


def test_the_plan_s_storage_holds_for_a_restore_too(source):
    target = Target()
    target.ask(QuotaPut(None, 300))
    target.ask(source.begin())
    codes = [target.ask(part).code for part in source.parts()]
    assert "storage_quota_exceeded" in codes


COLLECTION_ROW = tables.encode_row(tables.CollectionRow(1, 1, 1, b"\x80", 0, 1, 1, 3))
DOCUMENT_ROW = tables.encode_document_row(1, 1, 1, b"\x80")


@pytest.mark.parametrize(
    "rows",
    [
        [(b"M", b"x")],
        [(b"K" + b"k", b"x")],
        [(b"", b"x")],
        [(b"Cthings", b"x")],
        [(b"CTHINGS", COLLECTION_ROW)],
        [(b"C\xff", COLLECTION_ROW)],
        [(b"Cthings", tables.encode_row(tables.CollectionRow(0, 1, 1, b"\x80", 0, 1)))],
        [(b"Cthings", tables.encode_row(tables.CollectionRow(1, -1, 1, b"\x80", 0, 1)))],
        [(b"Cthings", tables.encode_row(tables.CollectionRow(1, 1, 1, b"\xc1", 0, 1)))],
        [(b"Cthings", COLLECTION_ROW), (b"Dtoo", DOCUMENT_ROW)],
        [(b"Cthings", COLLECTION_ROW), (b"D\0\0\0\1id", b"short")],
        [(b"Cthings", COLLECTION_ROW), (b"D\0\0\0\2id", DOCUMENT_ROW)],
        [(b"Cthings", COLLECTION_ROW), (b"D\0\0\0\1\xff", DOCUMENT_ROW)],
        [(b"Cthings", COLLECTION_ROW), (b"D\0\0\0\1a/b", DOCUMENT_ROW)],
        [
            (b"Cthings", COLLECTION_ROW),
            (b"D\0\0\0\1id", tables.encode_document_row(1, 1, 1, pack_document({"_id": 1}))),
        ],
        [
            (b"Cthings", COLLECTION_ROW),
            (b"D\0\0\0\1id", tables.encode_document_row(0, 1, 1, b"\x80")),
        ],
    ],
)
def test_rows_that_would_harm_the_state_are_refused_one_by_one(source, rows):
    target = Target()
    target.ask(source.begin())
    result = target.ask(RestoreRows(ID, 0, tuple(rows)))
    assert result.status in {400, 422}
    assert target.content() == {}
    assert target.ask(source.begin()).version == 0


@settings(max_examples=40)
@given(st.lists(st.tuples(st.binary(max_size=12), st.binary(max_size=40)), max_size=4))
def test_no_rows_whatever_stop_a_replica(rows):
    target = Target()
    target.ask(RestoreBegin(ID, "a" * 32, 0, 1, bytes(32), 1, bytes(32), 4, 1, 0))
    marked = tuple((kind + key, value) for kind in (b"C", b"D") for key, value in rows)
    target.ask(RestoreRows(ID, 0, marked))
    target.ask(RestoreEnd(ID))
    target.restart()


def test_two_replicas_agree_on_every_step(source):
    one, other = Target(), Target()
    steps = [source.begin(), *source.parts(), RestoreEnd(ID)]
    for step in steps:
        assert one.ask(step) == other.ask(step)
        other.restart()
        assert one.machine.root() == other.machine.root()


class IndexedSource(Source):
    """A cluster with indexes, of which one is being built while the backup is taken."""

    def __init__(self) -> None:
        self.replicas = Replicas()
        self.replicas.fill(90)
        self.replicas.do(CollectionPut("planes", pack_document({"ttl": 60})))
        self.replicas.do(Put("planes", "x", pack_document({"seats": 4})))
        self.replicas.do(IndexPut("planes", "seats", (("seats", -1),), unique=True))
        for _ in range(3):
            self.replicas.do(Barrier())
        self.replicas.do(IndexPut("airports", "n", (("n", 1),)))
        self.replicas.do(Barrier())
        self.file = packed(records_of(self.replicas))
        self.verified = verify(self.replicas, self.file)


@pytest.fixture(scope="module")
def indexed() -> IndexedSource:
    return IndexedSource()


def test_indexes_come_back_and_are_built_anew_alike_on_nodes_that_restart(indexed):
    states = [record.state for record in indexed.replicas.machine.view.indexes("airports")]
    assert states == ["building"]
    one, other = Target(), Target()
    for step in [indexed.begin(), *indexed.parts(), RestoreEnd(ID), *([Barrier()] * 8)]:
        assert one.ask(step) == other.ask(step)
        other.restart()
        assert one.machine.root() == other.machine.root()
    check_clean(one.store)
    for name, count in (("airports", 1), ("planes", 2)):
        records = one.machine.view.indexes(name)
        assert [record.state for record in records] == ["ready"] * count
    assert one.machine.view.indexes("airports")[0].entries == 90


def test_a_discarded_restore_leaves_no_index_behind(indexed):
    target = Target()
    load(indexed, target)
    assert target.ask(RestoreDiscard(ID)).status == 204
    assert not list(target.store.iterate(b"L"))
    assert target.ask(Put("planes", "x", pack_document({}))).status == 201
    assert target.machine.view.indexes("planes") == []


def test_every_kind_of_row_is_said_to_be_restored_or_not():
    """A new kind of replicated row must be put in `CONTENT`, or here."""
    own = {b"M", b"G", b"I", b"X", b"K", b"N", b"Q", b"S", b"W", b"U", b"Z", b"E", b"R", b"A"}
    own |= {b"B", b"F", b"O", b"P", b"T", b"V", b"Y"}
    kinds = {
        value
        for name, value in vars(tables).items()
        if name.isupper() and isinstance(value, bytes) and len(value) == 1 and value.isupper()
    }
    assert kinds == own | set(CONTENT)


def test_a_restore_that_nobody_goes_on_with_is_given_up_in_agreed_time(source):
    target = Target()
    other = Target()
    for one in (target, other):
        one.ask(source.begin())
        one.ask(next(source.parts()))
    record = target.machine.view.restore()
    assert record is not None
    assert record.ends_ms == NOW_MS + 1 + restoring.IDLE_MS
    target.restart()
    maintenance = target.machine.maintenance
    assert not maintenance.is_due(record.ends_ms - 1)
    assert maintenance.is_due(record.ends_ms)
    for one, at_ms in ((target, record.ends_ms), (other, record.ends_ms - 1)):
        one.machine.apply(one.machine.applied + 1, at_ms, [])
    assert target.machine.view.restore() is None
    assert not target.machine.view.is_restoring
    assert target.totals() == (0, 0, 0)
    assert other.machine.view.is_restoring
    assert target.ask(list(source.parts())[1]).code == "not_found"
    for at_ms in range(record.ends_ms + 1, record.ends_ms + 9):
        target.machine.apply(target.machine.applied + 1, at_ms, [])
    assert target.content() == {}
    load(source, target)
    assert target.ask(RestoreEnd(ID)).detail == "done"
    assert target.content() == content_of(source.replicas)


def test_whoever_asks_how_far_it_is_keeps_a_restore_alive(source):
    target = Target()
    target.ask(source.begin())
    ask = Sent((encode_op(source.begin()),), 50, ack=0)
    later = NOW_MS + restoring.IDLE_MS
    target.machine.apply(target.machine.applied + 1, later, [ask])
    target.machine.apply(target.machine.applied + 1, later + restoring.IDLE_MS - 1, [])
    assert target.machine.view.is_restoring
    target.machine.apply(target.machine.applied + 1, later + restoring.IDLE_MS, [])
    assert not target.machine.view.is_restoring
