"""Reading the history of a cluster's figures."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TypedDict
from uuid import UUID

from portal.monitoring.constants import METRICS_COUNT_MAX, RETENTION
from portal.monitoring.models import ClusterObservation, MetricSample


class SampleJson(TypedDict):
    """One sample as the API prints it."""

    at: str
    throughput: float
    reads: float
    writes: float
    errors: float
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None
    sequence: int
    documents: int
    storage_bytes: int
    ready_count: int
    nodes: list[dict[str, object]]


def resolution_for(span: timedelta) -> int:
    """Choose the finest resolution that is kept long enough and does not flood the reader."""
    for resolution in sorted(RETENTION):
        if span <= RETENTION[resolution] and span.total_seconds() / resolution <= METRICS_COUNT_MAX:
            return resolution
    return max(RETENTION)


def sample_list(
    cluster_id: UUID, *, start: datetime, end: datetime, resolution: int
) -> list[SampleJson]:
    """Answer the samples of a span, oldest first."""
    rows = MetricSample.objects.filter(
        cluster_id=cluster_id, resolution=resolution, at__gte=start, at__lt=end
    ).order_by("-at")[:METRICS_COUNT_MAX]
    return [_as_json(row) for row in reversed(rows)]


def observation_get(cluster_id: UUID) -> ClusterObservation | None:
    """Answer the newest stored frame of a cluster."""
    return ClusterObservation.objects.filter(cluster_id=cluster_id).first()


def observation_map(cluster_ids: Sequence[UUID]) -> dict[UUID, ClusterObservation]:
    """Answer the newest stored frames of several clusters in one query."""
    rows = ClusterObservation.objects.filter(cluster_id__in=cluster_ids)
    return {row.cluster_id: row for row in rows}


def _as_json(row: MetricSample) -> SampleJson:
    """Print one sample."""
    return {
        "at": row.at.isoformat(timespec="seconds"),
        "throughput": round(row.throughput, 2),
        "reads": round(row.reads, 2),
        "writes": round(row.writes, 2),
        "errors": round(row.errors, 2),
        "p50_ms": row.p50_ms,
        "p95_ms": row.p95_ms,
        "p99_ms": row.p99_ms,
        "sequence": row.sequence,
        "documents": row.documents,
        "storage_bytes": row.storage_bytes,
        "ready_count": row.ready_count,
        "nodes": row.nodes,
    }
