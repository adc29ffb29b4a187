"""Raising a metering alarm."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db.models import F

from portal.core.tenancy import public_context
from portal.metering.alarms.models import MeteringAlarm
from portal.metering.types import Json, Source


@dataclass(frozen=True, slots=True)
class Contradiction:
    """An event that came again under the same id with other content."""

    key: tuple[str, str]
    kept_digest: bytes
    refused_digest: bytes
    payload: Json


def alarms_raise(source: Source, found: Sequence[Contradiction], *, at: datetime) -> None:
    """Record each contradiction once, and count how often it came back."""
    with public_context():
        for item in found:
            alarm, created = MeteringAlarm.objects.get_or_create(
                schema=source.schema,
                source=item.key[0],
                event_id=item.key[1],
                refused_digest=item.refused_digest.hex(),
                defaults={
                    "cluster_id": source.cluster_id,
                    "code": "usage_conflict",
                    "kept_digest": item.kept_digest.hex(),
                    "refused_payload": item.payload,
                    "first_seen_at": at,
                    "last_seen_at": at,
                },
            )
            if not created:
                MeteringAlarm.objects.filter(pk=alarm.pk).update(
                    seen_count=F("seen_count") + 1, last_seen_at=at
                )
