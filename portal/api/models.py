"""What was answered to writes that named themselves, so that a repeat is answered alike."""

from typing import ClassVar, override

from django.db import models


class IdempotencyRecord(models.Model):
    """The answer to one (caller, key); kept 24 hours."""

    id = models.BigAutoField(primary_key=True)
    caller = models.CharField(max_length=64)
    key = models.CharField(max_length=200)
    digest = models.CharField(max_length=64)
    created_at = models.DateTimeField(db_index=True)
    permissions = models.JSONField(default=list)
    status = models.PositiveSmallIntegerField(null=True)
    content_type = models.CharField(max_length=100, blank=True, default="")
    sealed_body = models.BinaryField(null=True)

    class Meta:
        """A caller uses a key once."""

        constraints: ClassVar = [
            models.UniqueConstraint(fields=["caller", "key"], name="idempotency_once"),
        ]

    @override
    def __str__(self) -> str:
        return f"{self.caller} {self.key}"
