"""The asyncio driver: feeds the core, carries out its effects in order, serves the gateway.

Order of work, as the core demands: append records, sync them (one fdatasync for all that arrived
meanwhile; in a thread of its own unless the disk is quicker than changing threads is), tell the
core, then let go what waited for the barrier. Execution happens here, in order. Anything the
protocol does not foresee halts the node: a replica that goes on after a broken invariant is worse
than one that is down.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from dataplane.client.spec import NodeSpec
from dataplane.consensus.messages import Replies, Request, encode_message
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
from dataplane.consensus.replica import Replica
from dataplane.consensus.state import Archive
from dataplane.documents.types import Configuration, Executor, RequestResult
from dataplane.ports import Clock
from dataplane.replication.accountability import Accountability
from dataplane.replication.answers import send_replies
from dataplane.replication.copying import carry_out_copy, checkpoint_root, epoch_end
from dataplane.replication.epochs import Epochs
from dataplane.replication.errors import NoQuorumError, NotReadyError
from dataplane.replication.halting import Halting
from dataplane.replication.handovers import open_handovers
from dataplane.replication.intake import Intake
from dataplane.replication.log_keeping import LogKeeping
from dataplane.replication.metrics import ReplicationMetrics
from dataplane.replication.notices import Notices
from dataplane.replication.passed_over import PassedOver
from dataplane.replication.peer_messages import MARK
from dataplane.replication.quorum_watch import QuorumWatch
from dataplane.replication.reads import ReadPorts, Reads, ReadState
from dataplane.replication.scrub import Scrub
from dataplane.replication.standing import Standing
from dataplane.replication.status import NodeStatus
from dataplane.replication.submissions import Submissions, Submitted
from dataplane.replication.transport import MakeTransport, PeerTransport
from dataplane.security.signing import (
    Ed25519Signer,
    Ed25519Verifier,
    RememberedSigner,
    RememberingVerifier,
)
from dataplane.storage.evidence import EvidenceLog
from dataplane.storage.wal import WriteAheadLog
from dataplane.wire.proofs import EpochChange

log = logging.getLogger(__name__)

TICK_MIN_MS: Final = 1


class ReplicationDriver:
    """One node's part in the cluster."""

    def __init__(
        self,
        *,
        spec: NodeSpec,
        signer: Ed25519Signer,
        gateway_signer: Ed25519Signer,
        executor: Executor,
        flush: Callable[[], None],
        wal: WriteAheadLog,
        amnesia: str | None,
        evidence_log: EvidenceLog,
        clock: Clock,
        nonce: bytes,
        on_halt: Callable[[str], None],
        state: ReadState,
        make_transport: MakeTransport = PeerTransport,
    ) -> None:
        self.spec = spec
        self._epochs = Epochs(spec, executor, wal, amnesia)
        self.config = self._epochs.config
        self.metrics = ReplicationMetrics()
        self.notices = Notices(self.metrics, clock)
        self._executor, self._wal, self._clock, self._on_halt = executor, wal, clock, on_halt
        limits = self.config.limits
        self._log = LogKeeping(wal, flush, executor, retained=limits.retained_batches_max)
        self._verifier = RememberingVerifier(Ed25519Verifier())
        checks = (self.config, self._verifier)
        self.accountability = Accountability(*checks, evidence_log, self.metrics)
        self._intake = Intake(self._verifier, self.accountability, self.notices)
        self._signer, self._amnesia = signer, amnesia
        self._replica = Replica(self.config, signer, self._epochs.recovered)
        self._transport = make_transport(spec, wal.incarnation, self.metrics, self._on_frames)
        self._transport.set_members(self._epochs.current.members)
        self._standing = self._own_standing()
        self._submissions = Submissions(
            cluster_id=self.config.cluster_id,
            node_id=spec.node_id,
            replica_count=self.config.n,
            signer=RememberedSigner(gateway_signer, self._verifier),
            public_key=gateway_signer.public_key,
            nonce=nonce,
            order=self._order,
            on_contradiction=self._contradicted,
            refuse=self.notices.reject,
        )
        self.handovers = open_handovers(spec, signer, self._verifier, self._transport)
        self.handovers.resume(self._epochs.current)
        self._passed_over = PassedOver(limits, self.handovers.following)
        self.reads = Reads(self._read_ports(signer, nonce, state))
        self._sync_thread = ThreadPoolExecutor(1, "log")
        self._loop: asyncio.AbstractEventLoop | None = None
        self._held: deque[tuple[int, Send | Broadcast]] = deque()
        self._barrier = self._urgent_barrier = self._durable = 0
        self._syncing: asyncio.Future[None] | None = None
        self._epoch_over = self._turn_scheduled = self._halted = False
        self._halting = Halting(self._halt)
        self._scrub = Scrub(executor.copies)
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at_ms = 0

    def _own_standing(self) -> Standing:
        return Standing(
            self.spec.node_id,
            replica=lambda: self._replica,
            configuration=lambda: self._epochs.current,
            reachable=self._transport.reachable,
            metrics=self.metrics,
            accused=self.accountability.accused,
        )

    def _read_ports(self, signer: Ed25519Signer, nonce: bytes, state: ReadState) -> ReadPorts:
        return ReadPorts(
            config=self.config,
            signer=signer,
            verifier=self._verifier,
            gateway_key=self._submissions.public_key,
            nonce=nonce,
            state=state,
            executor=self._executor,
            replica=lambda: self._replica,
            standing=self._standing,
            send=self._transport.send,
            queued_bytes=self._transport.queued_bytes_of,
            order=self._submissions.submit,
            on_contradiction=self._contradicted,
            refuse=self.notices.reject,
            handovers=self.handovers,
            stable=self._epochs.recovered.stable,
        )

    # --- Life -----------------------------------------------------------------------------------

    async def start(self) -> None:
        """Connect to the peers and begin."""
        self._loop = asyncio.get_running_loop()
        await self._transport.start()
        if self._amnesia is not None:
            self.notices.alarm("amnesia", self._amnesia)
        if self._standing.is_member:
            self._submissions.open(self._clock.now_ms())
        for known in self.accountability.recall():
            self._replica.on_message(self._clock.now_ms(), self.spec.node_id, known)
        self._tick()

    async def stop(self) -> None:
        """Stop taking work, finish the log."""
        self._halted = True
        self._submissions.stop()
        self.reads.stop()
        if self._timer is not None:
            self._timer.cancel()
        await self._transport.stop()
        if self._syncing is not None:
            await asyncio.wait([self._syncing])
        self._sync_thread.shutdown()

    def _halt(self, reason: str) -> None:
        if self._halted:
            return
        self._halted = True
        self._submissions.stop()
        self.reads.stop()
        log.critical("node.halted", extra={"reason": reason})
        self._on_halt(reason)

    # --- The gateway's side ---------------------------------------------------------------------

    async def submit(self, ops: Sequence[bytes], *, timeout_ms: int) -> Submitted:
        """Order operations and return their agreed results; see `Submissions.submit`."""
        if not self._standing.is_member:
            raise NotReadyError("this node is no member of the cluster")
        if self.watch.is_cut_off:
            raise NoQuorumError(f"{self.watch.explain()}; nothing was sent")
        return await self._submissions.submit(ops, timeout_ms)

    def require_room(self, timeout_ms: int) -> None:
        """Refuse what would wait in vain; see `Submissions.require_room`."""
        self._submissions.require_room(timeout_ms)

    def _order(self, request: Request) -> None:
        self._replica.on_request(self._clock.now_ms(), request)
        self._schedule_turn()

    def _contradicted(self, detail: str) -> None:
        self.notices.alarm("own_result_differs", detail)
        self._replica.on_damaged(detail)

    # --- Messages in ----------------------------------------------------------------------------

    def _on_frames(self, sender: int, frames: list[bytes]) -> None:
        if self._halted:
            return
        now_ms = self._clock.now_ms()
        with self._halting:
            for frame in frames:
                self._on_frame(sender, frame, now_ms)
        self._schedule_turn()

    def _on_frame(self, sender: int, frame: bytes, now_ms: int) -> None:
        self.metrics.messages_received += 1
        if frame.startswith(MARK):
            self.reads.on_frame(sender, frame)
            return
        replica, config = self._replica, self.config
        message = self._intake.read(sender, frame, replica=replica, config=config, now_ms=now_ms)
        if message is None:
            return
        self.watch.on_message(sender, message, len(frame), now_ms)
        if isinstance(message, Replies):
            for reply in message.replies:
                self._submissions.on_reply(reply, now_ms)
            return
        self._replica.on_message(now_ms, sender, message)

    # --- Effects --------------------------------------------------------------------------------

    def _schedule_turn(self) -> None:
        if not self._turn_scheduled and self._loop is not None and not self._halted:
            self._turn_scheduled = True
            self._loop.call_soon(self._turn)

    def _turn(self) -> None:
        self._turn_scheduled = False
        if self._halted:
            return
        with self._halting:
            self._carry_out_all()
        if not self._halted:
            self._arm_timer()

    def _carry_out_all(self) -> None:
        while True:
            while effects := self._replica.take():
                for effect in effects:
                    self._carry_out(effect)
            if self._epoch_over and self._syncing is None:
                self._begin_epoch()
                continue
            if self._urgent_barrier <= self._durable or self._syncing is not None:
                return
            if self._log.wants_thread:
                self._start_sync()
                return
            self._log.sync()
            self._persisted(self._barrier)

    def _carry_out(self, effect: Effect) -> None:  # noqa: C901, PLR0912 - a branch per effect
        match effect:
            case Send() | Broadcast():
                if effect.after <= self._durable:
                    self._transmit(effect)
                else:
                    self._held.append((effect.after, effect))
            case Persist():
                self._wal.append(effect.records, label=effect.sequence)
                self.metrics.log_records += len(effect.records)
                self._barrier = effect.barrier
                if effect.is_urgent:
                    self._urgent_barrier = effect.barrier
            case Execute():
                self._execute(effect)
            case Stable():
                self.metrics.checkpoints_stable += 1
                self._log.stable = effect.certificate.sequence
                self.reads.on_stable(effect.certificate)
                self._executor.copies.retain(effect.certificate.sequence)
            case EpochEnded():
                self._epoch_over = True
            case Evidence():
                self.accountability.on_evidence(effect, self._clock.now_ms())
            case Alarm():
                self.notices.alarm(effect.code, effect.detail, effect.replica)
            case PeerFault():
                self.notices.reject(effect.replica, "StateTransfer", "false_part")
            case _:
                self._copy(effect)

    def _copy(self, effect: CopyEffect) -> None:
        executor, limits, now_ms = self._executor, self.config.limits, self._clock.now_ms()
        answer = carry_out_copy(effect, executor, self._replica, limits=limits, now_ms=now_ms)
        if answer is not None:
            self._transmit(answer)
        elif isinstance(effect, CopyInstall) and self._replica.copying is None:
            if self._epochs.complete():
                self._replica.know_members(self._epochs.config)
                self._know_members()
            self._submissions.on_copied(executor.recorded, now_ms)

    def _transmit(self, effect: Send | Broadcast) -> None:
        payload = encode_message(effect.message)
        if isinstance(effect, Send):
            self._transport.send(effect.to, payload)
        else:
            self._transport.broadcast(payload)

    def _execute(self, effect: Execute) -> None:
        batch = effect.batch
        outcome = self._executor.apply(effect.sequence, batch.ts_ms, batch.requests)
        root = checkpoint_root(self._executor) if effect.wants_root else None
        now_ms = self._clock.now_ms()
        self.metrics.batches_executed += 1
        self.metrics.requests_executed += len(batch.requests)
        self._answer(outcome.requests, now_ms)
        self.reads.on_executed(effect)
        ends_at = epoch_end(self._executor, self.config.epoch, effect.sequence)
        self._replica.on_executed(now_ms, effect.sequence, root, ends_at)

    def _answer(self, results: Sequence[RequestResult], now_ms: int) -> None:
        if self.config.is_learner:
            return
        own_key = self._submissions.public_key
        for result in results:
            if result.client == own_key:
                self._submissions.on_own_result(result, now_ms)
        send_replies(results, self.config, self._transport)

    # --- Epochs ---------------------------------------------------------------------------------

    def _give_up_epoch(self, now_ms: int) -> None:
        """Go on in a later epoch when there is no way to the end of this one any more."""
        following = self._passed_over.where_to(self._epochs.current, self._replica, now_ms)
        if following and not self._epoch_over and self._syncing is None:
            self.notices.alarm("epoch_passed_over", f"gave up epoch {self.config.epoch}")
            self._begin_epoch(following)

    def _begin_epoch(self, proven: Configuration | None = None) -> None:
        """Go on with the members that the state names, or those of a later epoch that is proven."""
        ended, now_ms = self._replica, self._clock.now_ms()
        was_member, self._epoch_over = self._standing.is_member, False
        following = proven or self._executor.configuration
        sign = self.handovers.ended if proven is None else self.handovers.passed
        sign(self._epochs.current, following)
        self._epochs.enter(following, is_next=proven is None)
        self._held.clear()
        self._barrier = self._urgent_barrier = self._durable = 0
        self._replica = Replica(self._epochs.config, self._signer, self._epochs.recovered)
        ended.hand_over(self._replica, now_ms)
        self._know_members()
        if self._standing.is_member and not was_member:
            self._submissions.open(now_ms)
        elif was_member and not self._standing.is_member:
            self._submissions.refuse_waiting("this node is no member of the cluster any more")
        log.info("epoch.began", extra={"epoch": self.config.epoch, "members": self.config.n})
        self._replica.on_tick(now_ms)

    def _know_members(self) -> None:
        self.config = self._epochs.config
        self._transport.set_members(self._epochs.current.members)
        self._submissions.set_replica_count(self.config.n)
        self.reads.set_config(self.config)
        self.accountability.set_config(self.config)

    # --- Durability -----------------------------------------------------------------------------

    def _start_sync(self) -> None:
        assert self._loop is not None
        barrier = self._barrier
        self._syncing = self._loop.run_in_executor(self._sync_thread, self._log.sync_and_trim)
        self._syncing.add_done_callback(lambda done: self._synced(barrier, done))

    def _synced(self, barrier: int, done: "asyncio.Future[None]") -> None:
        self._syncing = None
        error = done.exception()
        if error is not None:
            self._halt(f"the log failed: {error}")
            return
        if self._halted:
            return
        with self._halting:
            self._persisted(barrier)
        self._turn()

    def _persisted(self, barrier: int) -> None:
        self.metrics.log_syncs += 1
        self._durable = barrier
        while self._held and self._held[0][0] <= barrier:
            self._transmit(self._held.popleft()[1])
        self._replica.on_persisted(self._clock.now_ms(), barrier)

    # --- Time -----------------------------------------------------------------------------------

    def _tick(self) -> None:
        self._timer = None
        if self._halted:
            return
        now_ms = self._clock.now_ms()
        with self._halting:
            if damaged := self._scrub.look(now_ms):
                self._replica.on_damaged(damaged)
            self._replica.on_tick(now_ms)
            self._submissions.on_tick(now_ms)
            self.handovers.on_tick(now_ms, self._epochs.current, self._replica.positions)
            self._give_up_epoch(now_ms)
            if self.watch.update(now_ms, self._replica.executed):
                self._submissions.refuse_waiting(self.watch.explain())
            self.accountability.on_tick(self._transport, now_ms)
            if self._barrier > self._durable and self._syncing is None:
                self._start_sync()
        self._turn()

    def _arm_timer(self) -> None:
        assert self._loop is not None
        now_ms = self._clock.now_ms()
        at_ms = max(now_ms + TICK_MIN_MS, self._replica.next_tick_ms(now_ms))
        if self._timer is not None:
            if self._timer_at_ms <= at_ms:
                return
            self._timer.cancel()
        self._timer_at_ms = at_ms
        self._timer = self._loop.call_later((at_ms - now_ms) / 1000, self._tick)

    # --- Looking in -----------------------------------------------------------------------------

    @property
    def executed(self) -> int:
        """The last executed sequence."""
        return self._replica.executed

    @property
    def decided(self) -> Archive:
        """The newest decided batches, with their proofs."""
        return self._replica.decided

    @property
    def view(self) -> int:
        """The current view."""
        return self._replica.view

    @property
    def is_sound(self) -> bool:
        """Whether this node's state is, as far as it knows, what the cluster agreed on."""
        return not self._replica.diverged

    @property
    def gauges(self) -> dict[str, Callable[[], int]]:
        """What the metrics page shows of this."""
        return {
            "waiting_operations": lambda: self._submissions.waiting,
            "held_messages": lambda: len(self._held),
            "peer_queue_bytes": lambda: self._transport.queued_bytes,
            "state_copies": lambda: self._replica.copies_completed,
        }

    @property
    def ready(self) -> bool:
        """Whether a linearizable request can be served as far as this node knows."""
        return (
            self._submissions.ready
            and not self._halted
            and self.is_sound
            and self._standing.reaches_quorum
        )

    @property
    def watch(self) -> QuorumWatch:
        """Whether this node reaches a quorum."""
        return self._standing.watch

    @property
    def epoch_changes(self) -> tuple[EpochChange, ...]:
        """Proof of who follows whom, from epoch 0 on."""
        return self.handovers.chain

    def status(self) -> NodeStatus:
        """Return what this node knows of the cluster."""
        return self._standing.status(ready=self.ready, now_ms=self._clock.now_ms())
