"""One node of the world: a real core behind real checks, a disk, an application, a gateway."""

from collections import deque
from random import Random
from typing import TYPE_CHECKING

from dataplane.consensus.config import ReplicaConfig
from dataplane.consensus.messages import (
    AnyMessage,
    CheckpointCertificate,
    Replies,
    Reply,
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
from dataplane.documents.types import Executor, RequestResult
from dataplane.replication.copying import carry_out_copy, checkpoint_root
from dataplane.simulation.byzantine.behaviour import Behaviour
from dataplane.simulation.checkers.checker import Executed
from dataplane.simulation.clocks import draw_clock
from dataplane.simulation.disk import Disk
from dataplane.simulation.errors import DamagedLogError, DiskFullError
from dataplane.simulation.gateway import Gateway
from dataplane.simulation.kept import KeptState
from dataplane.simulation.options import SLOW_SYNC_MS
from dataplane.simulation.signatures import FakeSigner, FakeVerifier

if TYPE_CHECKING:
    from dataplane.simulation.world import World

SCRUBBED_PER_TICK = 2


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
        instance: int,
    ) -> None:
        self.world = world
        self.config = config
        self.id = config.replica_id
        self.instance = instance
        self.rng = Random(f"{world.options.seed} node {instance}")
        self.clock = draw_clock(world.options, self.id, self.rng)
        self.signer = signer
        self.gateway = gateway
        self.behaviour = behaviour
        self.disk = Disk()
        self.kept = KeptState(
            world.workload.executor,
            flippable=world.workload.flippable,
            checkpoint_interval=config.limits.checkpoint_interval,
        )
        self.replica: Replica | None = None
        self.is_amnesiac = False
        self._verifier = verifier
        self._is_liar = config.replica_id in world.options.liars
        self.life = 0
        self._reset()

    def _reset(self) -> None:
        self._held: deque[tuple[int, Send | Broadcast]] = deque()
        self._barrier = self._urgent_barrier = self._durable = 0
        self._syncing = False
        self._timer_at: int | None = None

    @property
    def is_liar(self) -> bool:
        """Whether the node is Byzantine, or one of two with one identity."""
        return self._is_liar

    @property
    def executor(self) -> Executor:
        """The application."""
        return self.kept.executor

    @property
    def now_ms(self) -> int:
        """The node's own clock."""
        return self.clock.read(self.world.now_ms, self.world.elapsed_ms)

    # --- Life -----------------------------------------------------------------------------------

    def start(self) -> None:
        """Read the log, begin, open a session."""
        assert self.replica is None
        self.world.acting = self
        self.life += 1
        self._reset()
        root = None
        if self.executor.applied % self.config.limits.checkpoint_interval == 0:
            root = checkpoint_root(self.executor)
        recovered = recover(self._read_log(), self.executor.applied, root)
        recovered.amnesia = self.is_amnesiac
        self.replica = Replica(self.config, self.signer, recovered)
        self.world.checkers.on_start(self)
        self.replica.on_tick(self.now_ms)
        opening = self.gateway.restart(self.now_ms)
        self.world.checkers.on_invoked(self, opening)
        self.replica.on_request(self.now_ms, opening)
        self.turn()

    def crash(self, *, torn: bool) -> None:
        """Lose memory, what was not synced, and some of what the store had not flushed."""
        assert self.replica is not None
        written = self.disk.burst_size
        survivors = self.disk.crash(self.rng, torn=torn)
        self.world.coverage.on_crash(self, written, len(survivors))
        self.replica = None
        self.life += 1
        self.world.checkers.on_durable(self, survivors)
        self.kept.crash(self.rng)

    def lose_log(self) -> None:
        """Go on without the log: the node cannot know what it voted for, and never votes again."""
        assert self.replica is None
        is_full = self.disk.is_full
        self.disk = Disk()
        self.disk.is_full = is_full
        self.is_amnesiac = True

    def _read_log(self) -> list[bytes]:
        try:
            return self.disk.records()
        except DamagedLogError:
            # It may have forgotten a vote.
            self.world.faults.on_damaged(self)
            self.lose_log()
            return []

    # --- Events ---------------------------------------------------------------------------------

    def receive(self, sender: int, message: AnyMessage) -> None:
        """Take a message from the network."""
        if self.replica is None:
            return
        self.world.acting = self
        if self.replica.is_surplus(message):
            self.world.count("surplus_vote_skipped")
            return
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
        self.world.acting = self
        due = self.gateway.due(self.now_ms)
        fresh = self.gateway.next_request(self.now_ms)
        if fresh is not None:
            due.append(fresh)
            self.world.checkers.on_invoked(self, fresh)
        for request in due:
            self.replica.on_request(self.now_ms, request)
        if due:
            self.turn()

    def _tick(self, life: int) -> None:
        if self.replica is None or life != self.life or self._timer_at != self.world.now_ms:
            return
        self._timer_at = None
        self.world.acting = self
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
        try:
            while effects := replica.take():
                for effect in effects:
                    self._carry_out(replica, effect)
        except DiskFullError:
            self.world.faults.on_disk_full(self)
            return
        if self._urgent_barrier > self._durable:
            self._start_sync()
        self.world.checkers.after_turn(self)
        at_ms = self.world.now_ms + max(1, replica.next_tick_ms(self.now_ms) - self.now_ms)
        if self._timer_at is None or at_ms < self._timer_at:
            self._timer_at = at_ms
            life = self.life
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
                self.kept.retain(effect.certificate.sequence)
                self._truncate(effect.certificate.sequence)
            case EpochEnded():
                raise AssertionError("the members of this world do not change")
            case Evidence():
                self.world.checkers.on_evidence(self, effect)
            case Alarm():
                self.world.checkers.on_alarm(self, effect)
            case PeerFault():
                self.world.checkers.on_peer_fault(self, self.world.nodes[effect.replica], effect)
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
        self.kept.installed(certificate.sequence)
        self.world.checkers.on_installed(self, certificate)

    def _truncate(self, stable: int) -> None:
        """Drop log records that nobody can need, as the driver does."""
        retained = self.config.limits.retained_batches_max
        self.disk.truncate_before(min(stable, self.kept.flushed) - retained)

    def _execute(self, replica: Replica, effect: Execute) -> None:
        batch = effect.batch
        outcome = self.kept.apply(effect.sequence, batch)
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
            self.world.checkers.on_acknowledged(self, result)

    def _transmit(self, effect: Send | Broadcast) -> None:
        self.world.checkers.on_transmit(self, effect.message)
        self.world.coverage.on_effect(self, effect)
        if isinstance(effect, Send):
            self._emit(effect.to, effect.message)
            return
        for member in self.config.members:
            if member.replica_id != self.id:
                self._emit(member.replica_id, effect.message)

    def _emit(self, to: int, message: AnyMessage) -> None:
        if self.behaviour is None:
            self.world.send(self.instance, to, message)
            return
        for said in self.behaviour.outgoing(to, message):
            self.world.send(self.instance, to, said)

    # --- Durability -----------------------------------------------------------------------------

    def _start_sync(self) -> None:
        if self._syncing:
            return
        self._syncing = True
        barrier, count, life = self._barrier, self.disk.burst_size, self.life
        options = self.world.options
        most_ms = SLOW_SYNC_MS if self.id in options.slow_disks else options.sync_max_ms
        delay_ms = self.rng.randint(0, most_ms)
        self.world.later(delay_ms, lambda: self._synced(barrier, count, life))

    def _synced(self, barrier: int, count: int, life: int) -> None:
        if life != self.life or self.replica is None:
            return
        self._syncing = False
        self.world.acting = self
        self.world.checkers.on_durable(self, self.disk.sync(count))
        self._durable = barrier
        while self._held and self._held[0][0] <= barrier:
            self._transmit(self._held.popleft()[1])
        self.replica.on_persisted(self.now_ms, barrier)
        self.turn()
