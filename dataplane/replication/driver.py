"""The asyncio driver: feeds the core, carries out its effects in order, serves the gateway.

Order of work, as the core demands: append records, sync them (one fdatasync for all that arrived
meanwhile; in a thread of its own unless the disk is quicker than changing threads is), tell the
core, then let go what waited for the barrier. Execution happens here, in order. Anything the
protocol does not foresee halts the node: a replica that goes on after a broken invariant is worse
than one that is down.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final, assert_never

from dataplane.client.spec import NodeSpec
from dataplane.consensus.messages import (
    AnyMessage,
    Replies,
    Reply,
    Request,
    decode_message,
    encode_message,
)
from dataplane.consensus.outcome import (
    Alarm,
    Broadcast,
    Effect,
    Evidence,
    Execute,
    Persist,
    Send,
    Stable,
)
from dataplane.consensus.records import recover
from dataplane.consensus.replica import Replica
from dataplane.consensus.verification import verify_message
from dataplane.documents.types import Executor, RequestResult
from dataplane.ports import Clock
from dataplane.replication.configuration import replica_config
from dataplane.replication.metrics import ReplicationMetrics
from dataplane.replication.peer_messages import MARK
from dataplane.replication.reads import ReadPorts, Reads, ReadState
from dataplane.replication.status import MemberStatus, NodeStatus
from dataplane.replication.submissions import Submissions, Submitted
from dataplane.replication.transport import PeerTransport
from dataplane.security.signing import Ed25519Signer, Ed25519Verifier, RememberingVerifier
from dataplane.storage.wal import WriteAheadLog
from dataplane.wire.errors import MalformedMessageError

log = logging.getLogger(__name__)

TICK_MIN_MS: Final = 1
TRUNCATE_EVERY: Final = 512
SYNC_QUICK_S: Final = 0.002
SYNC_MEMORY: Final = 0.9
ALARM_LOG_EVERY: Final = 100


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
        clock: Clock,
        nonce: bytes,
        on_halt: Callable[[str], None],
        state: ReadState,
    ) -> None:
        self.spec = spec
        self.config = replica_config(spec)
        self.metrics = ReplicationMetrics()
        self._executor = executor
        self._flush_store = flush
        self._wal = wal
        self._clock = clock
        self._on_halt = on_halt
        self._verifier = RememberingVerifier(Ed25519Verifier())
        records = (record for _, record in wal.replay())
        at_checkpoint = executor.applied % self.config.limits.checkpoint_interval == 0
        root = executor.root() if at_checkpoint else None
        self._replica = Replica(self.config, signer, recover(records, executor.applied, root))
        self._transport = PeerTransport(spec, wal.incarnation, self.metrics, self._on_frames)
        self._submissions = Submissions(
            cluster_id=self.config.cluster_id,
            node_id=spec.node_id,
            replica_count=self.config.n,
            signer=gateway_signer,
            public_key=gateway_signer.public_key,
            nonce=nonce,
            order=self._order,
            on_contradiction=self._contradicted,
        )
        self.reads = Reads(self._read_ports(signer, nonce, state))
        self._sync_thread = ThreadPoolExecutor(1, "log")
        self._loop: asyncio.AbstractEventLoop | None = None
        self._held: deque[tuple[int, Send | Broadcast]] = deque()
        self._barrier = 0
        self._urgent_barrier = 0
        self._durable = 0
        self._syncing: asyncio.Future[None] | None = None
        self._sync_s = 0.0
        self._truncated = 0
        self._stable = 0
        """The newest checkpoint whose record is on disk: the log may shrink up to it."""
        self._turn_scheduled = False
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at_ms = 0
        self._halted = False
        self._contradiction = False

    def _read_ports(self, signer: Ed25519Signer, nonce: bytes, state: ReadState) -> ReadPorts:
        return ReadPorts(
            config=self.config,
            signer=signer,
            verifier=self._verifier,
            gateway_key=self._submissions.public_key,
            nonce=nonce,
            state=state,
            executed=lambda: self._executor.applied,
            heads=self._heads,
            is_sound=lambda: not self._replica.diverged and not self._contradiction,
            send=self._transport.send,
            order=self._submissions.submit,
            on_contradiction=self._contradicted,
        )

    # --- Life -----------------------------------------------------------------------------------

    async def start(self) -> None:
        """Connect to the peers and begin."""
        self._loop = asyncio.get_running_loop()
        await self._transport.start()
        self._submissions.open(self._clock.now_ms())
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
        return await self._submissions.submit(ops, timeout_ms)

    def _order(self, request: Request) -> None:
        self._replica.on_request(self._clock.now_ms(), request)
        self._schedule_turn()

    def _contradicted(self, detail: str) -> None:
        self._contradiction = True
        self._alarm("own_result_differs", detail)

    # --- Messages in ----------------------------------------------------------------------------

    def _on_frames(self, sender: int, frames: list[bytes]) -> None:
        if self._halted:
            return
        now_ms = self._clock.now_ms()
        try:
            for frame in frames:
                self._on_frame(sender, frame, now_ms)
        except Exception as error:
            log.exception("node.invariant")
            self._halt(f"{type(error).__name__}: {error}")
            return
        self._schedule_turn()

    def _on_frame(self, sender: int, frame: bytes, now_ms: int) -> None:
        self.metrics.messages_received += 1
        if frame.startswith(MARK):
            if not self.reads.on_frame(sender, frame):
                self._reject(sender, "read")
            return
        try:
            message = decode_message(frame)
        except MalformedMessageError:
            self._reject(sender, "malformed")
            return
        if self._replica.is_surplus(message):
            return
        if not verify_message(message, sender, self.config, self._verifier):
            self._reject(sender, type(message).__name__)
            return
        if isinstance(message, Replies):
            for reply in message.replies:
                self._submissions.on_reply(reply, now_ms)
            return
        self._replica.on_message(now_ms, sender, message)

    def _reject(self, sender: int, what: str) -> None:
        self.metrics.messages_rejected += 1
        self.metrics.fault(sender)
        if self.metrics.messages_rejected % ALARM_LOG_EVERY == 1:
            log.warning("peer.message_rejected", extra={"peer": sender, "what": what})

    # --- Effects --------------------------------------------------------------------------------

    def _schedule_turn(self) -> None:
        if not self._turn_scheduled and self._loop is not None and not self._halted:
            self._turn_scheduled = True
            self._loop.call_soon(self._turn)

    def _turn(self) -> None:
        self._turn_scheduled = False
        if self._halted:
            return
        try:
            self._carry_out_all()
        except Exception as error:
            log.exception("node.invariant")
            self._halt(f"{type(error).__name__}: {error}")
            return
        self._arm_timer()

    def _carry_out_all(self) -> None:
        while True:
            while effects := self._replica.take():
                for effect in effects:
                    self._carry_out(effect)
            if self._urgent_barrier <= self._durable or self._syncing is not None:
                return
            if self._sync_s > SYNC_QUICK_S or self._is_trim_due():
                self._start_sync()
                return
            self._sync()
            self._persisted(self._barrier)

    def _carry_out(self, effect: Effect) -> None:
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
                self._stable = effect.certificate.sequence
                self.reads.on_stable(effect.certificate)
            case Evidence():
                self.metrics.evidence += 1
                self.metrics.fault(effect.replica)
                log.error(
                    "peer.equivocated",
                    extra={"peer": effect.replica, "sequence": effect.first.sequence},
                )
            case Alarm():
                self._alarm(effect.code, effect.detail)
            case _:
                assert_never(effect)

    def _alarm(self, code: str, detail: str) -> None:
        count = self.metrics.alarms.get(code, 0) + 1
        self.metrics.alarms[code] = count
        if count % ALARM_LOG_EVERY == 1:
            log.error("node.alarm", extra={"code": code, "detail": detail, "count": count})

    def _transmit(self, effect: Send | Broadcast) -> None:
        payload = encode_message(effect.message)
        if isinstance(effect, Send):
            self._transport.send(effect.to, payload)
        else:
            self._transport.broadcast(payload)

    def _execute(self, effect: Execute) -> None:
        batch = effect.batch
        outcome = self._executor.apply(effect.sequence, batch.ts_ms, batch.requests)
        root = self._executor.root() if effect.wants_root else None
        now_ms = self._clock.now_ms()
        self.metrics.batches_executed += 1
        self.metrics.requests_executed += len(batch.requests)
        self._answer(outcome.requests, now_ms)
        self.reads.on_executed(effect, self._executor)
        self._replica.on_executed(now_ms, effect.sequence, root)

    def _answer(self, results: Sequence[RequestResult], now_ms: int) -> None:
        replies: dict[int, list[Reply]] = {}
        for result in results:
            gateway = self.config.gateway_of(result.client)
            if gateway == self.config.replica_id:
                self._submissions.on_own_result(result, now_ms)
            elif gateway is not None:
                replies.setdefault(gateway, []).append(
                    Reply(
                        result.client,
                        result.session,
                        result.cseq,
                        result.sequence,
                        result.digest,
                        self.config.replica_id,
                    )
                )
        for gateway, mine in replies.items():
            message: AnyMessage = Replies(tuple(mine))
            self._transport.send(gateway, encode_message(message))

    # --- Durability -----------------------------------------------------------------------------

    def _start_sync(self) -> None:
        assert self._loop is not None
        barrier = self._barrier
        self._syncing = self._loop.run_in_executor(self._sync_thread, self._sync_and_trim)
        self._syncing.add_done_callback(lambda done: self._synced(barrier, done))

    def _is_trim_due(self) -> bool:
        reached = min(self._stable, self._executor.applied)
        return reached - self._truncated >= TRUNCATE_EVERY

    def _sync(self) -> None:
        """Write and sync the log, and learn how long that takes here."""
        began_ns = time.perf_counter_ns()
        self._wal.sync()
        took_s = (time.perf_counter_ns() - began_ns) / 1e9
        self._sync_s = took_s * (1 - SYNC_MEMORY) + self._sync_s * SYNC_MEMORY

    def _sync_and_trim(self) -> None:
        """Run in the log's thread: sync; now and then drop what nobody needs."""
        self._sync()
        if self._is_trim_due():
            reached = min(self._stable, self._executor.applied)
            self._flush_store()
            self._truncated = reached
            self._wal.truncate_before(reached - self.config.limits.retained_batches_max)

    def _synced(self, barrier: int, done: "asyncio.Future[None]") -> None:
        self._syncing = None
        error = done.exception()
        if error is not None:
            self._halt(f"the log failed: {error}")
            return
        if self._halted:
            return
        try:
            self._persisted(barrier)
        except Exception as failure:
            log.exception("node.invariant")
            self._halt(f"{type(failure).__name__}: {failure}")
            return
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
        try:
            self._replica.on_tick(now_ms)
            self._submissions.on_tick(now_ms)
            if self._barrier > self._durable and self._syncing is None:
                self._start_sync()
        except Exception as error:
            log.exception("node.invariant")
            self._halt(f"{type(error).__name__}: {error}")
            return
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
    def view(self) -> int:
        """The current view."""
        return self._replica.view

    @property
    def pending(self) -> int:
        """Operations of this gateway that wait for a result."""
        return self._submissions.waiting

    @property
    def held_count(self) -> int:
        """Messages that wait for the log."""
        return len(self._held)

    @property
    def peer_queue_bytes(self) -> int:
        """Bytes that wait for peers to read."""
        return self._transport.queued_bytes

    @property
    def ready(self) -> bool:
        """Whether a linearizable request can be served as far as this node knows."""
        return (
            self._submissions.ready
            and not self._halted
            and not self._contradiction
            and not self._replica.diverged
            and self._reaches_quorum()
        )

    def _reaches_quorum(self) -> bool:
        me, primary = self.config.replica_id, self._replica.primary
        reached = sum(1 for m in self.config.members if self._reaches(m.replica_id))
        is_led = self._replica.active and (primary == me or self._reaches(primary))
        return is_led and reached >= self.config.quorum

    def _reaches(self, replica_id: int) -> bool:
        return replica_id == self.config.replica_id or self._transport.reachable(replica_id)

    def _heads(self) -> dict[int, int]:
        """Return the newest sequence that each replica is known, or says, to have executed."""
        heads = {peer: status.executed for peer, status in self._replica.peers.items()}
        return {**heads, self.config.replica_id: self._replica.executed}

    def status(self) -> NodeStatus:
        """Return what this node knows of the cluster."""
        replica, me = self._replica, self.config.replica_id
        heads = self._heads()
        newest = max(heads.values())
        members = tuple(
            MemberStatus(
                id=member.id,
                address=member.url,
                role="primary" if member.id == replica.primary else "backup",
                reachable=self._reaches(member.id),
                executed=heads.get(member.id),
                lag=None if member.id not in heads else newest - heads[member.id],
                faults=self.metrics.faults_by_replica.get(member.id, 0),
            )
            for member in self.spec.members
        )
        return NodeStatus(
            node_id=me,
            view=replica.view,
            sequence=replica.executed,
            stable=replica.stable,
            primary=replica.primary,
            f=self.config.f,
            quorum=self.config.quorum,
            ready=self.ready,
            members=members,
        )
