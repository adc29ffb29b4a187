"""One node of the world: a real core behind real checks, a disk, an application, a gateway."""

from collections import deque
from functools import partial
from random import Random
from typing import TYPE_CHECKING

from dataplane.consensus.config import MemberKeys, ReplicaConfig
from dataplane.consensus.messages import (
    AnyMessage,
    CheckpointCertificate,
    Replies,
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
from dataplane.consensus.records import Recovered, recover
from dataplane.consensus.replica import Replica
from dataplane.consensus.verification import is_of_another_epoch, verify_message
from dataplane.documents.types import Configuration, Executor, RequestResult
from dataplane.replication.answers import replies_by_gateway
from dataplane.replication.copying import (
    base_root,
    begun,
    carry_out_copy,
    checkpoint_root,
    epoch_end,
)
from dataplane.replication.passed_over import PassedOver
from dataplane.replication.peer_messages import PeerMessage
from dataplane.replication.reopening import epoch_to_finish
from dataplane.simulation.byzantine.behaviour import Behaviour
from dataplane.simulation.checkers.checker import Executed
from dataplane.simulation.clocks import draw_clock
from dataplane.simulation.disk import Disk
from dataplane.simulation.errors import DamagedLogError, DiskFullError
from dataplane.simulation.gateway import Gateway
from dataplane.simulation.kept import KeptState
from dataplane.simulation.options import SLOW_SYNC_MS
from dataplane.simulation.reading import Reader
from dataplane.simulation.signatures import FakeSigner, FakeVerifier
from dataplane.simulation.trace import Aside

if TYPE_CHECKING:
    from dataplane.simulation.world import World

SCRUBBED_PER_TICK = 2


def member_keys(configuration: Configuration) -> tuple[MemberKeys, ...]:
    """Return the members as the core knows them."""
    return tuple(
        MemberKeys(member.id, member.public_key, member.gateway_key)
        for member in configuration.members
    )


class Node:
    """Carries out a core's effects the way the real driver does, on virtual time."""

    def __init__(
        self,
        world: "World",
        specification: Configuration,
        *,
        replica_id: int,
        signer: FakeSigner,
        verifier: FakeVerifier,
        gateway: Gateway,
        behaviour: Behaviour | None,
        instance: int,
    ) -> None:
        self.world = world
        self.id = replica_id
        self.instance = instance
        self._specification = specification
        self._limits = world.options.limits
        self.rng = Random(f"{world.options.seed} node {instance}")
        self.clock = draw_clock(world.options, self.id, self.rng)
        self.signer = signer
        self.gateway = gateway
        self.behaviour = behaviour
        self.disk = Disk()
        self.kept = KeptState(
            partial(world.workload.executor, member=replica_id),
            flippable=world.workload.flippable,
            checkpoint_interval=self._limits.checkpoint_interval,
        )
        self.configuration = specification
        self.config = self._config()
        self.replica: Replica | None = None
        self.is_amnesiac = False
        self._verifier = verifier
        self._is_liar = replica_id in world.options.liars
        self.reader = Reader(self)
        self.is_dead = False
        self.life = 0
        self._reset()

    def _reset(self) -> None:
        self._held: deque[tuple[int, Send | Broadcast]] = deque()
        self._barrier = self._urgent_barrier = self._durable = 0
        self._syncing = False
        self._epoch_over = False
        self._timer_at: int | None = None
        self._passed_over = PassedOver(self._limits, self.world.chain.following)

    @property
    def is_member(self) -> bool:
        """Whether the node is a member of the epoch that it is in."""
        return not self.config.is_learner

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
        known, given = self.executor.configuration, self._specification
        # A node that joins later has an empty state, and the members to learn from as it was told.
        known = given if given.epoch > known.epoch else known
        past = epoch_to_finish(known, self.executor.applied, self.id, self._read_log())
        if past is not None:
            self.world.count("epoch_reopened")
        self.configuration = past or known
        self.world.chain.ended(self.id, self.configuration)
        self.config = self._config()
        self._recovered = self._recover()
        self.replica = Replica(self.config, self.signer, self._recovered)
        self.world.checkers.on_start(self)
        self.replica.on_tick(self.now_ms)
        self.gateway.set_replica_count(self.config.n)
        self.reader.restart()
        self.reader.set_members()
        if self.is_member:
            self._open_session()
        self.turn()

    def _open_session(self) -> None:
        assert self.replica is not None
        opening = self.gateway.restart(self.now_ms)
        self.world.checkers.on_invoked(self, opening)
        self.replica.on_request(self.now_ms, opening)

    def _config(self) -> ReplicaConfig:
        return ReplicaConfig(
            cluster_id=self.world.cluster_id,
            epoch=self.configuration.epoch,
            replica_id=self.id,
            members=member_keys(self.configuration),
            base=self.configuration.base,
            limits=self._limits,
        )

    def _recover(self) -> Recovered:
        """Read what the log has of this epoch, and every decision it still holds."""
        at_checkpoint = self.executor.applied % self._limits.checkpoint_interval == 0
        recovered = recover(
            self._read_log(),
            self.executor.applied,
            checkpoint_root(self.executor) if at_checkpoint else None,
            epoch=self.config.epoch,
            ends_at=self.configuration.ends_at,
        )
        if recovered.stable is None:
            recovered.base_root = base_root(self.executor, self.config)
        recovered.amnesia = self.is_amnesiac
        return recovered

    def _begin_epoch(self) -> None:
        """Go on with the members that the state names, as the driver does."""
        self._epoch_over = False
        following = self.executor.configuration
        self.world.chain.ended(self.id, following)
        # Only a node whose state fell behind its log finds more there than it holds already.
        self._enter(following, finds_more=self._recovered.later_epoch)

    def _enter(self, following: Configuration, *, finds_more: bool) -> None:
        ended = self.replica
        assert ended is not None
        was_member = self.is_member
        self.configuration = following
        self.config = self._config()
        self._held.clear()
        self._barrier = self._urgent_barrier = self._durable = 0
        self._recovered = self._recover() if finds_more else begun(self.executor, self.config)
        self._recovered.amnesia = self.is_amnesiac
        self.world.coverage.on_epoch_over(self, ended, found_more=finds_more)
        self.replica = Replica(self.config, self.signer, self._recovered)
        ended.hand_over(self.replica, self.now_ms)
        self.world.checkers.on_epoch(self)
        self.gateway.set_replica_count(self.config.n)
        self.reader.set_members()
        if self.is_member and not was_member:
            self._open_session()
        self.replica.on_tick(self.now_ms)

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

    def receive(self, sender: int, message: AnyMessage | Aside) -> None:
        """Take a message from the network."""
        if self.replica is None:
            return
        self.world.acting = self
        if isinstance(message, PeerMessage):
            self.reader.receive(sender, message)
            return
        if is_of_another_epoch(message, self.config.epoch):
            return
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
        if not self.is_member:
            return
        self.reader.maybe_read()
        due = self.gateway.due(self.now_ms)
        fresh = self.gateway.next_request(self.now_ms)
        if fresh is not None:
            due.append(fresh)
            self.world.checkers.on_invoked(self, fresh)
        for request in due:
            self.replica.on_request(self.now_ms, request)
        if due:
            self.turn()

    def order(self, operation: bytes) -> bool:
        """Order an operation of the control plane; say whether it could be asked."""
        if self.replica is None or not self.is_member:
            return False
        request = self.gateway.order(operation, self.now_ms)
        if request is not None:
            self.world.acting = self
            self.world.checkers.on_invoked(self, request)
            self.replica.on_request(self.now_ms, request)
            self.turn()
        return request is not None

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
        self._catch_up_with_epochs()
        self.turn()

    def _catch_up_with_epochs(self) -> None:
        """Give up an epoch that is over when there is no way to its end any more."""
        assert self.replica is not None
        heard = [status.epoch for status in self.replica.positions.values()]
        if self._syncing or self._epoch_over or max(heard, default=0) <= self.config.epoch:
            return
        here = self.configuration
        following = self._passed_over.where_to(here, self.replica, self.now_ms)
        if following is not None:
            self.world.count("epoch_passed_over")
            self.world.say(f"node {self.id} gives up epoch {here.epoch}")
            self._enter(following, finds_more=True)

    # --- Effects --------------------------------------------------------------------------------

    def turn(self) -> None:
        """Carry out every effect, start a sync, arm the timer."""
        assert self.replica is not None
        try:
            self._carry_out_all()
        except DiskFullError:
            self.world.faults.on_disk_full(self)
            return
        if self._urgent_barrier > self._durable:
            self._start_sync()
        self.world.checkers.after_turn(self)
        at_ms = self.world.now_ms + max(1, self.replica.next_tick_ms(self.now_ms) - self.now_ms)
        if self._timer_at is None or at_ms < self._timer_at:
            self._timer_at = at_ms
            life = self.life
            self.world.at(at_ms, lambda: self._tick(life))

    def _carry_out_all(self) -> None:
        while True:
            replica = self.replica
            assert replica is not None
            while effects := replica.take():
                for effect in effects:
                    self._carry_out(replica, effect)
            if not self._epoch_over or self._syncing:
                return
            self._begin_epoch()

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
                self._epoch_over = True
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
        elif isinstance(effect, CopyInstall) and replica.copying is None:
            self._installed(effect.certificate)
            for result in self.gateway.on_copied(self.executor.recorded):
                self._acknowledge(result)

    def _installed(self, certificate: CheckpointCertificate) -> None:
        self.kept.installed(certificate.sequence)
        self.world.checkers.on_installed(self, certificate)
        known = self.executor.configuration
        if known.epoch == self.configuration.epoch and known.members != self.configuration.members:
            # It came by the chain of epochs, which tells less of the members.
            assert self.replica is not None
            self.configuration = known
            self.config = self._config()
            self.replica.know_members(self.config)

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
        self.reader.on_executed()
        ends_at = epoch_end(self.executor, self.config.epoch, effect.sequence)
        if ends_at is not None and not self.is_liar:
            self.world.faults.near_end(self.configuration.epoch, ends_at - effect.sequence)
        replica.on_executed(self.now_ms, effect.sequence, root, ends_at)

    def _answer(self, results: tuple[RequestResult, ...]) -> None:
        if not self.is_member:
            return
        for result in results:
            if self.config.gateway_of(result.client) == self.id:
                self._acknowledge(self.gateway.on_own_result(result))
        for gateway, replies in sorted(replies_by_gateway(results, self.config).items()):
            self._emit(gateway, replies)

    def _acknowledge(self, result: RequestResult | None) -> None:
        if result is not None:
            self.world.checkers.on_acknowledged(self, result)

    def _transmit(self, effect: Send | Broadcast) -> None:
        self.world.checkers.on_transmit(self, effect.message)
        self.world.coverage.on_effect(self, effect)
        if isinstance(effect, Send):
            self._emit(effect.to, effect.message)
            return
        # Also to those that learn, and to those that were members: they are connected.
        for replica in self.world.ids:
            if replica != self.id:
                self._emit(replica, effect.message)

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
