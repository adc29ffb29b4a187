"""History of the live figures, in the organization's own schema."""

from typing import ClassVar, override

from django.db import models


class MetricSample(models.Model):
    """Figures of one cluster over one span: 10 s as measured, 60 s and 1 h rolled up."""

    id = models.BigAutoField(primary_key=True)
    cluster_id = models.UUIDField()
    resolution = models.PositiveSmallIntegerField()
    at = models.DateTimeField()
    throughput = models.FloatField()
    reads = models.FloatField()
    writes = models.FloatField()
    errors = models.FloatField()
    # None while nothing was served: an idle second has no latency, least of all zero.
    p50_ms = models.FloatField(null=True)
    p95_ms = models.FloatField(null=True)
    p99_ms = models.FloatField(null=True)
    sequence = models.BigIntegerField()
    documents = models.BigIntegerField()
    storage_bytes = models.BigIntegerField()
    ready_count = models.PositiveSmallIntegerField()
    # [{"id", "sequence", "lag", "health"}], only at the finest resolution.
    nodes = models.JSONField(default=list)

    class Meta:
        """One sample a cluster, resolution and span."""

        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["cluster_id", "resolution", "at"], name="metric_sample_once"
            ),
        ]
        indexes: ClassVar = [models.Index(fields=["resolution", "at"], name="metric_sample_age")]

    @override
    def __str__(self) -> str:
        return f"{self.cluster_id} {self.at:%H:%M:%S}"


class ClusterObservation(models.Model):
    """The newest frame of a cluster: what pages show before the first live frame arrives."""

    cluster_id = models.UUIDField(primary_key=True)
    at = models.DateTimeField()
    frame = models.JSONField()

    @override
    def __str__(self) -> str:
        return str(self.cluster_id)
