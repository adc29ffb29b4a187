"""A node that dies at every step of every move between tiers loses nothing and stays in step."""

from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

import pytest
from blake3 import blake3
from rocksdict import WriteBatch

from dataplane.documents.audit_commands import EraseBegin, EraseEnd, EraseStep
from dataplane.documents.commands import (
    CollectionDrop,
    CollectionPut,
    Delete,
    IndexPut,
    Maintain,
    Op,
    Patch,
    Put,
    Transact,
    Warm,
    encode_op,
)
from dataplane.documents.state import StateMachine
from dataplane.documents.stubs import cut
from dataplane.documents.subjects import subject_hash
from dataplane.documents.types import Classes, Genesis
from dataplane.documents.values import pack_document
from dataplane.security.aead import Sealer
from dataplane.storage import erasure
from dataplane.storage.encrypted import EncryptedStore
from dataplane.storage.engine import RocksStore
from dataplane.storage.fragments import FRAGMENT, fragment_key, unpack
from dataplane.storage.ports import KeyValueStore
from dataplane.wire.stubs import stub_of
from tests.dataplane.documents.index_checks import Machine, Sent, cold_places, tick, warming
from tests.dataplane.documents.member_group import member
from tests.dataplane.documents.test_copying import fetch
from tests.dataplane.storage.ciphers import Ring

COLD_S = 100
GENESIS = Genesis(members=tuple(member(number) for number in range(1, 5)))
VICTIM = 4
RETAIN_EVERY = 7
MARK = "okapi" * 20


class KilledError(Exception):
    """The process ended."""


class Disk(Classes):
    """What a process leaves behind: rows and keys; it does one thing to them and dies.

    A life that led nowhere is followed by a longer one: a key is made before the batch that needs
    it, and destroyed at the next start if that never came.
    """

    def __init__(self, path: Path, *, is_sealed: bool) -> None:
        self._path, self._is_sealed = path, is_sealed
        self._ring = Ring()
        self.keys: dict[bytes, Sealer] = {}
        self.deaths = 0
        self.is_patient = False
        """Whether it lives for ever."""
        self._left = 0
        self._patience = 1
        self._seen: set[bytes] = set()

    def act(self) -> None:
        if self._left == 0:
            raise KilledError
        self._left -= 1

    def open(self, prefixes: AbstractSet[bytes]) -> None:
        if prefixes <= self.keys.keys():
            return
        self.act()
        for prefix in sorted(prefixes - self.keys.keys()):
            key = bytes([len(self.keys) + 1]) * 32
            self.keys[prefix] = Sealer("aes-256-gcm", key, len(self.keys) + 1)

    def settle(self, prefixes: AbstractSet[bytes]) -> None:
        if not self.keys.keys() <= prefixes:
            self.act()
        for prefix in self.keys.keys() - prefixes:
            del self.keys[prefix]

    def live[T](self, task: Callable[[KeyValueStore, StateMachine], T]) -> T:
        """Do a task in as many lives as it takes."""
        while True:
            self._left = 10**9 if self.is_patient else self._patience
            rocks = KilledStore(self._path, self.act)
            store = state = None
            try:
                store = EncryptedStore(rocks, self._ring, self.keys) if self._is_sealed else rocks
                state = StateMachine(store, GENESIS, self, member=VICTIM)
                return task(store, state)
            except KilledError:
                self.deaths += 1
            finally:
                if state is not None:
                    state.copies.close()
                self._look(rocks if store is None else store)
                # As a killed process lets go of its files: nothing is flushed.
                rocks._db.close()

    def _look(self, store: KeyValueStore) -> None:
        """See whether this life led anywhere."""
        what = blake3(repr((sorted(self.keys), list(store.iterate(b"")))).encode()).digest()
        self._patience = self._patience + 1 if what in self._seen else 1
        self._seen.add(what)


class KilledStore(RocksStore):
    """The real thing; `act` may end the process before a write."""

    def __init__(self, path: Path, act: Callable[[], None]) -> None:
        super().__init__(path)
        self._act = act

    def write_batch(self, batch: WriteBatch) -> None:
        self._act()
        super().write_batch(batch)


class Step(NamedTuple):
    """A batch of the log, and what the state was after it."""

    now_ms: int
    requests: tuple[Sent, ...]
    root: bytes


class Log(Machine):
    """A replica of nobody, which has every body, and remembers what it executed."""

    def __init__(self) -> None:
        self.steps: list[Step] = []
        super().__init__(genesis=GENESIS)

    def apply(self, *ops: Op) -> list:
        number = self.state.applied
        results = super().apply(*ops)
        sent = (Sent(tuple(map(encode_op, ops)), number, max(0, number - 1)),) if ops else ()
        self.steps.append(Step(self.now_ms, sent, self.state.root()))
        return results

    def warm(self, document_id: str, *, rests: bool = False) -> Warm:
        return warming(self.store, self.state, "c", document_id, rests=rests)

    def pass_time(self, seconds: int = COLD_S + 10) -> None:
        self.now_ms += 1000 * seconds
        tick(self)


def put(document_id: str, collection: str = "c", **fields: object) -> Put:
    return Put(collection, document_id, pack_document({"id": document_id, "t": MARK, **fields}))


def options(**more: object) -> bytes:
    return pack_document({"tiering": {"cold_after_s": COLD_S}, **more})


@pytest.fixture(scope="module")
def log() -> Log:
    """Every move between tiers, each as its own batch, and some of them in one."""
    log = Log()
    log.apply(
        CollectionPut("c", options(subject="id")), CollectionPut("s", options(shreddable=True))
    )
    log.apply(*[put(f"d{n}", n=n) for n in range(12)], *[put(f"s{n}", "s") for n in range(4)])
    log.pass_time()
    assert len(cold_places(log.state)) == 16
    log.apply(log.warm("d0"))
    log.apply(Patch("c", "d1", pack_document({"m": 1})))
    log.apply(log.warm("d1"), Patch("c", "d1", pack_document({"m": 1})))
    both = Transact((Patch("c", "d2", pack_document({"m": 1})), Delete("c", "d3")))
    log.apply(both, log.warm("d2"), put("d2", n=0), Delete("c", "d4"))
    log.apply(log.warm("d3"), both)
    log.apply(both)
    log.pass_time()
    log.apply(*[Delete("c", f"d{n}") for n in (5, 6, 7)])
    assert log.state.tiers.half_empty
    left = [name for number in log.state.tiers.half_empty for name in cold_in(log, number)]
    log.apply(*[log.warm(name, rests=True) for name in left])
    log.pass_time(10)
    assert not log.state.tiers.half_empty
    erase(log, "d9")
    log.apply(IndexPut("c", "n", (("n", 1),)))
    log.apply(Maintain())
    log.apply(*[log.warm(name) for _, name in log.state.maintenance.wanted])
    log.pass_time()
    log.apply(CollectionDrop("s"))
    log.apply()
    log.apply(CollectionPut("c", options(subject="id", ttl=2 * COLD_S)), put("late"))
    log.pass_time()
    assert ("c", "late") in cold_places(log.state)
    return log


def erase(log: Log, name: str) -> None:
    """Erase the person that a cold document is about, and see its segment made anew."""
    erasure, salt = b"e" * 16, b"s" * 16
    log.apply(EraseBegin(erasure, subject_hash(salt, name), salt))
    log.apply(log.warm(name))
    log.apply(EraseStep(erasure, "c", (name,)))
    (number,) = log.state.view.erasing.holding(erasure)
    log.apply(*[log.warm(left, rests=True) for left in cold_in(log, number)])
    assert log.apply(EraseEnd(erasure))[0].status == 200
    log.pass_time(10)


def cold_in(log: Log, number: int) -> list[str]:
    rows = log.state.view.rows("c")
    stubs = [(key.decode(), stub_of(row)) for key, row in rows]
    return [name for name, stub in stubs if stub is not None and stub.segment == number]


def check_fragments(store: KeyValueStore, state: StateMachine) -> dict[int, bytes]:
    """A node has its own fragment of every segment there is, whole, and no other."""
    found: dict[int, bytes] = {}
    for record in state.tiers.segments(0, 1_000):
        packed = store.get(fragment_key(record.collection, record.number))
        assert packed is not None
        fragment = unpack(packed, erasure.fragment_bytes(record.size, record.k))
        assert fragment is not None
        assert erasure.is_sound(fragment, record.members.index(VICTIM), record.fragments)
        found[record.number] = fragment
    assert len(list(store.iterate(FRAGMENT))) == len(found)
    return found


def replay(log: Log, machine: Machine, first: int = 2) -> None:
    for number, step in enumerate(log.steps[first - 1 :], first):
        machine.state.apply(number, step.now_ms, step.requests)


@pytest.mark.parametrize("is_sealed", [False, True])
def test_a_node_that_dies_at_every_write_has_every_state_and_every_fragment(
    log, tmp_path, is_sealed
):
    disk = Disk(tmp_path / "state", is_sealed=is_sealed)

    def go_on(store: KeyValueStore, state: StateMachine) -> Mapping[int, bytes]:
        if state.applied:
            assert state.root() == log.steps[state.applied - 1].root
        check_fragments(store, state)
        while state.applied < len(log.steps):
            step = log.steps[state.applied]
            state.apply(state.applied + 1, step.now_ms, step.requests)
            assert state.root() == step.root
            if state.applied % RETAIN_EVERY == 0:
                state.copies.mark(state.applied, step.root)
                state.copies.retain(state.applied)
        return check_fragments(store, state)

    own = disk.live(go_on)
    assert disk.deaths >= 2 * len(log.steps), "at every batch, and at the tree behind it"
    assert not disk.keys, "the key of what was dropped is gone"
    check_bodies(log, own)


def check_bodies(log: Log, own: Mapping[int, bytes]) -> None:
    """What any of the others and the victim have gives every cold body back."""
    held = {VICTIM: own}
    for number in range(1, VICTIM):
        machine = Machine(genesis=GENESIS, member=number)
        replay(log, machine)
        assert machine.state.root() == log.steps[-1].root
        for record in machine.state.tiers.segments(0, 1_000):
            packed = machine.store.get(fragment_key(record.collection, record.number))
            length = erasure.fragment_bytes(record.size, record.k)
            held.setdefault(number, {})[record.number] = unpack(packed or b"", length) or b""
    records = {record.number: record for record in log.state.tiers.segments(0, 1_000)}
    assert records
    for _, name in cold_places(log.state):
        row = log.state.view.row("c", name)
        stub = stub_of(row or b"")
        assert stub is not None
        record = records[stub.segment]
        for chosen in combinations(range(1, 5), record.k):
            fragments = {
                record.members.index(number): held[number][stub.segment] for number in chosen
            }
            segment = erasure.decode(fragments, record.k, 4, record.size)
            assert cut(segment, stub) == log.warm(name).document


class Source(NamedTuple):
    """Whom `fetch` asks."""

    state: object


@pytest.mark.parametrize("is_sealed", [False, True])
def test_a_copy_of_a_state_that_dies_at_every_write_leaves_no_fragment_of_what_is_gone(
    log, tmp_path, is_sealed
):
    disk = Disk(tmp_path / "state", is_sealed=is_sealed)
    disk.is_patient = True
    old = next(n for n, step in enumerate(log.steps, 1) if step.now_ms > log.steps[0].now_ms)

    def begin(store: KeyValueStore, state: StateMachine) -> set[bytes]:
        while state.applied < old + 2:
            step = log.steps[state.applied]
            state.apply(state.applied + 1, step.now_ms, step.requests)
        state.root()
        return {key for key, _ in store.iterate(FRAGMENT)}

    before = disk.live(begin)
    assert before
    disk.is_patient = False
    source, sequence, root = log.state.copies, log.state.applied, log.state.root()
    source.mark(sequence, root)

    def copy(store: KeyValueStore, state: StateMachine) -> set[bytes]:
        if state.applied < sequence:
            assert {key for key, _ in store.iterate(FRAGMENT)} == before
            fetch(Source(source), state.copies, sequence, root)
            assert state.copies.install(sequence, root)
        assert (state.applied, state.root()) == (sequence, root)
        return {key for key, _ in store.iterate(FRAGMENT)}

    after = disk.live(copy)
    assert disk.deaths > 10
    known = {fragment_key(r.collection, r.number) for r in log.state.tiers.segments(0, 1_000)}
    assert after == before & known
    assert after < before
