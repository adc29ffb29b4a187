"""The state machine: exactly once, the same everywhere, limits as results."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from dataplane.documents.commands import (
    Barrier,
    CollectionDrop,
    CollectionPut,
    Create,
    Delete,
    Get,
    KeyPut,
    KeyRevoke,
    Op,
    OpenSession,
    OpResult,
    Patch,
    Put,
    QuotaPut,
    ReportCalls,
    Update,
    decode_result,
    encode_op,
    session_id,
)
from dataplane.documents.merkle import MerkleTree
from dataplane.documents.sessions import EXPIRED_PER_BATCH
from dataplane.documents.state import StateMachine
from dataplane.documents.types import Genesis, GenesisKey, RequestResult
from dataplane.documents.values import pack_document, unpack_document
from dataplane.storage.engine import MemoryStore, RocksStore
from dataplane.storage.ports import KeyValueStore

CLIENT = b"c" * 32
SESSION = session_id(CLIENT, b"nonce")
HOUR = 3_600_000
GENESIS = Genesis(
    keys=(GenesisKey("abc", hashlib.sha256(b"t").digest(), "first", ("documents:read",)),)
)


class Sent(msgspec.Struct, frozen=True):
    ops: tuple[bytes, ...]
    cseq: int
    client: bytes = CLIENT
    session: bytes = SESSION
    ack: int = 0


class Driver:
    """Orders requests one batch each and remembers the log."""

    def __init__(self, store: KeyValueStore, genesis: Genesis = GENESIS) -> None:
        self.store = store
        self.machine = StateMachine(store, genesis)
        self.log: list[tuple[int, list[Sent]]] = []
        self.now = 1_700_000_000_000
        self.cseq = 0
        self.order(Sent((encode_op(OpenSession(b"nonce")),), 0))

    def order(self, *requests: Sent) -> list[RequestResult]:
        self.log.append((self.now, list(requests)))
        result = self.machine.apply(self.machine.applied + 1, self.now, requests)
        return list(result.requests)

    def bundle(self, *ops: Op) -> list[OpResult]:
        self.cseq += 1
        sent = Sent(tuple(map(encode_op, ops)), self.cseq, ack=self.cseq - 1)
        (answer,) = self.order(sent)
        assert answer.status == "ok"
        return [decode_result(result) for result in answer.results]

    def do(self, op: Op) -> OpResult:
        (result,) = self.bundle(op)
        return result


@pytest.fixture(params=["memory", "rocks"])
def driver(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Driver]:
    store = MemoryStore() if request.param == "memory" else RocksStore(tmp_path / "state")
    yield Driver(store)
    store.close()


@pytest.fixture
def memory() -> Driver:
    return Driver(MemoryStore())


def doc(**fields: Any) -> bytes:
    return pack_document(fields)


def body(result: OpResult) -> dict[str, Any]:
    assert result.document is not None
    return unpack_document(result.document)


def test_life_of_a_document(driver: Driver) -> None:
    created = driver.do(Create("people", "a", doc(x=1)))
    assert (created.status, created.version) == (201, 1)
    assert driver.do(Create("people", "a", doc())).code == "conflict"
    driver.now += 5
    replaced = driver.do(Put("people", "a", doc(x=2, y={"z": 1})))
    assert (replaced.status, replaced.version) == (200, 2)
    assert replaced.created_us == created.created_us
    assert replaced.updated_us == driver.now * 1000
    patched = driver.do(Patch("people", "a", doc(x=None, y={"w": 2})))
    assert (patched.status, patched.version, body(patched)) == (200, 3, {"y": {"z": 1, "w": 2}})
    updated = driver.do(Update("people", "a", doc(**{"$inc": {"y.z": 4}})))
    assert body(updated) == {"y": {"w": 2, "z": 5}}
    assert body(driver.do(Get("people", "a"))) == body(updated)
    assert driver.do(Delete("people", "a")).status == 204
    for op in (Get("people", "a"), Delete("people", "a"), Patch("people", "a", doc(x=1))):
        assert (driver.do(op).status, driver.do(op).code) == (404, "not_found")


def test_an_etag_is_never_seen_twice(driver: Driver) -> None:
    seen = [driver.do(Put("c", "a", doc(n=n))).version for n in range(3)]
    driver.do(Delete("c", "a"))
    seen += [driver.do(Put("c", "a", doc(n=n))).version for n in range(3)]
    driver.do(CollectionDrop("c"))
    seen += [driver.do(Put("c", "a", doc(n=n))).version for n in range(3)]
    assert seen == list(range(1, 10))


def test_preconditions(memory: Driver) -> None:
    assert memory.do(Put("c", "a", doc(), if_version=1)).status == 412
    memory.do(Put("c", "a", doc(), if_none_match=True))
    again = memory.do(Put("c", "a", doc(), if_none_match=True))
    assert (again.status, again.code, again.version) == (412, "precondition_failed", 1)
    for op in (
        Put("c", "a", doc(), if_version=7),
        Patch("c", "a", doc(), if_version=7),
        Update("c", "a", doc(**{"$set": {"x": 1}}), if_version=7),
        Delete("c", "a", if_version=7),
    ):
        assert memory.do(op).version == 1
        assert memory.do(op).status == 412
    assert memory.do(Put("c", "a", doc(), if_version=1)).version == 2
    assert memory.do(Delete("c", "a", if_version=2)).status == 204


@pytest.mark.parametrize(
    ("op", "status", "code"),
    [
        (Put("c", "a", doc(_x=1)), 422, "invalid"),
        (Put("C", "a", doc()), 422, "invalid"),
        (Put("c" * 64, "a", doc()), 422, "invalid"),
        (Put("c", "", doc()), 422, "invalid"),
        (Put("c", "a/b", doc()), 422, "invalid"),
        (Put("c", "a" * 129, doc()), 422, "invalid"),
        (Put("c", "a\x07", doc()), 422, "invalid"),
        (Put("c", "a", b"\xc1"), 400, "malformed"),
        (Put("c", "a", b"\x90"), 400, "malformed"),
        (Put("c", "a", b"\x81\x01\x01"), 400, "malformed"),
        (Put("c", "a", doc(x="y" * 1024 * 1024)), 413, "too_large"),
        (Put("c", "a", msgspec.msgpack.encode({"x": float("nan")})), 422, "invalid"),
        (Put("c", "a", msgspec.msgpack.encode({"x": 2**63})), 200, None),
        (Put("c", "a", b"\x81\xa1x" + b"\x91" * 99 + b"\xc0"), 200, None),
        (Put("c", "a", b"\x81\xa1x" + b"\x91" * 100 + b"\xc0"), 400, "malformed"),
        (Put("c", "a", b"\x81\xa1x" + b"\x91" * 5000 + b"\xc0"), 400, "malformed"),
        (Patch("c", "have", doc(_version=1)), 422, "invalid"),
        (Update("c", "have", doc(**{"$set": {"_id": 1}})), 422, "invalid"),
        (Update("c", "have", doc(**{"$nope": {"x": 1}})), 422, "invalid"),
        (CollectionDrop("none"), 404, "not_found"),
        (CollectionPut("c", b"\x81\xa1x" + b"\x91" * 60_000 + b"\xc0"), 400, "malformed"),
        (CollectionPut("c", b"\x90"), 400, "malformed"),
        (KeyRevoke("none"), 404, "not_found"),
        (KeyPut("k", b"short", "n", ()), 422, "invalid"),
        (QuotaPut(-1, None), 422, "invalid"),
        (ReportCalls(0, {"read": -1}), 422, "invalid"),
        (OpenSession(b"x"), 422, "invalid"),
    ],
)
def test_refusals_are_results(memory: Driver, op: Op, status: int, code: str | None) -> None:
    memory.do(Put("c", "have", doc()))
    memory.do(Put("c", "a", doc()))
    before = memory.machine.view.stats()
    result = memory.bundle(op, Barrier())[0]
    assert (result.status, result.code) == (status, code)
    if code is not None:
        after = memory.machine.view.stats()
        assert (after.documents, after.bytes) == (before.documents, before.bytes)


def test_integers_stay_exact_and_zero_has_no_sign(memory: Driver) -> None:
    raw = msgspec.msgpack.encode({"max": 2**63 - 1, "min": -(2**63), "zero": -0.0})
    memory.do(Put("c", "a", raw))
    stored = body(memory.do(Get("c", "a")))
    assert (stored["max"], stored["min"]) == (2**63 - 1, -(2**63))
    assert str(stored["zero"]) == "0.0"


def test_bytes_that_are_no_operation_are_refused(memory: Driver) -> None:
    (answer,) = memory.order(Sent((b"\xc1", b""), 1))
    assert [decode_result(result).code for result in answer.results] == ["malformed"] * 2


# Sessions (consensus.md 5.5)


def test_repeated_request_gets_its_first_answer(driver: Driver) -> None:
    sent = Sent((encode_op(Update("c", "a", doc(**{"$inc": {"n": 1}}))),), 2)
    driver.do(Put("c", "a", doc(n=0)))
    (first,) = driver.order(sent)
    same, again = driver.order(sent, sent)
    assert first == same == again
    driver.machine = StateMachine(driver.store, GENESIS)
    assert driver.order(sent) == [first]
    assert driver.machine.view.get("c", "a") is not None
    stored = driver.machine.view.get("c", "a")
    assert stored is not None
    assert unpack_document(stored.body) == {"n": 1}


def test_kept_answers_can_be_looked_up(driver: Driver) -> None:
    """Who copied the state finds in it what its own requests came to."""
    put = (encode_op(Put("c", "a", doc(n=0))),)
    opening = Sent((encode_op(OpenSession(b"nonce")),), 0)
    (first,) = driver.order(Sent(put, 2))
    driver.machine = StateMachine(driver.store, GENESIS)
    recorded = driver.machine.recorded
    assert recorded(Sent(put, 2)) == first
    opened = recorded(opening)
    assert opened is not None
    assert (opened.status, decode_result(opened.results[0]).id) == ("ok", SESSION.hex())
    assert recorded(Sent(put, 1)) is None
    assert recorded(Sent((*put, *put), 2)) is None, "another request of this number was executed"
    for stranger in (Sent(put, 2, client=b"x" * 32), Sent(put, 0, session=b"unknown!")):
        assert recorded(stranger) is None
    driver.order(Sent(put, 3, ack=2))
    assert recorded(Sent(put, 2)) is None, "its client has the answer"


def test_session_answers(memory: Driver) -> None:
    barrier = (encode_op(Put("c", "a", doc())),)
    other = (encode_op(Put("c", "b", doc())),)
    statuses = [
        memory.order(sent)[0].status
        for sent in (
            Sent(barrier, 1, session=b"unknown!"),
            Sent(barrier, 1, client=b"x" * 32),
            Sent(barrier, 1),
            Sent(other, 1),
            Sent(barrier, 64),
            Sent(barrier, 65),
            Sent(barrier, 2, ack=1),
            Sent(barrier, 1),
            Sent(barrier, 0),
            Sent(barrier, 65),
        )
    ]
    assert statuses == [
        "session_expired",
        "session_expired",
        "ok",
        "cseq_reused",
        "ok",
        "window",
        "ok",
        "already_applied",
        "already_applied",
        "ok",
    ]
    assert memory.machine.view.stats().documents == 1


def test_acknowledging_ahead_of_oneself_does_not_lose_the_window(memory: Driver) -> None:
    put = (encode_op(Put("c", "a", doc())),)
    (first,) = memory.order(Sent(put, 5, ack=1000))
    assert memory.order(Sent(put, 5, ack=0)) == [first]


def test_session_expires_by_batch_time_and_nonce_reopens_it(driver: Driver) -> None:
    put = (encode_op(Put("c", "a", doc())),)
    driver.now += 24 * HOUR - 1
    assert driver.order(Sent(put, 1))[0].status == "ok"
    driver.now += 24 * HOUR
    assert driver.order(Sent(put, 2))[0].status == "session_expired"
    assert driver.machine.view.stats().sessions == 0
    opened = driver.order(Sent((encode_op(OpenSession(b"nonce")),), 0))[0]
    assert decode_result(opened.results[0]).id == SESSION.hex()
    assert driver.order(Sent(put, 1))[0].status == "ok"


def test_idle_sessions_are_forgotten_in_the_same_order_after_a_restart(memory: Driver) -> None:
    nonces = [b"%d" % number for number in range(2 * EXPIRED_PER_BATCH + 1)]
    memory.order(*[Sent((encode_op(OpenSession(nonce)),), 0) for nonce in nonces])
    again = MemoryStore()
    again.write(dict(memory.store.iterate(b"")))
    restarted = StateMachine(again, GENESIS)
    for _ in range(3):
        memory.now += 24 * HOUR
        memory.order()
        restarted.apply(restarted.applied + 1, memory.now, ())
        assert restarted.root() == memory.machine.root()
    assert memory.machine.view.stats().sessions == 0


def test_long_results_repeat_by_digest_only(memory: Driver) -> None:
    memory.do(Put("c", "a", doc(x="y" * 70_000)))
    sent = Sent((encode_op(Patch("c", "a", doc(z=1))),), 2)
    (first,) = memory.order(sent)
    (again,) = memory.order(sent)
    assert first.results
    assert again.results == ()
    assert (again.digest, again.sequence) == (first.digest, first.sequence)


def test_reads_take_no_place_in_the_window(memory: Driver) -> None:
    sent = Sent((encode_op(Get("c", "a")),), 1)
    assert decode_result(memory.order(sent)[0].results[0]).status == 404
    memory.order(Sent((encode_op(Put("c", "a", doc())),), 2))
    assert decode_result(memory.order(sent)[0].results[0]).status == 200


# Idempotency keys


def test_idempotency_key_gives_the_first_outcome_for_a_day(driver: Driver) -> None:
    key = b"k" * 32
    create = Create("c", "a", doc(), idempotency=key)
    first = driver.do(create)
    driver.do(Delete("c", "a"))
    assert driver.do(create) == first
    assert driver.machine.view.get("c", "a") is None
    reused = driver.do(Create("c", "b", doc(), idempotency=key))
    assert (reused.status, reused.code) == (422, "idempotency_key_reused")
    driver.now += 24 * HOUR - 1
    driver.order(Sent((encode_op(OpenSession(b"nonce")),), 0))
    driver.cseq = 10
    assert driver.do(create) == first
    driver.now += 1
    assert driver.do(create).version == 2


def test_made_up_ids_do_not_make_another_operation(memory: Driver) -> None:
    key = b"k" * 32
    first = memory.do(Create("c", "id-1", doc(x=1), generated=True, idempotency=key))
    again = memory.do(Create("c", "id-2", doc(x=1), generated=True, idempotency=key))
    assert first == again
    assert memory.do(Create("c", "id-3", doc(x=2), generated=True, idempotency=key)).status == 422


def test_expired_outcomes_leave_the_store(driver: Driver) -> None:
    for number in range(12):
        driver.do(Put("c", "a", doc(), idempotency=bytes([number]) * 32))
    assert len(list(driver.store.iterate(b"I"))) == 12
    driver.now += 24 * HOUR
    for _ in range(3):
        driver.order()
    assert list(driver.store.iterate(b"I")) == []
    assert list(driver.store.iterate(b"X")) == []


def test_quota_refusal_is_not_an_outcome_to_repeat(memory: Driver) -> None:
    put = Put("c", "a", doc(x="y" * 100), idempotency=b"k" * 32)
    memory.do(QuotaPut(None, 50))
    refused = memory.do(put)
    assert (refused.status, refused.code) == (507, "storage_quota_exceeded")
    memory.do(QuotaPut(None, None))
    assert memory.do(put).status == 201


# Collections, quota, usage, keys


def test_collections_count_and_drop(driver: Driver) -> None:
    driver.bundle(*[Put("c", f"{n}", doc(n=n)) for n in range(2500 // 10)])
    driver.bundle(*[Put("d", f"{n}", doc(n=n)) for n in range(3)])
    driver.do(CollectionPut("empty", doc(ttl=5)))
    names = {c.name: c for c in driver.machine.view.collections()}
    assert {name: c.documents for name, c in names.items()} == {"c": 250, "d": 3, "empty": 0}
    assert unpack_document(names["empty"].options) == {"ttl": 5}
    assert names["d"].bytes == sum(1 + len(doc(n=n)) for n in range(3))
    assert driver.do(CollectionDrop("c")).status == 204
    assert driver.machine.view.get("c", "1") is None
    stats = driver.machine.view.stats()
    assert (stats.documents, stats.bytes) == (3, names["d"].bytes)
    driver.do(Put("c", "new", doc()))
    driver.order()
    assert len(list(driver.store.iterate(b"D"))) == 4
    assert list(driver.store.iterate(b"G")) == []
    assert [key for key, _ in driver.machine.view.rows("c")] == [b"new"]


def test_dropping_a_large_collection_takes_several_batches(driver: Driver) -> None:
    for start in range(0, 2500, 250):
        driver.bundle(*[Put("c", f"{start + n}", doc()) for n in range(250)])
    driver.do(CollectionDrop("c"))
    left = []
    for _ in range(3):
        driver.order()
        left.append(len(list(driver.store.iterate(b"D"))))
    assert left == [2500 - 1024, 2500 - 2048, 0]


def test_storage_quota_lets_things_shrink(memory: Driver) -> None:
    memory.do(Put("c", "a", doc(x="y" * 100)))
    memory.do(QuotaPut(None, 60))
    assert memory.do(Put("c", "b", doc())).status == 507
    assert memory.do(Put("c", "a", doc(x="y" * 101))).status == 507
    assert memory.do(Put("c", "a", doc(x="y" * 90))).status == 200
    assert memory.do(Delete("c", "a")).status == 204
    assert memory.do(Put("c", "b", doc())).status == 201
    quota = memory.machine.view.quota()
    assert (quota.storage_limit_bytes, quota.storage_used_bytes) == (60, 2)


def test_calls_count_per_month_of_batch_time(memory: Driver) -> None:
    memory.now = 1_698_796_799_000  # 2023-10-31T23:59:59Z
    memory.machine = StateMachine(MemoryStore(), Genesis(calls_limit=100))
    memory.order(Sent((encode_op(OpenSession(b"nonce")),), 0))
    view = memory.machine.view
    memory.cseq = 0
    memory.do(ReportCalls(1, {"read": 5, "write": 2}))
    memory.do(ReportCalls(2, {"read": 1}))
    assert (view.quota().calls_used, view.quota().calls_limit) == (8, 100)
    assert view.quota().calls_resets_ms == 1_698_796_800_000
    memory.now += 1000
    memory.do(ReportCalls(1, {"read": 1}))
    assert view.quota().calls_used == 1
    memory.do(QuotaPut(9, None, memory.now - 10, memory.now + 10))
    assert (view.quota().calls_used, view.quota().calls_resets_ms) == (0, memory.now + 10)


def test_usage_windows_close_with_batch_time(driver: Driver) -> None:
    start = driver.now - driver.now % HOUR
    driver.do(Put("c", "a", doc()))
    driver.do(ReportCalls(1, {"read": 5}))
    driver.do(ReportCalls(1, {"read": 2, "write": 1}))
    driver.do(ReportCalls(2, {"read": 1}))
    view = driver.machine.view
    assert view.usage_windows(2**60) == []
    driver.now = start + 3 * HOUR
    driver.order()
    windows = [
        (w.window_start_ms, w.node, w.call_class, w.count) for w in view.usage_windows(2**60)
    ]
    assert windows == [(start, 1, "read", 7), (start, 1, "write", 1), (start, 2, "read", 1)]
    storage = [(w.window_start_ms, w.bytes) for w in view.storage_windows(2**60)]
    assert storage == [(start, 2), (start + HOUR, 2), (start + 2 * HOUR, 2)]
    driver.now += 60 * HOUR
    driver.order()
    assert view.usage_windows(2**60) == []
    assert len(view.storage_windows(2**60)) <= 49


def test_keys(driver: Driver) -> None:
    view = driver.machine.view
    key = view.key("abc")
    assert key is not None
    assert key.scopes == ("documents:read",)
    new_hash = hashlib.sha256(b"new").digest()
    assert driver.do(KeyPut("def", new_hash, "n", ("cluster:admin",), ("a*",), 99)).status == 201
    assert driver.do(KeyPut("def", new_hash, "m", ())).status == 200
    records = view.keys()
    assert [record.name for record in records] == ["first", "m"]
    driver.do(KeyRevoke("abc"))
    assert StateMachine(driver.store, GENESIS).view.key("abc") is None


# Order, restart, determinism


def test_batches_apply_once_and_in_order(memory: Driver) -> None:
    for sequence in (1, 3, 0):
        with pytest.raises(AssertionError):
            memory.machine.apply(sequence, memory.now, [])


def test_time_never_falls(memory: Driver) -> None:
    late = memory.now
    memory.now -= 1_000_000
    assert memory.do(Put("c", "a", doc())).created_us == late * 1000


def workload(driver: Driver) -> None:
    for round_ in range(30):
        driver.now += 1000
        ops: list[Op] = [
            Put(f"c{round_ % 3}", f"d{number}", doc(round=round_, x=[number, {"y": 0.5}]))
            for number in range(20)
        ]
        ops.append(Delete(f"c{round_ % 3}", f"d{round_ % 20}"))
        ops.append(Update("c0", "d1", doc(**{"$push": {"x": round_}})))
        ops.append(Create("c1", f"e{round_}", doc(), idempotency=bytes([round_]) * 32))
        ops.append(ReportCalls(round_ % 4, {"write": round_, "read": 1}))
        driver.bundle(*ops)
        if round_ == 20:
            driver.do(CollectionDrop("c2"))


def test_the_same_log_gives_the_same_root_and_answers_everywhere(tmp_path: Path) -> None:
    first = Driver(MemoryStore())
    workload(first)
    rocks = RocksStore(tmp_path)
    second = StateMachine(rocks, GENESIS)
    third_store = MemoryStore()
    third = StateMachine(third_store, GENESIS)
    answers = []
    for sequence, (now, requests) in enumerate(first.log, start=1):
        answers.append(second.apply(sequence, now, requests))
        assert third.apply(sequence, now, requests) == answers[-1]
        if sequence % 5 == 0:
            second.root()
        if sequence % 7 == 0:
            third = StateMachine(third_store, GENESIS)
    assert first.machine.root() == second.root() == third.root()
    assert StateMachine(rocks, GENESIS).root() == first.machine.root()
    rocks.close()


@pytest.mark.parametrize("prefix", [b"C", b"D", b"I", b"K", b"M", b"N", b"Q", b"S", b"U", b"W"])
def test_the_root_covers_every_table(prefix: bytes) -> None:
    driver = Driver(MemoryStore())
    workload(driver)
    rows = list(driver.store.iterate(prefix))
    assert rows, f"the workload fills {prefix!r}"
    tree = MerkleTree(driver.store)
    before = tree.root()
    tree.note([(rows[0][0], rows[0][1] + b"x")])
    assert tree.root() != before


def test_a_root_after_crash_continues_from_the_journal(tmp_path: Path) -> None:
    driver = Driver(RocksStore(tmp_path))
    workload(driver)
    root = driver.machine.root()
    driver.do(Put("c0", "late", doc()))
    driver.store.close()
    again = RocksStore(tmp_path)
    machine = StateMachine(again, GENESIS)
    assert machine.applied == len(driver.log)
    after = machine.root()
    assert after != root
    replayed = StateMachine(MemoryStore(), GENESIS)
    for sequence, (now, requests) in enumerate(driver.log, start=1):
        replayed.apply(sequence, now, requests)
    assert replayed.root() == after
    again.close()
