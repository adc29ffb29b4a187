"""The node's own measurements: counters, and latencies of the last ten seconds."""

import math
from collections.abc import Callable
from typing import Final, override

from dataplane.gateways.ports import Figures
from dataplane.ports import Clock
from dataplane.replication.metrics import ReplicationMetrics

WINDOW_S: Final = 10
BUCKETS_PER_DOUBLING: Final = 8
BUCKET_COUNT: Final = 200
SMALLEST_S: Final = 0.00005
SHARES: Final = (0.50, 0.95, 0.99)
VERSION: Final = "0.1.0"
CLASSES: Final = {"read": "reads", "query": "reads", "write": "writes", "delete": "writes"}


def bucket_of(seconds: float) -> int:
    """Return the histogram bucket of a latency; neighbours differ by 9 %."""
    if seconds <= SMALLEST_S:
        return 0
    index = math.ceil(math.log2(seconds / SMALLEST_S) * BUCKETS_PER_DOUBLING)
    return min(index, BUCKET_COUNT - 1)


def bucket_seconds(index: int) -> float:
    """Return the upper end of a bucket."""
    return SMALLEST_S * math.pow(2.0, index / BUCKETS_PER_DOUBLING)


class NodeFigures(Figures):
    """Counts what the gateway served; one histogram a second, the last ten are read."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._started_ms = clock.now_ms()
        self._seconds: dict[int, list[int]] = {}
        self.ops = {"total": 0, "reads": 0, "writes": 0, "errors": 0}
        self.replication: ReplicationMetrics | None = None
        self.gauges: dict[str, Callable[[], int]] = {}
        self.more: Callable[[], list[str]] = list
        """Returns further lines of the metrics page."""

    @override
    def observe(self, call_class: str, status: int, seconds: float) -> None:
        kind = CLASSES.get(call_class)
        if kind is None:
            return
        self.ops["total"] += 1
        self.ops[kind] += 1
        if status >= 500:
            self.ops["errors"] += 1
        second = self._clock.now_ms() // 1000
        histogram = self._seconds.get(second)
        if histogram is None:
            for old in [s for s in self._seconds if s <= second - WINDOW_S]:
                del self._seconds[old]
            histogram = self._seconds[second] = [0] * BUCKET_COUNT
        histogram[bucket_of(seconds)] += 1

    def percentiles(self, *shares: float) -> list[float | None]:
        """Return latencies in milliseconds at the shares; None when nothing was served."""
        newest = self._clock.now_ms() // 1000
        recent = [h for s, h in self._seconds.items() if s > newest - WINDOW_S]
        merged = [sum(column) for column in zip(*recent, strict=True)]
        total = sum(merged)
        if total == 0:
            return [None for _ in shares]
        return [_at_share(merged, total, share) for share in shares]

    @override
    def live(self) -> dict[str, object]:
        p50, p95, p99 = self.percentiles(*SHARES)
        return {
            "uptime_s": (self._clock.now_ms() - self._started_ms) // 1000,
            "version": VERSION,
            "ops": dict(self.ops),
            "latency_ms": {"p50": p50, "p95": p95, "p99": p99},
        }

    @override
    def prometheus(self) -> str:
        lines = [
            "# TYPE aerolith_ops_total counter",
            *(f'aerolith_ops_total{{kind="{kind}"}} {n}' for kind, n in self.ops.items()),
        ]
        for name, read in self.gauges.items():
            lines += [f"# TYPE aerolith_{name} gauge", f"aerolith_{name} {read()}"]
        lines.append("# TYPE aerolith_latency_seconds summary")
        for share, value in zip(SHARES, self.percentiles(*SHARES), strict=True):
            if value is not None:
                lines.append(f'aerolith_latency_seconds{{quantile="{share}"}} {value / 1000:.6f}')
        metrics = self.replication
        if metrics is not None:
            for name in (
                "batches_executed",
                "requests_executed",
                "log_syncs",
                "log_records",
                "messages_received",
                "messages_sent",
                "messages_rejected",
                "messages_dropped",
                "checkpoints_stable",
                "evidence",
                "quorum_lost",
                "rejoined",
                "partitions_suspected",
                "catchup_batches",
                "catchup_bytes",
            ):
                lines.append(f"# TYPE aerolith_{name}_total counter")
                lines.append(f"aerolith_{name}_total {getattr(metrics, name)}")
            lines.append("# TYPE aerolith_alarms_total counter")
            lines.extend(
                f'aerolith_alarms_total{{code="{code}"}} {count}'
                for code, count in sorted(metrics.alarms.items())
            )
        return "\n".join([*lines, *self.more()]) + "\n"


def _at_share(histogram: list[int], total: int, share: float) -> float:
    wanted = math.ceil(total * share)
    seen = 0
    for index, count in enumerate(histogram):
        seen += count
        if seen >= wanted:
            return round(bucket_seconds(index) * 1000, 3)
    return round(bucket_seconds(BUCKET_COUNT - 1) * 1000, 3)
