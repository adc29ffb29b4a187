"""The audit chain: complete, linked, bounded, equal everywhere, and free where it is not used."""

import hashlib
from typing import Any, get_args

import msgspec
import pytest
from blake3 import blake3

from dataplane.documents import audited, auditing
from dataplane.documents.audit_commands import (
    AuditEvent,
    AuditPut,
    CompliancePut,
    EraseBegin,
    EraseEnd,
    EraseStep,
    ReportAudit,
)
from dataplane.documents.audit_view import AuditQuestion, Linked
from dataplane.documents.commands import (
    Check,
    ClusterErase,
    CollectionDrop,
    CollectionPut,
    Create,
    Delete,
    Get,
    IndexDrop,
    KeyPut,
    Op,
    OpResult,
    Patch,
    Put,
    Resolve,
    Transact,
    attribute,
    decode_op,
    decode_result,
    encode_op,
    name_of,
)
from dataplane.documents.state import StateMachine
from dataplane.documents.tables import AUDIT
from dataplane.documents.types import Genesis
from dataplane.documents.values import pack_document
from dataplane.storage.engine import MemoryStore
from dataplane.wire.audit import ENDS_KEY, START, decode_ends, hash_record
from dataplane.wire.membership import Member
from tests.dataplane.documents.test_state import GENESIS, Driver, Sent

HALF_DAY = 43_200_000
BODY = pack_document({"n": 1})
GATEWAY = b"c" * 32
MEMBERS = (Member(7, "127.0.0.1", 1, 2, b"v" * 32, GATEWAY),)


class Audited(Driver):
    def __init__(self, level: str = "basic") -> None:
        super().__init__(MemoryStore(), Genesis(keys=GENESIS.keys, members=MEMBERS))
        if level != "basic":
            self.do(AuditPut(level))

    def by(self, actor: str, *ops: Op) -> list[OpResult]:
        self.cseq += 1
        encoded = tuple(attribute(encode_op(op), actor) for op in ops)
        (answer,) = self.order(Sent(encoded, self.cseq, ack=self.cseq - 1))
        return [decode_result(result) for result in answer.results]

    def links(self, **options: Any) -> list[Linked]:
        return self.machine.view.audit.page(AuditQuestion(**{"limit": 1_000} | options)).records

    def actions(self, **options: Any) -> list[str]:
        return [linked.record.action for linked in self.links(**options)]

    def check_chain(self) -> None:
        """Every record links to the one before, from the start that is kept to the head."""
        ends = decode_ends(self.store.get(ENDS_KEY) or b"")
        last, index = ends.start, ends.first
        for linked in self.links(limit=100_000):
            assert (linked.record.index, linked.previous) == (index, last)
            last, index = hash_record(last, linked.record), index + 1
            assert linked.hash == last
        assert (last, index - 1) == (ends.head, ends.last)


@pytest.mark.parametrize(
    "options",
    [msgspec.msgpack.Ext(5, b"x"), {None: 1}, {1: 2, "b": 3}, b"bytes"],
    ids=["ext", "null_name", "mixed_names", "bytes"],
)
def test_options_that_no_json_can_say_are_refused_and_recorded(options: object):
    driver = Audited()
    packed = msgspec.msgpack.encode({"a": options})
    assert driver.do(CollectionPut("c", packed)).status >= 400
    (record,) = [linked.record for linked in driver.links()]
    assert (record.action, record.collection, record.detail) == ("collection.put", "c", "{}")


def test_a_record_is_bounded_whatever_was_refused():
    driver = Audited("full")
    long = "n" * 100_000
    refused = [
        EraseStep(long.encode(), long, (long,)),
        EraseBegin(long.encode(), b"", b""),
        EraseEnd(long.encode()),
        KeyPut(long, b"", long, (long,)),
        CollectionPut(long, b""),
        CollectionDrop(long),
        IndexDrop(long, long),
        Put(long, long, BODY),
        Transact((Put(long, long, BODY), Get(long, long))),
        Resolve(long, long, long),
        ClusterErase(long),
        CompliancePut((long,), 0, b""),
    ]
    for op in refused:
        driver.do(op)
    records = [linked.record for linked in driver.links()][1:]
    assert len(records) == len(refused)
    assert max(len(msgspec.msgpack.encode(record)) for record in records) < 3_000


def test_every_operation_is_audited_or_said_not_to_be():
    tables = (set(audited.ADMINISTRATIVE), set(audited.WRITES), set(audited.UNRECORDED))
    assert set.union(*tables) == set(get_args(Op.__value__))
    assert sum(map(len, tables)) == len(set.union(*tables))
    assert name_of(encode_op(AuditPut())) == b"AuditPut"


def test_at_level_basic_a_write_changes_no_row_of_the_log():
    driver = Audited()
    before = driver.store.get(ENDS_KEY)
    driver.do(Put("c", "a", BODY))
    assert driver.store.get(ENDS_KEY) == before
    assert list(driver.store.iterate(AUDIT)) == []


def test_at_level_basic_orders_of_administrators_are_recorded_with_who_and_what():
    driver = Audited()
    driver.by("alice", CollectionPut("c", pack_document({"conflict_policy": "lww"})))
    driver.by("bob", CollectionDrop("nothing"))
    driver.do(KeyPut("k1", hashlib.sha256(b"k").digest(), "shop", ("documents:read",)))
    put, drop, key = (linked.record for linked in driver.links())
    assert (put.actor, put.action, put.collection, put.status) == (
        "alice",
        "collection.put",
        "c",
        201,
    )
    assert (put.detail, put.node) == ('{"conflict_policy":"lww"}', 7)
    assert (put.sequence, put.position, put.at_ms) == (2, 0, driver.now)
    assert (drop.actor, drop.status, drop.code) == ("bob", 404, "not_found")
    assert (key.actor, key.id) == (None, "k1")
    assert '"scopes":["documents:read"]' in (key.detail or "")
    driver.check_chain()


def test_at_level_full_every_write_is_recorded_with_its_outcome():
    driver = Audited("full")
    driver.by("alice", Put("c", "a", BODY), Create("c", "a", BODY), Patch("c", "a", BODY))
    driver.by("alice", Delete("c", "a"), Delete("c", "a"))
    found = [
        (r.record.action, r.record.status, r.record.code, r.record.version)
        for r in driver.links()[1:]
    ]
    assert found == [
        ("document.put", 201, None, 1),
        ("document.create", 409, "conflict", 1),
        ("document.patch", 200, None, 2),
        ("document.delete", 204, None, None),
        ("document.delete", 404, "not_found", None),
    ]
    assert all(r.record.before is None is r.record.after for r in driver.links())
    driver.check_chain()


def test_at_level_forensic_a_write_has_the_digests_of_its_document():
    driver = Audited("forensic")
    driver.by("alice", Put("c", "a", BODY), Delete("c", "a"))
    put, delete = (linked.record for linked in driver.links()[1:])
    digest = blake3(BODY).digest()
    assert (put.before, put.after) == (None, digest)
    assert (delete.before, delete.after) == (digest, None)


def test_of_a_transaction_each_step_is_recorded_or_that_nothing_was_done():
    driver = Audited("forensic")
    driver.by("alice", Put("c", "a", BODY))
    driver.by("alice", Transact((Put("c", "b", BODY), Get("c", "a"), Check("c", "a"))))
    driver.by("alice", Transact((Put("c", "x", BODY), Delete("c", "gone"))))
    put, read, failed = (linked.record for linked in driver.links()[2:])
    assert (put.action, put.id, put.status, put.before) == ("document.put", "b", 201, None)
    assert put.after == blake3(BODY).digest()
    assert (read.action, read.id, read.detail) == ("document.read", "a", '{"transaction":3}')
    assert (failed.action, failed.status, failed.code) == ("transaction", 409, "conflict")
    assert failed.detail == '{"steps":[["put","c","x"],["delete","c","gone"]]}'
    driver.check_chain()


def test_a_write_repeated_under_its_idempotency_key_is_recorded_once():
    driver = Audited("full")
    key = blake3(b"once").digest()
    driver.by("alice", Put("c", "a", BODY, idempotency=key))
    driver.by("alice", Put("c", "a", BODY, idempotency=key))
    assert driver.actions() == ["audit.put", "document.put"]


def test_reads_that_gateways_report_are_recorded_at_level_forensic_only():
    read = AuditEvent("alice", "document.read", "c", "a", 200, None, 3, 1, None)
    refused = AuditEvent("eve", "key.put", None, "k", 403, "forbidden", None, 2, None)
    for level, expected in (
        ("full", ["key.put"]),
        ("forensic", ["document.read", "key.put"]),
    ):
        driver = Audited(level)
        assert driver.do(ReportAudit((read, refused))).status == 200
        assert driver.actions()[1:] == expected
        assert driver.links()[-1].record.count == 2


@pytest.mark.parametrize(
    "event",
    [
        AuditEvent("a" * 201, "x", None, None, 200, None, None, 1, None),
        AuditEvent("a", "x", None, None, -1, None, None, 1, None),
        AuditEvent("a", "x", None, None, 200, None, None, 1, "d" * 1_025),
    ],
)
def test_a_report_out_of_bounds_is_refused_whole(event: AuditEvent):
    driver = Audited("forensic")
    fine = AuditEvent("a", "x", None, None, 200, None, None, 1, None)
    assert driver.do(ReportAudit((fine, event))).code == "invalid"
    assert driver.do(ReportAudit((fine,) * 1_001)).code == "invalid"
    assert driver.actions() == ["audit.put"]


@pytest.mark.parametrize(
    ("settings", "pointer"),
    [
        (AuditPut("loud"), "/level"),
        (AuditPut(retention_ms=1), "/retention_ms"),
        (AuditPut(records_max=1), "/records_max"),
    ],
)
def test_settings_out_of_bounds_are_refused_and_that_is_recorded(settings: AuditPut, pointer: str):
    driver = Audited()
    result = driver.do(settings)
    assert (result.code, result.errors[0][0]) == ("invalid", pointer)
    assert [linked.record.code for linked in driver.links()] == ["invalid"]


def test_many_records_of_one_batch_go_into_rows_of_bounded_size(monkeypatch):
    monkeypatch.setattr(auditing, "ROW_RECORDS_MAX", 4)
    driver = Audited("full")
    driver.by("alice", *[Put("c", f"d{n}", BODY) for n in range(10)])
    assert len(list(driver.store.iterate(AUDIT))) == 1 + 3
    assert [linked.record.position for linked in driver.links()[1:]] == list(range(10))
    driver.check_chain()


def test_old_records_are_forgotten_a_few_rows_at_a_time_and_the_rest_proves_itself():
    driver = Audited("full")
    driver.do(AuditPut(retention_ms=HALF_DAY))
    for number in range(40):
        driver.do(Put("c", f"d{number}", BODY))
    driver.now += HALF_DAY + 1
    kept = []
    for _ in range(4):
        driver.do(Put("c", "new", BODY))
        driver.check_chain()
        kept.append(len(driver.links()))
    assert kept == [42 + 1 - 16, 42 + 2 - 32, 4 - 1, 4]
    ends = decode_ends(driver.store.get(ENDS_KEY) or b"")
    assert (ends.first, ends.last) == (43, 46)
    assert ends.start != START


def test_more_records_than_allowed_are_forgotten_unless_they_must_be_kept():
    driver = Audited("full")
    driver.do(AuditPut(records_max=256))
    for number in range(3):
        driver.by("alice", *[Put("c", f"d{number}-{n}", BODY) for n in range(200)])
    driver.now += 1
    driver.do(Put("c", "new", BODY))
    assert len(driver.links()) == 201
    driver.check_chain()
    driver.machine._audit.keep_least_ms = HALF_DAY
    driver.by("alice", *[Put("c", f"more-{n}", BODY) for n in range(200)])
    driver.now += 1
    driver.do(Put("c", "new", BODY))
    assert len(driver.links()) == 402


def test_what_cannot_be_written_down_is_not_done_but_settings_can_be_changed(monkeypatch):
    monkeypatch.setattr(auditing, "RECORDS_LIMIT", 3)
    driver = Audited("full")
    driver.bundle(Put("c", "a", BODY), Put("c", "b", BODY))
    assert driver.do(Put("c", "c", BODY)).code == "audit_full"
    assert driver.machine.view.get("c", "c") is None
    assert driver.do(AuditPut("basic")).status == 200
    assert driver.do(Put("c", "c", BODY)).status == 201
    driver.check_chain()


def test_pages_go_either_way_and_meet_all_records_once():
    driver = Audited("full")
    for number in range(30):
        driver.by("alice" if number % 3 else "bob", Put("c", f"d{number}", BODY))
    for newest in (False, True):
        seen: list[int] = []
        after = None
        while True:
            page = driver.machine.view.audit.page(
                AuditQuestion(7, after, actor="bob", is_newest_first=newest)
            )
            seen += [linked.record.index for linked in page.records]
            after = page.next
            if after is None:
                break
        assert seen == sorted(range(2, 32, 3), reverse=newest)


def test_records_are_found_by_time_and_by_sequence():
    driver = Audited("full")
    first = driver.now
    for number in range(10):
        driver.now += 1_000
        driver.do(Put("c", f"d{number}", BODY))
    ids = [r.record.id for r in driver.links(since_ms=first + 3_000, until_ms=first + 6_000)]
    assert ids == ["d2", "d3", "d4"]
    at = driver.links(since_ms=first + 3_000)[0].record.sequence
    ids = [r.record.id for r in driver.links(from_sequence=at, to_sequence=at + 1)]
    assert ids == ["d2", "d3"]
    assert driver.links(since_ms=driver.now + 1) == []
    assert driver.actions(action="audit") == ["audit.put"]
    assert driver.actions(action="audi") == []
    assert driver.actions(collection="other") == []


def test_the_log_is_the_same_after_a_restart_and_in_another_replica():
    driver = Audited("forensic")
    driver.by("alice", Put("c", "a", BODY), Delete("c", "a"))
    driver.machine = StateMachine(driver.store, Genesis())
    driver.by("bob", Put("c", "b", BODY))
    other = StateMachine(MemoryStore(), Genesis(keys=GENESIS.keys, members=MEMBERS))
    for number, (at_ms, requests) in enumerate(driver.log, 1):
        other.apply(number, at_ms, requests)
    assert other.root() == driver.machine.root()
    assert [linked.record.actor for linked in driver.links()] == [None, "alice", "alice", "bob"]


@pytest.mark.parametrize("actor", ["", "a" * 201])
def test_an_operation_of_nobody_or_of_a_name_too_long_is_malformed(actor: str):
    driver = Audited("full")
    (result,) = driver.by(actor, Put("c", "a", BODY))
    assert result.code == "malformed"


def test_an_operation_cannot_be_attributed_twice():
    inner = attribute(encode_op(Put("c", "a", BODY)), "alice")
    with pytest.raises(Exception, match="not an operation of a key"):
        decode_op(attribute(inner, "bob"))
