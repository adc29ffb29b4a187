"""The gateway's side of the protocol: bundles of operations, sessions, matching replies.

A gateway is a client of the cluster it serves. It gathers the operations of one turn of the event
loop into one signed request, and takes a result as true when this node and enough others computed
the same digest (f+1; q where f is 0).
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from dataplane.consensus.config import Signer
from dataplane.consensus.messages import Reply, Request, request_payload
from dataplane.documents.commands import OpenSession, encode_op, session_id
from dataplane.documents.types import RequestResult
from dataplane.replication.drain import Drain
from dataplane.replication.errors import NoQuorumError, NotReadyError, OverloadedError
from dataplane.wire.quorum import reply_quorum

BUNDLE_OPS_MAX: Final = 512
BUNDLE_BYTES_MAX: Final = 1024 * 1024
OUTSTANDING_MAX: Final = 48
"""Below the session window of 64, so that a window refusal never happens."""
OUTSTANDING_OPS_MAX: Final = 4_096
OUTSTANDING_OPS_LEAST: Final = 1_024
OUTSTANDING_BYTES_MAX: Final = 4 * 1024 * 1024
OUTSTANDING_MS: Final = 500
"""What is under way cannot be overtaken: so much of it is enough to keep the cluster busy."""
SMALL_OPS: Final = 16
"""Submissions of so many operations overtake longer ones, for half of every bundle."""
WAIT_SHARE_MAX: Final = 0.75
"""What would wait for more than this part of its time is refused at once."""
UNKNOWN_OPS_MAX: Final = 4_096
"""What may wait before anything is known of how fast it goes: a first wave would all be late."""
QUEUED_OPS_MAX: Final = 20_000
QUEUED_BYTES_MAX: Final = 128 * 1024 * 1024
REPEAT_MS: Final = 1_000
OUTCOMES_PER_REPLICA_MAX: Final = 4
"""A repeated read, or opening, is answered wherever it is ordered; the newest answers are kept."""


type RequestName = tuple[bytes, int]
"""(session, cseq)"""


@dataclass(slots=True, frozen=True)
class Submitted:
    """The encoded results of a submission, in the order of its operations."""

    results: tuple[bytes, ...]
    sequence: int


@dataclass(slots=True, eq=False)
class Submission:
    """One caller's operations while they wait."""

    ops: tuple[bytes, ...]
    future: asyncio.Future[Submitted]
    results: list[bytes]
    missing: int
    taken: int = 0
    sequence: int = 0


type Part = tuple[Submission, int, int]
"""Whose operations, the index of the first of them there, and how many."""


@dataclass(slots=True)
class Bundle:
    """A signed request under way and whose operations it carries."""

    request: Request
    parts: list[Part]
    sent_ms: int
    own: dict[int, RequestResult] = field(default_factory=dict)
    """This node's results by the sequence they are of."""
    digests: dict[int, dict[int, bytes]] = field(default_factory=dict)
    """The replicas' digests by sequence: only results at one position can be compared."""

    needed: int = 0
    """How many equal results make one true, by the members who executed it."""

    def note(self, sequence: int, replica: int, digest: bytes) -> None:
        """Keep a replica's first digest at a position, of its few newest positions."""
        self.digests.setdefault(sequence, {}).setdefault(replica, digest)
        told = sorted(position for position, book in self.digests.items() if replica in book)
        for position in told[:-OUTCOMES_PER_REPLICA_MAX]:
            del self.digests[position][replica]
            if not self.digests[position]:
                del self.digests[position]


class Submissions:
    """Everything this node's gateway has asked of the cluster and not got yet."""

    def __init__(
        self,
        *,
        cluster_id: bytes,
        node_id: int,
        replica_count: int,
        signer: Signer,
        public_key: bytes,
        nonce: bytes,
        order: Callable[[Request], None],
        on_contradiction: Callable[[str], None],
        refuse: Callable[[int, str, str], None],
    ) -> None:
        self._cluster_id = cluster_id
        self._node_id = node_id
        self._needed = reply_quorum(replica_count)
        self._signer = signer
        self.public_key = public_key
        self._nonce = nonce
        self._order = order
        self._on_contradiction = on_contradiction
        self._refuse = refuse
        self._small: deque[Submission] = deque()
        self._large: deque[Submission] = deque()
        self._drain = Drain()
        self._queued_ops = 0
        self._queued_bytes = 0
        self._outstanding: dict[RequestName, Bundle] = {}
        self._carried_ops = 0
        self._carried_bytes = 0
        self._unexecuted: deque[Bundle] = deque()
        self._session = b""
        self._next_cseq = 1
        self._answered = 0
        self._opened = False
        self._opening: Bundle | None = None
        self._flush_scheduled = False
        self._stopped = False
        self._lives = 0

    def set_replica_count(self, replica_count: int) -> None:
        """Take results as true by the rules of a new set of members."""
        self._needed = reply_quorum(replica_count)

    @property
    def ready(self) -> bool:
        """Whether a session is open."""
        return self._opened

    @property
    def waiting(self) -> int:
        """How many operations wait for a result or to be sent."""
        return self._queued_ops + self._carried_ops

    async def submit(self, ops: Sequence[bytes], timeout_ms: int) -> Submitted:
        """Order operations; return their results once enough replicas agree on them.

        Raises:
            NoQuorumError: No certain result in time.
            NotReadyError: The node is stopping.
            OverloadedError: The queue is full, or so long that the time would not do.
        """
        if self._stopped:
            raise NotReadyError("the node is stopping")
        size_bytes = sum(len(op) for op in ops)
        full = self._queued_ops + len(ops) > QUEUED_OPS_MAX
        if full or self._queued_bytes + size_bytes > QUEUED_BYTES_MAX:
            raise OverloadedError("too many operations wait already")
        self.require_room(timeout_ms, len(ops))
        loop = asyncio.get_running_loop()
        submission = Submission(tuple(ops), loop.create_future(), [b""] * len(ops), len(ops))
        (self._small if len(ops) <= SMALL_OPS else self._large).append(submission)
        self._queued_ops += len(ops)
        self._queued_bytes += size_bytes
        if not self._flush_scheduled:
            self._flush_scheduled = True
            loop.call_soon(self._flush)
        timer = loop.call_later(timeout_ms / 1000, self._time_out, submission)
        try:
            return await submission.future
        finally:
            timer.cancel()

    def require_room(self, timeout_ms: int, op_count: int = 0) -> None:
        """Refuse what would wait in vain, before more is spent on it.

        Raises:
            OverloadedError: What waits already takes too long.
        """
        op_count += self._queued_ops + self._carried_ops
        if op_count > UNKNOWN_OPS_MAX and not self._drain.is_known:
            raise OverloadedError("much waits already, and how fast it goes is not known yet")
        if not self._queued_ops:
            return
        wait_ms = self._drain.wait_ms(op_count)
        if wait_ms > timeout_ms * WAIT_SHARE_MAX:
            raise OverloadedError("what waits already takes too long")

    def _time_out(self, submission: Submission) -> None:
        """Give up; what was not sent yet never will be."""
        if not submission.future.done():
            submission.future.set_exception(NoQuorumError("no quorum answered in time"))
        queue = self._small if len(submission.ops) <= SMALL_OPS else self._large
        if submission.taken < len(submission.ops) and submission in queue:
            self._uncount(submission)
            queue.remove(submission)

    def open(self, now_ms: int) -> None:
        """Start opening a session."""
        self._lives += 1
        nonce = self._nonce + self._lives.to_bytes(4, "big")
        self._session = session_id(self.public_key, nonce)
        self._next_cseq, self._answered, self._opened = 1, 0, False
        request = self._sign(self._session, 0, (encode_op(OpenSession(nonce)),))
        self._opening = Bundle(request, [], now_ms)
        self._order(request)

    def _sign(self, session: bytes, cseq: int, ops: tuple[bytes, ...]) -> Request:
        ack = min(self._answered, cseq)
        unsigned = Request(self.public_key, session, cseq, ack, ops, b"")
        signature = self._signer.sign(request_payload(self._cluster_id, unsigned))
        return Request(self.public_key, session, cseq, ack, ops, signature)

    def _flush(self) -> None:
        self._flush_scheduled = False
        while self._opened and self._has_room:
            if self._unexecuted:
                bundle = self._unexecuted.popleft()
                ops, parts = bundle.request.ops, bundle.parts
            else:
                filled, parts = self._fill()
                ops = tuple(filled)
            if not ops:
                return
            request = self._sign(self._session, self._next_cseq, ops)
            self._outstanding[self._session, self._next_cseq] = Bundle(request, parts, 0)
            self._next_cseq += 1
            self._carry(request, 1)
            self._order(request)

    @property
    def _has_room(self) -> bool:
        if (
            self._next_cseq - self._answered > OUTSTANDING_MAX
            or self._carried_bytes >= OUTSTANDING_BYTES_MAX
            or self._carried_ops >= OUTSTANDING_OPS_MAX
        ):
            return False
        is_little = self._carried_ops < OUTSTANDING_OPS_LEAST
        return is_little or self._drain.wait_ms(self._carried_ops) < OUTSTANDING_MS

    def _carry(self, request: Request, sign: int) -> None:
        self._carried_ops += sign * len(request.ops)
        self._carried_bytes += sign * sum(map(len, request.ops))

    def _fill(self) -> tuple[list[bytes], list[Part]]:
        """Take operations from the queues into one bundle, short submissions first.

        They may have half of it: long ones go on whatever comes.
        """
        ops: list[bytes] = []
        parts: list[Part] = []
        size_bytes = 0
        while len(ops) < BUNDLE_OPS_MAX and (self._small or self._large):
            is_small_first = not self._large or len(ops) < BUNDLE_OPS_MAX // 2
            queue = self._small if self._small and is_small_first else self._large
            submission = queue[0]
            if submission.future.done():  # Its caller gave up before it was sent.
                self._uncount(submission)
                queue.popleft()
                continue
            count = taken_bytes = 0
            for op in submission.ops[submission.taken : submission.taken + BUNDLE_OPS_MAX]:
                full = len(ops) >= BUNDLE_OPS_MAX or size_bytes + len(op) > BUNDLE_BYTES_MAX
                if ops and full:
                    break
                ops.append(op)
                size_bytes += len(op)
                taken_bytes += len(op)
                count += 1
            if count == 0:
                break
            parts.append((submission, submission.taken, count))
            submission.taken += count
            self._queued_ops -= count
            self._queued_bytes -= taken_bytes
            if submission.taken < len(submission.ops):
                break
            queue.popleft()
        return ops, parts

    def _uncount(self, submission: Submission) -> None:
        left = submission.ops[submission.taken :]
        self._queued_ops -= len(left)
        self._queued_bytes -= sum(len(op) for op in left)

    def on_own_result(self, result: RequestResult, now_ms: int) -> None:
        """Take what this node computed for one of its own requests."""
        bundle = self._bundle_of(result.session, result.cseq)
        if bundle is None:
            return
        known = bundle.own.get(result.sequence)
        if known is not None and known.digest != result.digest:
            # The state that gave the first result was found wrong, and the batch ran again.
            bundle.digests.get(result.sequence, {}).pop(self._node_id, None)
            known = None
            del bundle.own[result.sequence]
        if known is None or (not known.results and result.results):
            bundle.own[result.sequence] = result
        if len(bundle.own) > OUTCOMES_PER_REPLICA_MAX:
            del bundle.own[min(bundle.own)]
        bundle.needed = self._needed
        bundle.note(result.sequence, self._node_id, result.digest)
        self._settle(bundle, result.sequence, now_ms)

    def on_reply(self, reply: Reply, now_ms: int) -> None:
        """Take a peer's digest of a result."""
        if reply.client != self.public_key:
            return
        bundle = self._bundle_of(reply.session, reply.cseq)
        if bundle is not None:
            bundle.note(reply.sequence, reply.replica, reply.digest)
            self._settle(bundle, reply.sequence, now_ms)

    def _bundle_of(self, session: bytes, cseq: int) -> Bundle | None:
        if cseq == 0:
            opening = self._opening
            waits = opening is not None and not self._opened and self._session == session
            return opening if waits else None
        return self._outstanding.get((session, cseq))

    def _settle(self, bundle: Bundle, sequence: int, now_ms: int) -> None:
        own = bundle.own.get(sequence)
        if own is None:
            return
        digests = list(bundle.digests.get(sequence, {}).values())
        if digests.count(own.digest) < bundle.needed:
            others = {digest for digest in digests if digest != own.digest}
            if any(digests.count(digest) >= bundle.needed for digest in others):
                self._on_contradiction(f"request {own.cseq} at {sequence}")
            return
        if digests.count(own.digest) < len(digests):
            for replica, digest in bundle.digests[sequence].items():
                if digest != own.digest:
                    self._refuse(replica, "Replies", "differs")
        self._conclude(bundle, own, now_ms)

    def on_copied(self, recorded: Callable[[Request], RequestResult | None], now_ms: int) -> None:
        """Take the answers that a copied state holds: a quorum signed it, so they are certain.

        Whoever copies a state skips the batches with them, and would never have results of its own.
        """
        for bundle in self._waiting():
            own = recorded(bundle.request)
            if own is not None:
                self._conclude(bundle, own, now_ms)

    def _conclude(self, bundle: Bundle, own: RequestResult, now_ms: int) -> None:
        if bundle is self._opening:
            self._opened = own.status == "ok"
            if not self._opened:
                self.open(now_ms)
        else:
            self._deliver(bundle, own, now_ms)
        self._flush()

    def _deliver(self, bundle: Bundle, own: RequestResult, now_ms: int) -> None:
        del self._outstanding[own.session, own.cseq]
        self._carry(bundle.request, -1)
        count = len(bundle.request.ops)
        is_much = self._carried_ops >= OUTSTANDING_OPS_LEAST
        self._drain.done(count, now_ms, is_backlog=bool(is_much or self._small or self._large))
        if own.session == self._session:
            while self._answered + 1 < self._next_cseq and (
                (self._session, self._answered + 1) not in self._outstanding
            ):
                self._answered += 1
        if own.status == "session_expired":
            # A session's name is never used again: the bundle was not and will not be executed.
            self._unexecuted.append(bundle)
            if own.session == self._session:
                self.open(now_ms)
        elif own.status != "ok" or len(own.results) != len(bundle.request.ops):
            self._give_up(bundle)
        else:
            self._hand_out(bundle, own)

    @staticmethod
    def _hand_out(bundle: Bundle, own: RequestResult) -> None:
        position = 0
        for submission, start, count in bundle.parts:
            results = own.results[position : position + count]
            submission.results[start : start + count] = results
            submission.missing -= count
            submission.sequence = max(submission.sequence, own.sequence)
            position += count
            if submission.missing == 0 and not submission.future.done():
                submission.future.set_result(
                    Submitted(tuple(submission.results), submission.sequence)
                )

    @staticmethod
    def _give_up(bundle: Bundle) -> None:
        for submission, _, _ in bundle.parts:
            if not submission.future.done():
                submission.future.set_exception(NoQuorumError("the outcome is not known"))

    def on_tick(self, now_ms: int) -> None:
        """Order again what waits too long: replies may be lost; execution never repeats."""
        self._drain.tick(now_ms)
        for bundle in self._waiting():
            if bundle.sent_ms == 0:
                bundle.sent_ms = now_ms
            elif now_ms - bundle.sent_ms >= REPEAT_MS:
                bundle.sent_ms = now_ms
                self._order(bundle.request)

    def _waiting(self) -> list[Bundle]:
        """Return what is under way, the opening of a session included."""
        waiting = list(self._outstanding.values())
        if self._opening is not None and not self._opened:
            waiting.append(self._opening)
        return waiting

    def refuse_waiting(self, reason: str) -> None:
        """Fail everything that waits: the cluster is out of reach, and its callers should know.

        What was sent may still be ordered later, and is repeated until its outcome is known.
        """
        error = NoQuorumError(f"{reason}; what was sent may still be done")
        for submission in (*self._small, *self._large):
            self._uncount(submission)
            if not submission.future.done():
                submission.future.set_exception(error)
        self._small.clear()
        self._large.clear()
        for bundle in (*self._outstanding.values(), *self._unexecuted):
            for submission, _, _ in bundle.parts:
                if not submission.future.done():
                    submission.future.set_exception(error)

    def stop(self) -> None:
        """Fail everything that waits."""
        self._stopped = True
        for submission in (*self._small, *self._large):
            if not submission.future.done():
                submission.future.set_exception(NotReadyError("the node is stopping"))
        for bundle in (*self._outstanding.values(), *self._unexecuted):
            self._give_up(bundle)
