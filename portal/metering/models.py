"""Usage events as received, what was refused, and the roll-ups that can be rebuilt from them."""

from typing import ClassVar, override

from django.db import models


class UsageEvent(models.Model):
    """One reported fact; (source, id) names it for ever, so that a re-send counts once."""

    id = models.BigAutoField(primary_key=True)
    source = models.CharField(max_length=200)
    event_id = models.CharField(max_length=200)
    digest = models.BinaryField(max_length=32)
    cluster_id = models.UUIDField()
    meter = models.CharField(max_length=32)
    call_class = models.CharField(max_length=32, blank=True, default="")
    node = models.PositiveSmallIntegerField(null=True)
    window_start = models.DateTimeField()
    window_end = models.DateTimeField()
    value = models.BigIntegerField()
    received_at = models.DateTimeField()

    class Meta:
        """Constraints and indexes of the table."""

        constraints: ClassVar = [
            models.UniqueConstraint(fields=["source", "event_id"], name="usage_event_once"),
            models.CheckConstraint(condition=models.Q(value__gte=0), name="usage_event_positive"),
            models.CheckConstraint(
                condition=models.Q(window_end__gt=models.F("window_start")),
                name="usage_event_window",
            ),
        ]
        indexes: ClassVar = [
            models.Index(fields=["cluster_id", "meter", "window_start"], name="usage_event_window"),
        ]

    @override
    def __str__(self) -> str:
        return self.event_id


class UsageRollup(models.Model):
    """What the roll-ups of every span have in common."""

    id = models.BigAutoField(primary_key=True)
    cluster_id = models.UUIDField()
    meter = models.CharField(max_length=32)
    call_class = models.CharField(max_length=32, blank=True, default="")
    start = models.DateTimeField()
    # Calls, node-seconds, or byte-seconds of storage.
    quantity = models.DecimalField(max_digits=38, decimal_places=6)
    # Seconds of the span that storage samples cover; the rest is a gap and costs nothing.
    covered_seconds = models.DecimalField(max_digits=12, decimal_places=6)

    class Meta:
        """Each span has its own table."""

        abstract = True

    @override
    def __str__(self) -> str:
        return f"{self.meter} {self.start:%Y-%m-%d %H:%M}"


class UsageHour(UsageRollup):
    """Usage of one cluster, meter and class in one hour."""

    class Meta:
        """Constraints and indexes of the table."""

        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["cluster_id", "meter", "call_class", "start"], name="usage_hour_once"
            ),
        ]
        indexes: ClassVar = [models.Index(fields=["start"], name="usage_hour_start")]


class UsageDay(UsageRollup):
    """Usage of one cluster, meter and class in one UTC day."""

    class Meta:
        """Constraints and indexes of the table."""

        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["cluster_id", "meter", "call_class", "start"], name="usage_day_once"
            ),
        ]
        indexes: ClassVar = [models.Index(fields=["start"], name="usage_day_start")]


class DeadLetter(models.Model):
    """An event that came too late to be billed: kept and shown, never dropped silently."""

    id = models.BigAutoField(primary_key=True)
    source = models.CharField(max_length=200)
    event_id = models.CharField(max_length=200)
    digest = models.BinaryField(max_length=32)
    cluster_id = models.UUIDField()
    code = models.CharField(max_length=40)
    payload = models.JSONField()
    received_at = models.DateTimeField()

    class Meta:
        """Constraints and indexes of the table."""

        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["source", "event_id", "digest"], name="dead_letter_once"
            ),
        ]

    @override
    def __str__(self) -> str:
        return f"{self.code} {self.event_id}"
