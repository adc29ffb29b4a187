"""Storing samples and thinning them out with age."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import pairwise
from uuid import UUID

from django.db import connection

from portal.monitoring.constants import RETENTION, SAMPLE_SECONDS
from portal.monitoring.models import ClusterObservation, MetricSample
from portal.monitoring.types import Frame

_ROLL_UP = """
INSERT INTO monitoring_metricsample
       (cluster_id, resolution, at, throughput, reads, writes, errors,
        p50_ms, p95_ms, p99_ms, sequence, documents, storage_bytes, ready_count, nodes)
SELECT cluster_id, %(coarse)s::smallint,
       to_timestamp(floor(extract(epoch FROM at) / %(coarse)s::int) * %(coarse)s::int),
       avg(throughput), avg(reads), avg(writes), avg(errors),
       max(p50_ms), max(p95_ms), max(p99_ms),
       max(sequence), max(documents), max(storage_bytes), min(ready_count), '[]'::jsonb
  FROM monitoring_metricsample
 WHERE resolution = %(fine)s::smallint AND at >= %(since)s::timestamptz
   AND at < %(until)s::timestamptz
 GROUP BY cluster_id, 3
ON CONFLICT (cluster_id, resolution, at) DO UPDATE
   SET throughput = EXCLUDED.throughput, reads = EXCLUDED.reads, writes = EXCLUDED.writes,
       errors = EXCLUDED.errors, p50_ms = EXCLUDED.p50_ms, p95_ms = EXCLUDED.p95_ms,
       p99_ms = EXCLUDED.p99_ms, sequence = EXCLUDED.sequence, documents = EXCLUDED.documents,
       storage_bytes = EXCLUDED.storage_bytes, ready_count = EXCLUDED.ready_count
"""


def sample_store(cluster_id: UUID, frames: Sequence[Frame], *, at: datetime) -> None:
    """Keep the mean of the rates and the worst of the latencies of some seconds as one sample."""
    last = frames[-1]
    count = len(frames)

    def worst(name: str) -> float | None:
        values = [value for f in frames if isinstance(value := f["latency_ms"].get(name), float)]
        return max(values) if values else None

    slot = int(at.timestamp()) // SAMPLE_SECONDS * SAMPLE_SECONDS
    MetricSample.objects.update_or_create(
        cluster_id=cluster_id,
        resolution=SAMPLE_SECONDS,
        at=datetime.fromtimestamp(slot, tz=at.tzinfo),
        defaults={
            "throughput": sum(f["throughput"]["total"] for f in frames) / count,
            "reads": sum(f["throughput"]["reads"] for f in frames) / count,
            "writes": sum(f["throughput"]["writes"] for f in frames) / count,
            "errors": sum(f["throughput"]["errors"] for f in frames) / count,
            "p50_ms": worst("p50"),
            "p95_ms": worst("p95"),
            "p99_ms": worst("p99"),
            "sequence": last["sequence"],
            "documents": last["documents"],
            "storage_bytes": last["storage"]["used"],
            "ready_count": min(f["ready_count"] for f in frames),
            "nodes": [
                {"id": n["id"], "sequence": n["sequence"], "lag": n["lag"], "health": n["health"]}
                for n in last["nodes"]
            ],
        },
    )
    ClusterObservation.objects.update_or_create(
        cluster_id=cluster_id, defaults={"at": at, "frame": last}
    )


def samples_maintain(*, now: datetime) -> None:
    """Roll fine samples up into coarser ones and delete what is past its time.

    Level-triggered: it recomputes the last spans as a whole, so a missed run is made up by the
    next one as long as the finer samples are still there.
    """
    resolutions = sorted(RETENTION)
    with connection.cursor() as cursor:
        for fine, coarse in pairwise(resolutions):
            since = now - timedelta(seconds=coarse * 3)
            whole = int(since.timestamp()) // coarse * coarse
            cursor.execute(
                _ROLL_UP,
                {
                    "fine": fine,
                    "coarse": coarse,
                    "since": datetime.fromtimestamp(whole, tz=now.tzinfo),
                    "until": now,
                },
            )
    for resolution, kept in RETENTION.items():
        MetricSample.objects.filter(resolution=resolution, at__lt=now - kept).delete()
