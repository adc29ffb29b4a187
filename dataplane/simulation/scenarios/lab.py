"""A few cores on a bench: every message and every sync happens when the story says so."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from dataplane.consensus.config import Limits, MemberKeys, ReplicaConfig
from dataplane.consensus.messages import (
    AnyMessage,
    Batch,
    Commit,
    Prepare,
    PrePrepare,
    Request,
    digest_of,
    encode_batch,
    request_payload,
    vote_payload,
)
from dataplane.consensus.outcome import (
    Alarm,
    Broadcast,
    Effect,
    EpochEnded,
    Evidence,
    Execute,
    PeerFault,
    Persist,
    Send,
    Stable,
)
from dataplane.consensus.records import recover
from dataplane.consensus.replica import Replica
from dataplane.consensus.state import ReplicaState
from dataplane.consensus.suspicion import Suspicion
from dataplane.consensus.verification import verify_message
from dataplane.documents.commands import session_id
from dataplane.replication.copying import carry_out_copy, checkpoint_root
from dataplane.simulation.application import MapApplication
from dataplane.simulation.errors import ViolationError
from dataplane.simulation.signatures import FakeVerifier, signer_of
from dataplane.storage.engine import MemoryStore

CLUSTER_ID = b"a-cluster-on-it!"
START_MS = 10_000_000
LIMITS = Limits(checkpoint_interval=4, window=16, pipeline=8, retransmit_ms=100, status_ms=500)
KINDS: dict[type[Prepare | Commit], bytes] = {Prepare: b"P", Commit: b"C"}

type Drop = Callable[[int, int, AnyMessage], bool]
"""Whether a message from a source to a target is lost."""


def expect(holds: bool, promise: str) -> None:  # noqa: FBT001 - reads like an assertion
    """Say that a promise is broken unless it holds.

    Raises:
        ViolationError: It does not.
    """
    if not holds:
        raise ViolationError("scenario", f"does not hold: {promise}")


def nothing_is_lost(source: int, target: int, message: AnyMessage) -> bool:
    """Every message arrives."""
    del source, target, message
    return False


@dataclass
class Bench:
    """One replica, its disk and what it said."""

    replica: Replica
    store: MemoryStore
    app: MapApplication
    disk: list[bytes] = field(default_factory=list)
    burst: list[bytes] = field(default_factory=list)
    barrier: int = 0
    durable: int = 0
    held: list[Send | Broadcast] = field(default_factory=list)
    said: list[AnyMessage] = field(default_factory=list)
    executed: list[Batch] = field(default_factory=list)
    alarms: list[str] = field(default_factory=list)
    evidence: list[Evidence] = field(default_factory=list)
    stable: list[int] = field(default_factory=list)
    faults: list[int] = field(default_factory=list)
    has_left: bool = False
    """Whether it would go on in the next epoch now."""

    def votes[M: AnyMessage](self, kind: type[M]) -> list[M]:
        """Return what it said of one kind."""
        return [message for message in self.said if isinstance(message, kind)]


class Lab:
    """`n` replicas; `sync` off keeps records in memory until `sync()` is called."""

    def __init__(self, n: int, *, limits: Limits = LIMITS, sync: bool = True) -> None:
        self.n = n
        self.now_ms = START_MS
        self.auto_sync = sync
        self.wire: deque[tuple[int, int, AnyMessage]] = deque()
        self.drop: Drop = nothing_is_lost
        self.ends_at: int | None = None
        """The last sequence of the epoch, once a batch that is executed says so."""
        self.members = tuple(
            MemberKeys(i, signer_of("vote", i).public_key, signer_of("gateway", i).public_key)
            for i in range(n)
        )
        self.limits = limits
        self.verifier = FakeVerifier(
            [signer_of(kind, i) for kind in ("vote", "gateway") for i in range(n)]
        )
        self.bench = {i: self._fresh(i) for i in range(n)}

    def _fresh(self, i: int) -> Bench:
        store = MemoryStore()
        app = MapApplication(store)
        return Bench(self._replica(i, [], app), store, app)

    def config(self, i: int) -> ReplicaConfig:
        """Return a replica's configuration."""
        return ReplicaConfig(
            cluster_id=CLUSTER_ID, epoch=0, replica_id=i, members=self.members, limits=self.limits
        )

    def _replica(
        self, i: int, records: list[bytes], app: MapApplication, *, amnesia: bool = False
    ) -> Replica:
        at_checkpoint = app.applied % self.limits.checkpoint_interval == 0
        known = recover(records, app.applied, app.root() if at_checkpoint else None)
        known.amnesia = amnesia
        return Replica(self.config(i), signer_of("vote", i), known)

    def state(self, i: int) -> ReplicaState:
        """Return what a replica's services share."""
        return self.bench[i].replica._state  # noqa: SLF001 - the bench may look inside

    def suspicion(self, i: int) -> Suspicion:
        """Return what judges a replica's primary."""
        return self.bench[i].replica._suspicion  # noqa: SLF001 - the bench may look inside

    # --- Making messages ------------------------------------------------------------------------

    def request(self, gateway: int, cseq: int, *ops: bytes) -> Request:
        """Return a gateway's signed request; unless its session was opened it changes no count."""
        signer = signer_of("gateway", gateway)
        ops = ops or (b"key",)
        session = session_id(signer.public_key, b"nonce")
        blank = Request(signer.public_key, session, cseq, 0, ops, b"")
        return Request(
            signer.public_key,
            session,
            cseq,
            0,
            ops,
            signer.sign(request_payload(CLUSTER_ID, blank)),
        )

    def vote[V: (Prepare, Commit)](
        self, kind: type[V], replica: int, sequence: int, digest: bytes, *, view: int = 0
    ) -> V:
        """Return a replica's signed vote."""
        payload = vote_payload(
            KINDS[kind], CLUSTER_ID, epoch=0, view=view, sequence=sequence, digest=digest
        )
        return kind(0, view, sequence, digest, replica, signer_of("vote", replica).sign(payload))

    def proposal(self, sequence: int, *requests: Request, ts_ms: int | None = None) -> PrePrepare:
        """Return the first primary's proposal."""
        data = encode_batch(Batch(self.now_ms if ts_ms is None else ts_ms, requests))
        digest = digest_of(data)
        payload = vote_payload(b"PP", CLUSTER_ID, epoch=0, view=0, sequence=sequence, digest=digest)
        return PrePrepare(0, 0, sequence, digest, 0, signer_of("vote", 0).sign(payload), data)

    # --- Driving --------------------------------------------------------------------------------

    def give(self, to: int, message: AnyMessage, sender: int | None = None) -> bool:
        """Hand a message to a replica through the real checks; return whether it passed."""
        source = getattr(message, "replica", sender) if sender is None else sender
        assert isinstance(source, int)
        if not verify_message(message, source, self.config(to), self.verifier):
            return False
        self.bench[to].replica.on_message(self.now_ms, source, message)
        self.settle(to)
        return True

    def ask(self, at: int, request: Request) -> None:
        """Hand a request to a replica."""
        self.bench[at].replica.on_request(self.now_ms, request)
        self.settle(at)

    def tick(self, *who: int, after_ms: int = 0) -> None:
        """Let time pass, and all or some replicas notice."""
        self.now_ms += after_ms
        for i in who or range(self.n):
            self.bench[i].replica.on_tick(self.now_ms)
            self.settle(i)

    def settle(self, i: int) -> None:
        """Carry out effects until the core has no more."""
        bench = self.bench[i]
        while True:
            effects = bench.replica.take()
            for effect in effects:
                self._carry_out(i, effect)
            if effects:
                continue
            if not self.auto_sync or bench.barrier == bench.durable:
                return
            self.sync(i, settle=False)

    def _carry_out(  # noqa: C901, PLR0912 - a branch per effect
        self, i: int, effect: Effect
    ) -> None:
        bench = self.bench[i]
        match effect:
            case Send() | Broadcast():
                if effect.after > bench.durable:
                    bench.held.append(effect)
                else:
                    self._transmit(i, effect)
            case Persist():
                bench.burst.extend(effect.records)
                bench.barrier = effect.barrier
            case Execute():
                bench.app.apply(effect.sequence, effect.batch.ts_ms, effect.batch.requests)
                bench.executed.append(effect.batch)
                root = checkpoint_root(bench.app) if effect.wants_root else None
                bench.replica.on_executed(self.now_ms, effect.sequence, root, self.ends_at)
            case Stable():
                bench.stable.append(effect.certificate.sequence)
                bench.app.copies.retain(effect.certificate.sequence)
            case Evidence():
                bench.evidence.append(effect)
            case Alarm():
                bench.alarms.append(effect.code)
            case PeerFault():
                bench.faults.append(effect.replica)
            case EpochEnded():
                expect(self.ends_at is not None, "an epoch ends where its members change")
                bench.has_left = True
            case _:
                answer = carry_out_copy(
                    effect,
                    bench.app,
                    bench.replica,
                    limits=self.limits,
                    now_ms=self.now_ms,
                )
                if answer is not None:
                    self._transmit(i, answer)

    def _transmit(self, i: int, effect: Send | Broadcast) -> None:
        self.bench[i].said.append(effect.message)
        targets = [effect.to] if isinstance(effect, Send) else [t for t in range(self.n) if t != i]
        for target in targets:
            self.wire.append((i, target, effect.message))

    def sync(self, i: int, *, settle: bool = True) -> None:
        """Make everything written so far durable."""
        bench = self.bench[i]
        bench.disk.extend(bench.burst)
        bench.burst.clear()
        bench.durable = bench.barrier
        ready = [effect for effect in bench.held if effect.after <= bench.durable]
        bench.held = [effect for effect in bench.held if effect.after > bench.durable]
        for effect in ready:
            self._transmit(i, effect)
        bench.replica.on_persisted(self.now_ms, bench.barrier)
        if settle:
            self.settle(i)

    def run(self) -> None:
        """Deliver everything that is on the wire and what comes of it."""
        for _ in range(100_000):
            if not self.wire:
                return
            source, target, message = self.wire.popleft()
            if not self.drop(source, target, message):
                taken = self.give(target, message, source)
                expect(taken, f"what an honest replica says is taken: {type(message).__name__}")
        raise ViolationError("scenario", "does not hold: the cluster falls silent at last")

    def order(self, *cseqs: int, gateway: int = 0) -> None:
        """Order one request after the other, each in its own batch."""
        for cseq in cseqs:
            self.ask(gateway, self.request(gateway, cseq))
            self.run()

    def restart(
        self,
        i: int,
        *,
        keep: int | None = None,
        applied: int | None = None,
        amnesia: bool = False,
    ) -> Bench:
        """Crash a replica; `keep` records of its burst survive, `applied` batches of its state.

        With `amnesia` its log is gone. By default its state is whole, whoever it has it from.
        """
        old = self.bench[i]
        disk = [] if amnesia else [*old.disk, *old.burst[: keep or 0]]
        executed = old.executed if applied is None else old.executed[:applied]
        store = old.store.copy() if applied is None else MemoryStore()
        app = MapApplication(store)
        for sequence, batch in enumerate(executed if applied is not None else [], 1):
            app.apply(sequence, batch.ts_ms, batch.requests)
        replica = self._replica(i, disk, app, amnesia=amnesia)
        bench = Bench(replica, store, app, disk, executed=list(executed))
        self.bench[i] = bench
        self.tick(i)
        return bench
