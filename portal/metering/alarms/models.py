"""A contradiction in reported usage that an operator has to look at."""

from typing import ClassVar, override

from django.db import models


class MeteringAlarm(models.Model):
    """Two different payloads came under one event id: one of them is wrong."""

    id = models.BigAutoField(primary_key=True)
    schema = models.CharField(max_length=63)
    cluster_id = models.UUIDField()
    source = models.CharField(max_length=200)
    event_id = models.CharField(max_length=200)
    code = models.CharField(max_length=40)
    kept_digest = models.CharField(max_length=64)
    refused_digest = models.CharField(max_length=64)
    refused_payload = models.JSONField()
    seen_count = models.PositiveIntegerField(default=1)
    first_seen_at = models.DateTimeField()
    last_seen_at = models.DateTimeField()
    acknowledged_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        """Constraints and indexes of the table."""

        ordering: ClassVar = ["-last_seen_at"]
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["schema", "source", "event_id", "refused_digest"],
                name="metering_alarm_once",
            ),
        ]

    @override
    def __str__(self) -> str:
        return f"{self.code}: {self.event_id}"
