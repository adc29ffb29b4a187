"""One node of the world: a real core behind real checks, a disk, an application, a gateway."""

from collections import deque
from typing import TYPE_CHECKING

from dataplane.consensus.config import ReplicaConfig
from dataplane.consensus.messages import (
    AnyMessage,
    Batch,
    CheckpointCertificate,
    Replies,
    Reply,
    decode_message,
)
from dataplane.consensus.outcome import (
    Alarm,
    Broadcast,
    CopyEffect,
    CopyInstall,
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
from dataplane.consensus.verification import verify_message
from dataplane.documents.replicated import ReplicatedStore
from dataplane.documents.types import Executor, RequestResult
from dataplane.replication.copying import carry_out_copy, checkpoint_root
from dataplane.simulation.byzantine.behaviour import Behaviour
from dataplane.simulation.checkers.checker import Executed
from dataplane.simulation.disk import Disk
from dataplane.simulation.gateway import Gateway
from dataplane.simulation.signatures import FakeSigner, FakeVerifier
from dataplane.storage.engine import MemoryStore

if TYPE_CHECKING:
    from dataplane.simulation.world import World

SCRUBBED_PER_TICK = 2
FLIPPABLE = {"kv": b"C", "documents": b"D"}
"""Rows that no batch writes without reading them: damage to others may mend itself."""


class Node:
    """Carries out a core's effects the way the real driver does, on virtual time."""

    def __init__(
        self,
        world: "World",
        config: ReplicaConfig,
        *,
        signer: FakeSigner,
        verifier: FakeVerifier,
        gateway: Gateway,
        behaviour: Behaviour | None,
        skew_ms: int,
    ) -> None:
        self.world = world
        self.config = config
        self.id = config.replica_id
        self.signer = signer
        self.gateway = gateway
        self.behaviour = behaviour
        self.disk = Disk()
        self.store = MemoryStore()
        self.executor: Executor = world.workload.executor(self.store)
        self.replica: Replica | None = None
        self.flushed = 0
        self.batches: list[Batch] = []
        """The batches since the state at `_base` was written and flushed."""
        self.is_damaged = False
        self.was_damaged = False
        self._damage_shows_at = 0
        self.is_amnesiac = False
        self._base = MemoryStore()
        self._base_applied = 0
        self._stable: list[int] = []
        self._verifier = verifier
        self._skew_ms = skew_ms
        self._life = 0
        self._reset()

    def _reset(self) -> None:
        self._held: deque[tuple[int, Send | Broadcast]] = deque()
        self._barrier = self._urgent_barrier = self._durable = 0
        self._syncing = False
        self._timer_at: int | None = None

    @property
    def is_liar(self) -> bool:
        """Whether the node is Byzantine."""
        return self.behaviour is not None

    @property
    def now_ms(self) -> int:
        """The node's own clock."""
        return self.world.now_ms + self._skew_ms

    # --- Life -----------------------------------------------------------------------------------

    def start(self) -> None:
        """Read the log, begin, open a session."""
        assert self.replica is None
        self._life += 1
        self._reset()
        root = None
        if self.executor.applied % self.config.limits.checkpoint_interval == 0:
            root = checkpoint_root(self.executor)
        recovered = recover(self.disk.records(), self.executor.applied, root)
        recovered.amnesia = self.is_amnesiac
        self.replica = Replica(self.config, self.signer, recovered)
        self.world.checkers.on_start(self)
        self.replica.on_tick(self.now_ms)
        self.replica.on_request(self.now_ms, self.gateway.restart(self.now_ms))
        self.turn()

    def crash(self, *, torn: bool) -> None:
        """Lose memory, what was not synced, and some of what the store had not flushed."""
        assert self.replica is not None
        self.replica = None
        self._life += 1
        survivors = self.disk.crash(self.world.rng, torn=torn)
        self.world.checkers.on_durable(self, survivors)
        kept = self.world.rng.randint(self.flushed, self.executor.applied)
        del self.batches[kept - self._base_applied :]
        self.store = self._base.copy()
        self.executor = self.world.workload.executor(self.store)
        for sequence, batch in enumerate(self.batches, self._base_applied + 1):
            self.executor.apply(sequence, batch.ts_ms, batch.requests)
        for sequence in self._stable:
            if self._base_applied < sequence <= kept:
                self.executor.copies.retain(sequence)
        self.is_damaged = False

    def lose_log(self) -> None:
        """Lose the log of a node that is down: it cannot know what it voted for."""
        assert self.replica is None
        self.disk = Disk()
        self.is_amnesiac = True

    def flip(self) -> bool:
        """Change a bit of a stored row behind the application's back; say whether there was one."""
        prefix = FLIPPABLE[self.world.options.application]
        rows = list(self.store.iterate(prefix))
        if not rows:
            return False
        key, value = self.world.rng.choice(rows)
        self.store.write({key: value[:-1] + bytes([value[-1] ^ 1])})
        self.is_damaged = self.was_damaged = True
        interval = self.config.limits.checkpoint_interval
        self._damage_shows_at = (self.executor.applied // interval + 1) * interval
        return True

    # --- Events ---------------------------------------------------------------------------------

    def receive(self, sender: int, payload: bytes) -> None:
        """Take a message from the network."""
        if self.replica is None:
            return
        message = decode_message(payload)
        if not verify_message(message, sender, self.config, self._verifier):
            self.world.count("rejected")
            return
        if isinstance(message, Replies):
            for reply in message.replies:
                self._acknowledge(self.gateway.on_reply(reply))
            return
        self.replica.on_message(self.now_ms, sender, message)
        self.turn()

    def load(self) -> None:
        """Let the gateway ask, and ask again."""
        if self.replica is None:
            return
        for request in self.gateway.due(self.now_ms):
            self.replica.on_request(self.now_ms, request)
        fresh = self.gateway.next_request(self.now_ms)
        if fresh is not None:
            self.replica.on_request(self.now_ms, fresh)
        self.turn()

    def _tick(self, life: int) -> None:
        if self.replica is None or life != self._life or self._timer_at != self.world.now_ms:
            return
        self._timer_at = None
        damaged = self.executor.copies.scrub(SCRUBBED_PER_TICK)
        if damaged:
            self.replica.on_damaged(f"{len(damaged)} rows")
        self.replica.on_tick(self.now_ms)
        if self._barrier > self._durable:
            self._start_sync()
        self.turn()

    # --- Effects --------------------------------------------------------------------------------

    def turn(self) -> None:
        """Carry out every effect, start a sync, arm the timer."""
        replica = self.replica
        assert replica is not None
        while effects := replica.take():
            for effect in effects:
                self._carry_out(replica, effect)
        if self._urgent_barrier > self._durable:
            self._start_sync()
        self.world.checkers.after_turn(self)
        at_ms = self.world.now_ms + max(1, replica.next_tick_ms(self.now_ms) - self.now_ms)
        if self._timer_at is None or at_ms < self._timer_at:
            self._timer_at = at_ms
            life = self._life
            self.world.at(at_ms, lambda: self._tick(life))

    def _carry_out(  # noqa: C901, PLR0912 - a branch per effect
        self, replica: Replica, effect: Effect
    ) -> None:
        match effect:
            case Send() | Broadcast():
                if effect.after <= self._durable:
                    self._transmit(effect)
                else:
                    self._held.append((effect.after, effect))
            case Persist():
                self.world.checkers.on_persist(self, effect.records)
                self.disk.append(effect.sequence, effect.records)
                self._barrier = effect.barrier
                if effect.is_urgent:
                    self._urgent_barrier = effect.barrier
            case Execute():
                self._execute(replica, effect)
            case Stable():
                self.world.checkers.on_stable(self, effect.certificate)
                self.executor.copies.retain(effect.certificate.sequence)
                self._stable.append(effect.certificate.sequence)
                self._truncate(effect.certificate.sequence)
            case EpochEnded():
                raise AssertionError("the members of this world do not change")
            case Evidence():
                self.world.checkers.on_evidence(self, effect)
            case Alarm():
                self.world.on_alarm(self, effect)
            case PeerFault():
                self.world.on_peer_fault(self, effect)
            case _:
                self._copy(replica, effect)

    def _copy(self, replica: Replica, effect: CopyEffect) -> None:
        limits, now_ms = self.config.limits, self.now_ms
        answer = carry_out_copy(effect, self.executor, replica, limits=limits, now_ms=now_ms)
        if answer is not None:
            self._transmit(answer)
        elif isinstance(effect, CopyInstall) and replica.executed == effect.certificate.sequence:
            self._installed(effect.certificate)

    def _installed(self, certificate: CheckpointCertificate) -> None:
        self._base = self.store.copy()
        self._base_applied = self.flushed = certificate.sequence
        self.batches = []
        # A flipped bit that nobody noticed yet is not mended by a copy that skips what is equal.
        self.is_damaged = self.is_damaged and not self.is_sound()
        self.world.checkers.on_installed(self, certificate)
        self.world.count("installed")
        self.world.trace.line(self.world.elapsed_ms, f"install {self.id} s{certificate.sequence}")

    def must_be_repaired(self, stable: int) -> bool:
        """Whether damage can be known: by looking at the rows, or by the next checkpoint's root.

        A batch that read a flipped bit makes rows that are false and agree with each other.
        """
        return self.is_damaged and (stable >= self._damage_shows_at or not self.is_sound())

    def is_sound(self) -> bool:
        """Whether the rows have the root that the tree says."""
        return self.hashed_anew() == self.executor.root()

    def hashed_anew(self) -> bytes:
        """Return the root of the stored rows, whatever the tree says of them."""
        rows = {key: value for key, value in self.store.iterate(b"") if key[:1].isupper()}
        return ReplicatedStore(MemoryStore(rows), lambda: None).root()

    def _truncate(self, stable: int) -> None:
        """Flush the store and drop log records that nobody can need, as the driver does."""
        self.flushed = self.executor.applied
        retained = self.config.limits.retained_batches_max
        self.disk.truncate_before(min(stable, self.flushed) - retained)

    def _execute(self, replica: Replica, effect: Execute) -> None:
        batch = effect.batch
        outcome = self.executor.apply(effect.sequence, batch.ts_ms, batch.requests)
        self.batches.append(batch)
        root = checkpoint_root(self.executor) if effect.wants_root else None
        self.world.checkers.on_execute(
            self, Executed(effect.sequence, batch, outcome.requests, root)
        )
        self._answer(outcome.requests)
        replica.on_executed(self.now_ms, effect.sequence, root)

    def _answer(self, results: tuple[RequestResult, ...]) -> None:
        replies: dict[int, list[Reply]] = {}
        for result in results:
            gateway = self.config.gateway_of(result.client)
            if gateway == self.id:
                self._acknowledge(self.gateway.on_own_result(result))
            elif gateway is not None:
                reply = Reply(
                    result.client,
                    result.session,
                    result.cseq,
                    result.sequence,
                    result.digest,
                    self.id,
                )
                replies.setdefault(gateway, []).append(reply)
        for gateway in sorted(replies):
            self._emit(gateway, Replies(tuple(replies[gateway])))

    def _acknowledge(self, result: RequestResult | None) -> None:
        if result is not None:
            self.world.on_acknowledged(self, result)

    def _transmit(self, effect: Send | Broadcast) -> None:
        self.world.checkers.on_transmit(self, effect.message)
        if isinstance(effect, Send):
            self._emit(effect.to, effect.message)
            return
        for member in self.config.members:
            if member.replica_id != self.id:
                self._emit(member.replica_id, effect.message)

    def _emit(self, to: int, message: AnyMessage) -> None:
        if self.behaviour is None:
            self.world.send(self.id, to, message)
            return
        for said in self.behaviour.outgoing(to, message):
            self.world.send(self.id, to, said)

    # --- Durability -----------------------------------------------------------------------------

    def _start_sync(self) -> None:
        if self._syncing:
            return
        self._syncing = True
        barrier, count, life = self._barrier, self.disk.burst_size, self._life
        self.world.later(
            self.world.rng.randint(0, self.world.options.sync_max_ms),
            lambda: self._synced(barrier, count, life),
        )

    def _synced(self, barrier: int, count: int, life: int) -> None:
        if life != self._life or self.replica is None:
            return
        self._syncing = False
        self.world.checkers.on_durable(self, self.disk.sync(count))
        self._durable = barrier
        while self._held and self._held[0][0] <= barrier:
            self._transmit(self._held.popleft()[1])
        self.replica.on_persisted(self.now_ms, barrier)
        self.turn()
