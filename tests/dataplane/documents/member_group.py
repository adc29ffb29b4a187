"""State machines of several members that execute the same, and what they hold of segments."""

from collections.abc import Iterable

from nacl import bindings
from nacl.signing import SigningKey

from dataplane.documents.cold import SegmentRecord
from dataplane.documents.commands import (
    CollectionPut,
    Maintain,
    Op,
    OpenSession,
    OpResult,
    Put,
    Reconfigure,
    Warm,
)
from dataplane.documents.membership import EPOCH_TAIL
from dataplane.documents.state import StateMachine
from dataplane.documents.stubs import cut
from dataplane.documents.tables import decode_document_header
from dataplane.documents.types import Genesis
from dataplane.documents.values import pack_document
from dataplane.storage.engine import MemoryStore
from dataplane.storage.erasure import decode, digest
from dataplane.storage.fragments import FRAGMENT, fragment_key
from dataplane.wire.membership import Member, NextMembers, encode_next, order_payload
from dataplane.wire.stubs import stub_of
from tests.dataplane.documents.index_checks import START_MS, Machine

SEED = b"a" * 32
CLUSTER = b"c" * 16
COLD_S = 100


def member(number: int) -> Member:
    keys = [bytes(SigningKey(bytes([number + more]) * 32).verify_key) for more in (0, 100)]
    return Member(number, "127.0.0.1", number, 100 + number, *keys)


class MemberMachine(Machine):
    """The state machine of one member."""

    def __init__(self, number: int, genesis: Genesis, store: MemoryStore | None = None) -> None:
        self.number, self.genesis = number, genesis
        self.store = MemoryStore() if store is None else store
        self.now_ms = START_MS
        self.reopen()

    def reopen(self) -> None:
        self.state = StateMachine(self.store, self.genesis, member=self.number)
        assert self.state.mending is not None
        self.mending = self.state.mending


class MemberGroup:
    """Members that all execute what is applied."""

    def __init__(self, *numbers: int) -> None:
        key, _ = bindings.crypto_sign_seed_keypair(SEED)
        members = tuple(map(member, numbers))
        self.genesis = Genesis(members=members, cluster_id=CLUSTER, admin_key=key)
        self.machines = {number: MemberMachine(number, self.genesis) for number in numbers}
        self.apply(OpenSession(b"n"))

    @property
    def first(self) -> MemberMachine:
        return next(iter(self.machines.values()))

    def apply(self, *ops: Op) -> list[OpResult]:
        answers = [machine.apply(*ops) for machine in self.machines.values()]
        assert len({machine.state.root() for machine in self.machines.values()}) == 1
        return answers[0]

    def pass_time(self, seconds: float = COLD_S + 10) -> None:
        for machine in self.machines.values():
            machine.now_ms += int(seconds * 1000)

    def tick(self) -> None:
        while self.first.state.maintenance.is_due(self.first.now_ms):
            self.apply(Maintain())

    def fill(self, *names: str, size: int = 100) -> None:
        """Write documents that are cold afterwards."""
        self.apply(CollectionPut("c", pack_document({"tiering": {"cold_after_s": COLD_S}})))
        self.apply(*[Put("c", name, pack_document({"t": name * size})) for name in names])
        self.pass_time()
        self.tick()

    def records(self) -> list[SegmentRecord]:
        return list(self.first.state.tiers.segments(0, 100))

    def join(self, number: int) -> MemberMachine:
        """Let a machine have a copy of the state: no fragment is its own."""
        store = self.first.store.copy()
        store.write({key: None for key, _ in store.iterate(FRAGMENT)})
        self.machines[number] = MemberMachine(number, self.genesis, store)
        self.machines[number].now_ms = self.first.now_ms
        return self.machines[number]

    def reconfigure(self, *numbers: int) -> OpResult:
        epoch = self.first.state.configuration.epoch + 1
        order = encode_next(NextMembers(epoch, tuple(map(member, numbers))))
        key = bindings.crypto_sign_seed_keypair(SEED)[1]
        signed = bindings.crypto_sign(order_payload(CLUSTER, order), key)
        (result,) = self.apply(Reconfigure(order, signed[: bindings.crypto_sign_BYTES]))
        return result

    def change(self, *numbers: int) -> None:
        """Let others be the members from here on."""
        assert self.reconfigure(*numbers).status == 200
        for number in set(numbers) - self.machines.keys():
            self.join(number)
        for _ in range(EPOCH_TAIL):
            self.apply()
        self.machines = {number: self.machines[number] for number in numbers}

    def segment(self, record: SegmentRecord, holders: Iterable[int] | None = None) -> bytes:
        """Put a segment together from what k of these members hold."""
        found: dict[int, bytes] = {}
        for place, number in enumerate(record.members):
            machine = self.machines.get(number)
            if machine is not None and (holders is None or number in holders):
                fragment = machine.mending.own.fragment(record)
                if fragment is not None and len(found) < record.k:
                    found[place] = fragment
        segment = decode(found, record.k, len(record.members), record.size)
        assert digest(segment) == record.digest
        return segment

    def warm_out(self, record: SegmentRecord) -> None:
        """Put back what is left in a segment."""
        segment = self.segment(record)
        warming: list[Warm] = []
        for key, row in self.first.state.view.rows("c"):
            stub = stub_of(row)
            if stub is not None and stub.segment == record.number:
                body = cut(segment, stub)
                assert body is not None
                version = decode_document_header(row)[0]
                warming.append(Warm("c", key.decode(), version, body, rests=True))
        assert {result.status for result in self.apply(*warming)} == {200}


def fragment_of(machine: MemberMachine, record: SegmentRecord) -> bytes | None:
    """Return the row of a member's own fragment."""
    return machine.store.get(fragment_key(record.collection, record.number))


def write_fragment(machine: MemberMachine, record: SegmentRecord, packed: bytes | None) -> None:
    """Change, or remove, what is on a member's disk."""
    machine.store.write({fragment_key(record.collection, record.number): packed})
