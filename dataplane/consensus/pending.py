"""Requests that wait for a sequence number, first come first served and bounded."""

from collections import OrderedDict, deque
from dataclasses import dataclass

from dataplane.consensus.config import Limits
from dataplane.consensus.messages import Request

type RequestKey = tuple[bytes, bytes, int]


@dataclass(slots=True)
class Waiting:
    """A request and when it was first seen and last passed on."""

    request: Request
    since_ms: int
    forwarded_ms: int
    size_bytes: int


class PendingRequests:
    """The pool of known requests that are not executed yet."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._waiting: OrderedDict[RequestKey, Waiting] = OrderedDict()
        self._queue: deque[RequestKey] = deque()
        self._in_flight: set[RequestKey] = set()
        self._per_client: dict[bytes, int] = {}
        self._size_bytes = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def __contains__(self, key: RequestKey) -> bool:
        return key in self._waiting

    @property
    def in_flight_count(self) -> int:
        """How many requests slots carry."""
        return len(self._in_flight)

    def add(self, request: Request, now_ms: int) -> bool:
        """Add a request; return False when it is known already or a bound is reached."""
        key = request.key
        if key in self._waiting:
            return False
        size = sum(len(op) for op in request.ops)
        client_count = self._per_client.get(request.client, 0)
        if (
            len(self._waiting) >= self._limits.pending_requests_max
            or self._size_bytes + size > self._limits.pending_bytes_max
            or client_count >= self._limits.pending_per_client_max
        ):
            return False
        self._waiting[key] = Waiting(request, now_ms, now_ms, size)
        self._queue.append(key)
        self._per_client[request.client] = client_count + 1
        self._size_bytes += size
        return True

    def mark_in_flight(self, request: Request) -> None:
        """Note that a slot carries the request, so that it is not proposed twice."""
        self._in_flight.add(request.key)

    def all(self) -> list[Request]:
        """Return every waiting request, the oldest first."""
        return [waiting.request for waiting in self._waiting.values()]

    def oldest_ms(self) -> int | None:
        """Return since when the oldest request waits, None when none does."""
        if not self._waiting:
            return None
        return next(iter(self._waiting.values())).since_ms

    def requeue(self, now_ms: int) -> None:
        """Begin anew with a new primary: nothing is in flight, everything waits from now on."""
        self._in_flight.clear()
        self._queue = deque(self._waiting)
        for waiting in self._waiting.values():
            waiting.since_ms = waiting.forwarded_ms = now_ms

    def release(self, request: Request) -> None:
        """Note that a slot with the request was dropped; nobody here knows what became of it."""
        if request.key in self._in_flight:
            self._in_flight.discard(request.key)
            if request.key in self._waiting:
                self._queue.append(request.key)

    def forgive(self, slept_ms: int, now_ms: int) -> None:
        """Leave out of every wait a time in which this replica itself stood still."""
        for waiting in self._waiting.values():
            waiting.since_ms = min(now_ms, waiting.since_ms + slept_ms)

    def executed(self, request: Request) -> int | None:
        """Forget an executed request; return since when it waited here, None if it did not."""
        self._in_flight.discard(request.key)
        waiting = self._waiting.pop(request.key, None)
        if waiting is None:
            return None
        self._size_bytes -= waiting.size_bytes
        left = self._per_client[request.client] - 1
        if left:
            self._per_client[request.client] = left
        else:
            del self._per_client[request.client]
        return waiting.since_ms

    def oldest_unproposed_ms(self) -> int | None:
        """Return since when the first request in the queue waits, None when none does."""
        self._drop_stale()
        return self._waiting[self._queue[0]].since_ms if self._queue else None

    def unproposed_ops(self, at_most: int) -> int:
        """Count operations in the queue, stopping at `at_most`."""
        self._drop_stale()
        count = 0
        for key in self._queue:
            waiting = self._waiting.get(key)
            if waiting is not None and key not in self._in_flight:
                count += len(waiting.request.ops)
            if count >= at_most:
                break
        return count

    def take_batch(self) -> list[Request]:
        """Remove from the queue what fits into one batch and mark it in flight."""
        taken: list[Request] = []
        op_count = size_bytes = 0
        while True:
            self._drop_stale()
            if not self._queue:
                return taken
            waiting = self._waiting[self._queue[0]]
            op_count += len(waiting.request.ops)
            size_bytes += waiting.size_bytes
            over = (
                op_count > self._limits.batch_ops_max or size_bytes > self._limits.batch_bytes_max
            )
            if taken and over:
                return taken
            self._queue.popleft()
            self._in_flight.add(waiting.request.key)
            taken.append(waiting.request)

    def due_for_forwarding(
        self, now_ms: int, interval_ms: int, at_most: int, bytes_max: int
    ) -> list[Request]:
        """Return the oldest requests not passed on for `interval_ms`, and note that they are now.

        One is returned whatever its size.
        """
        due: list[Request] = []
        size_bytes = 0
        for waiting in self._waiting.values():
            if now_ms - waiting.forwarded_ms < interval_ms:
                continue
            size_bytes += waiting.size_bytes
            if len(due) >= at_most or (due and size_bytes > bytes_max):
                break
            waiting.forwarded_ms = now_ms
            due.append(waiting.request)
        return due

    def _drop_stale(self) -> None:
        while self._queue and (
            self._queue[0] not in self._waiting or self._queue[0] in self._in_flight
        ):
            self._queue.popleft()
