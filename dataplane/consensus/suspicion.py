"""When a replica no longer trusts the primary of its view.

A replica's own judgement moves nothing: a blocking set of them must agree (`view_change`). The
causes: no sign of life, work without progress, a request passed over again and again, an idle
primary that lets requests wait, proof that it lied. Back-off grows with every view left in vain and
ends only when a batch executes that the new view decided, never by mere entry into a view.
"""

from collections import deque
from statistics import median_low

from dataplane.consensus.state import ReplicaState

LATENCY_WEIGHT = 8
"""A new commit latency counts one part in so many."""
PATIENCE = 8
"""Work may take so many commit latencies."""
REPEAT_PATIENCE = 2
"""What was sent may take so many before it is sent again."""
LAGGARD_PATIENCE = 4
PASSED_OVER_BATCHES = 4
IDLE_WAITS = 8
"""The median of so many waits at an idle primary tells whether it is slow."""
SLOWER_THAN_COMMIT = 4


class Suspicion:
    """Watches progress. All times are of this replica's clock."""

    def __init__(self, state: ReplicaState) -> None:
        self._state = state
        self._views_in_vain = 0
        self._latency_ms = 0.0
        self._tick_ms = 0
        self._since_ms = 0
        self._heard_ms = 0
        self._progress_ms = 0
        self._was_busy = False
        self._cluster_executed = 0
        self._newest_executed_ms = 0
        self._passed_over = 0
        self._idle_waits: deque[int] = deque(maxlen=IDLE_WAITS)
        self._idle_from_ms = 0
        self._primary_lied = False

    @property
    def request_timeout_ms(self) -> int:
        """How long work may make no progress."""
        limits = self._state.config.limits
        base = PATIENCE * self._latency_ms
        base = min(max(base, limits.request_timeout_min_ms), limits.request_timeout_max_ms)
        return int(min(base * (1 << self._doublings), limits.timeout_max_ms))

    @property
    def patience_ms(self) -> int:
        """How long to wait before saying something again: a slow cluster drowns in repetitions."""
        limits = self._state.config.limits
        learnt_ms = min(REPEAT_PATIENCE * self._latency_ms, limits.request_timeout_max_ms / 4)
        return max(limits.retransmit_ms, int(learnt_ms))

    @property
    def view_timeout_ms(self) -> int:
        """How long the NewView of this view may take."""
        limits = self._state.config.limits
        doublings = max(0, self._doublings - 1)
        return int(min(limits.view_timeout_ms * (1 << doublings), limits.timeout_max_ms))

    @property
    def _doublings(self) -> int:
        return min(self._views_in_vain, 16)

    # --- What happens ----------------------------------------------------------------------------

    def started(self, now_ms: int) -> None:
        """Begin to watch."""
        self._tick_ms = now_ms
        self._restart(now_ms)

    def _restart(self, now_ms: int) -> None:
        self._since_ms = self._heard_ms = self._progress_ms = self._idle_from_ms = now_ms
        self._newest_executed_ms = self._passed_over = 0
        self._idle_waits.clear()
        self._primary_lied = False

    def view_left(self, now_ms: int) -> None:
        """A view ended."""
        self._views_in_vain += 1
        self._restart(now_ms)

    def view_entered(self, now_ms: int) -> None:
        """A view began; only an execution in it counts as success."""
        self._restart(now_ms)

    def heard_primary(self, now_ms: int) -> None:
        """The view's primary said something in the view."""
        self._heard_ms = now_ms

    def caught_lying(self, replica: int) -> None:
        """There is proof against a replica."""
        if replica == self._state.primary:
            self._primary_lied = True

    def accepted(self, now_ms: int, since_ms: int | None) -> None:
        """The proposal that was next to execute came; the oldest request waited since then."""
        if since_ms is not None:
            self._idle_waits.append(now_ms - max(since_ms, self._idle_from_ms))

    def executed(self, now_ms: int, *, view: int, waited_since_ms: int | None) -> None:
        """A batch that `view` decided executed; its newest request waited here since then."""
        self._progress_ms = now_ms
        if view == self._state.view:
            self._views_in_vain = 0
        if waited_since_ms is not None:
            took_ms = now_ms - waited_since_ms
            self._latency_ms += (took_ms - self._latency_ms) / LATENCY_WEIGHT
            self._newest_executed_ms = max(self._newest_executed_ms, waited_since_ms)
        oldest_ms = self._state.pending.oldest_ms()
        overdue = (
            oldest_ms is not None and oldest_ms + self.request_timeout_ms < self._newest_executed_ms
        )
        self._passed_over = self._passed_over + 1 if overdue else 0
        self._idle_from_ms = now_ms

    def heard_position(self, now_ms: int, heads: list[int]) -> None:
        """Take the peers' positions: a laggard sees by f+1 of them that the view is alive."""
        weak = self._state.config.f + 1
        if len(heads) < weak:
            return
        certain = sorted(heads, reverse=True)[weak - 1]
        if certain > max(self._cluster_executed, self._state.executed):
            self._progress_ms = now_ms
        self._cluster_executed = max(self._cluster_executed, certain)

    # --- The verdict -----------------------------------------------------------------------------

    def cause(self, now_ms: int, *, busy: bool) -> str | None:
        """Return why this replica wants to leave its view, None when it does not."""
        self._forgive_own_sleep(now_ms)
        if self._state.config.n == 1 or self._state.is_mute:
            return None
        if busy and not self._was_busy:
            self._progress_ms = max(self._progress_ms, now_ms)
        self._was_busy = busy
        if not self._state.active:
            return "no_new_view" if now_ms - self._since_ms >= self.view_timeout_ms else None
        return self._cause_in_view(now_ms, busy=busy)

    def _cause_in_view(self, now_ms: int, *, busy: bool) -> str | None:
        limits = self._state.config.limits
        # A laggard's own catching up takes time that the primary cannot be blamed for.
        is_behind = self._state.executed < self._cluster_executed
        patience_ms = self.request_timeout_ms * (LAGGARD_PATIENCE if is_behind else 1)
        if busy and now_ms - self._progress_ms >= patience_ms:
            return "no_progress"
        if self._state.is_primary:
            return None
        silence_ms = min(
            limits.heartbeat_timeout_ms * (1 << self._doublings), limits.timeout_max_ms
        )
        if self._primary_lied:
            return "primary_lied"
        if now_ms - self._heard_ms >= silence_ms:
            return "primary_silent"
        if self._passed_over >= PASSED_OVER_BATCHES or (self._is_overdue(now_ms) and not is_behind):
            return "request_passed_over"
        return "primary_slow" if self._is_slow() else None

    def _is_overdue(self, now_ms: int) -> bool:
        """Whether a request waits too long, whatever else is ordered.

        A liar can order requests of its own all the time: that alone is no progress.
        """
        oldest_ms = self._state.pending.oldest_ms()
        limit_ms = self._state.config.limits.timeout_max_ms
        return oldest_ms is not None and now_ms - oldest_ms >= limit_ms

    def _is_slow(self) -> bool:
        if len(self._idle_waits) < IDLE_WAITS:
            return False
        allowed = self._state.config.limits.slow_primary_ms * (1 << self._doublings)
        return median_low(self._idle_waits) > max(allowed, SLOWER_THAN_COMMIT * self._commit_ms())

    def _commit_ms(self) -> float:
        """How long the three phases take here, what a request waited before them left out."""
        waited = median_low(self._idle_waits) if self._idle_waits else 0
        return max(0.0, self._latency_ms - waited)

    def _forgive_own_sleep(self, now_ms: int) -> None:
        """A replica that itself stood still cannot tell what the primary did meanwhile."""
        slept_ms = now_ms - self._tick_ms - 2 * self._state.config.limits.heartbeat_ms
        self._tick_ms = now_ms
        if slept_ms <= 0:
            return
        # What happened since it woke up is not forgiven twice.
        self._since_ms = min(now_ms, self._since_ms + slept_ms)
        self._heard_ms = min(now_ms, self._heard_ms + slept_ms)
        self._progress_ms = min(now_ms, self._progress_ms + slept_ms)
        self._idle_from_ms = min(now_ms, self._idle_from_ms + slept_ms)
        self._state.pending.forgive(slept_ms, now_ms)
