"""Who may call, and whether there is room for the call: the same for every protocol.

Three limits, the cheapest first. A key has its even share of what a node does at once, so that a
flood under one key leaves room for all others; of streams, which last, it has a fixed number. It
has a rate, its own or the plan's, the lower of the two, over all nodes: each tells the others each
second what keys asked of it, and gives what they leave, but never less than an even part, which
also bounds what a node that lies can take away. A bucket holds `BURST_S` seconds of it. And the
calls of the plan are counted.
"""

from collections import Counter
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Final

from dataplane.client.spec import NodeSpec
from dataplane.documents.view import StateView
from dataplane.gateways.auth import CALLING, Caller, authenticate, renew
from dataplane.gateways.calls import CallMeter, timestamp_ms
from dataplane.gateways.errors import Problem
from dataplane.gateways.tokens import Tokens
from dataplane.ports import Clock

FREE_WHEN_SPENT: Final = frozenset({"delete"})
"""Classes that are counted but never refused: deleting is how a full plan is cured."""
BURST_S: Final = 2
BUCKETS_MAX: Final = 4_096
STREAMS_PER_KEY_MAX: Final = 128


class Bucket:
    """How much of its rate a key has left; it fills as time passes."""

    __slots__ = ("at_ms", "left")

    def __init__(self, rate: int, now_ms: int) -> None:
        self.left = float(rate * BURST_S)
        self.at_ms = now_ms

    def take(self, rate: int, now_ms: int) -> None:
        """Take one request.

        Raises:
            Problem: `rate_limited` with limit, used and resets.
        """
        size = float(rate * BURST_S)
        left = min(size, self.left + (now_ms - self.at_ms) * rate / 1000)
        self.at_ms = now_ms
        if left >= 1.0:
            self.left = left - 1.0
            return
        self.left = left
        wait_ms = round((1.0 - left) * 1000 / rate)
        raise Problem(
            "rate_limited",
            f"this key may now ask this node {rate} times a second",
            {"limit": rate, "used": rate, "resets": timestamp_ms(now_ms + wait_ms)},
            retry_after_s=max(1, -(-wait_ms // 1000)),
        )


class Admission:
    """The door of a node."""

    def __init__(
        self,
        spec: NodeSpec,
        view: StateView,
        meter: CallMeter,
        clock: Clock,
        *,
        members: Callable[[], int],
    ) -> None:
        self._node_id = spec.node_id
        self._members = members
        self._streams: Counter[str] = Counter()
        self._view = view
        self._meter = meter
        self._clock = clock
        self._requests_max = spec.limits.requests_max
        self._under_way: dict[str, int] = {}
        self._tokens = Tokens(spec.cluster_id, spec.organization)
        self._buckets: dict[str, Bucket] = {}

    @property
    def under_way(self) -> int:
        """How many calls are being answered."""
        return sum(self._under_way.values())

    def caller_of(self, authorization: str | None) -> Caller:
        """Return who calls, by the value of an Authorization header.

        Raises:
            Problem: `unauthenticated`.
        """
        return authenticate(authorization, self._view, self._clock.now_ms(), tokens=self._tokens)

    def renewed(self, caller: Caller) -> Caller:
        """Return the caller of a connection that lasts, as its key is now.

        Raises:
            Problem: `unauthenticated`.
        """
        return renew(caller, self._view, self._clock.now_ms())

    def enter(self, caller: Caller, call_class: str) -> None:
        """Let a call in and count it; the empty class costs nothing. `leave` must follow.

        Raises:
            Problem: `restoring`, `rate_limited`, `quota_exceeded`; then the call is not in.
        """
        if call_class and self._view.is_restoring:
            # What costs nothing is about the cluster itself: that is served meanwhile.
            raise Problem("restoring", "nothing can be read or written until the restore ends")
        name, now_ms = caller.key.id, self._clock.now_ms()
        # A connection that lasts answers each call in a task of its own.
        CALLING.set(name)
        count = self._under_way.get(name, 0)
        if count and count >= self._share(name):
            raise Problem(
                "rate_limited",
                "this key has its share of the requests that the node answers at once",
                {"limit": self._share(name), "used": count, "resets": timestamp_ms(now_ms)},
            )
        self._check_rate(caller, now_ms)
        if call_class:
            if call_class not in FREE_WHEN_SPENT:
                self._meter.check(now_ms)
            self._meter.count("write" if call_class == "delete" else call_class)
        self._under_way[name] = count + 1

    def leave(self, caller: Caller) -> None:
        """Let a call out."""
        name = caller.key.id
        count = self._under_way[name] - 1
        if count:
            self._under_way[name] = count
        else:
            del self._under_way[name]

    @contextmanager
    def stream(self, caller: Caller) -> Generator[None]:
        """Hold one of the streams that a key may have open at this node, and the node.

        Raises:
            Problem: `rate_limited`.
        """
        name = caller.key.id
        for whose, used, limit in (
            ("this node has", self._streams.total(), self._requests_max // 2),
            ("this key has at this node", self._streams[name], STREAMS_PER_KEY_MAX),
        ):
            if used >= limit:
                resets = timestamp_ms(self._clock.now_ms())
                fields = {"limit": limit, "used": used, "resets": resets}
                raise Problem("rate_limited", f"{whose} all the streams that may be open", fields)
        self._streams[name] += 1
        try:
            yield
        finally:
            self._streams[name] -= 1
            if not self._streams[name]:
                del self._streams[name]

    def _share(self, name: str) -> int:
        """Return how many calls a key may have under way beside the keys that have any."""
        others = len(self._under_way) - (name in self._under_way)
        return max(1, self._requests_max // (others + 1))

    def _check_rate(self, caller: Caller, now_ms: int) -> None:
        own, plan = caller.key.requests_per_s, self._view.quota().requests_per_s
        rate = plan if own is None else own if plan is None else min(own, plan)
        if rate is None:
            return
        name = caller.key.id
        elsewhere = self._view.rate_elsewhere(name, self._node_id, now_ms)
        rate = max(-(-rate // self._members()), rate - elsewhere)
        bucket = self._buckets.pop(name, None)
        if bucket is None:
            bucket = Bucket(rate, now_ms)
            if len(self._buckets) >= BUCKETS_MAX:
                # The one that was used longest ago is fullest: least is given away with it.
                del self._buckets[next(iter(self._buckets))]
        self._buckets[name] = bucket
        bucket.take(rate, now_ms)
        self._meter.count_key(name)
