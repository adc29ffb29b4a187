"""Taking usage in: each fact once, contradictions refused and reported, late facts kept apart."""

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from django.db import transaction

from portal.core.tenancy import tenant_context
from portal.metering.alarms.services import Contradiction, alarms_raise
from portal.metering.constants import COUNTERS, RETENTION
from portal.metering.errors import EventRefused
from portal.metering.models import DeadLetter, UsageEvent
from portal.metering.parsing import dead_letter_payload, digest_of, names_of, parse_event
from portal.metering.rollups import Touched, lock_cluster, rollups_refresh
from portal.metering.types import Json, Outcome, ParsedEvent, Period, Source

logger = logging.getLogger(__name__)

PURGE_BATCH_COUNT = 50_000


@dataclass(slots=True)
class _Ingest:
    """What becomes of the events of one request."""

    now: datetime
    outcomes: list[Outcome | None]
    fresh: dict[tuple[str, str], ParsedEvent] = field(default_factory=dict)
    positions: dict[int, ParsedEvent] = field(default_factory=dict)
    late: list[tuple[tuple[str, str], bytes, str, Json]] = field(default_factory=list)
    contradictions: list[Contradiction] = field(default_factory=list)


def usage_ingest(sender: Source, events: Sequence[Json], *, now: datetime) -> list[Outcome]:
    """Store what is new and answer about each event, in order.

    Costs at most ten SQL statements, whatever the number of events.
    """
    state = _Ingest(now=now, outcomes=[None] * len(events))
    for position, event in enumerate(events):
        try:
            state.positions[position] = parse_event(event, sender=sender, now=now)
        except EventRefused as refusal:
            source, event_id = names_of(event)
            if refusal.dead_letter:
                payload = dead_letter_payload(event)
                state.late.append(((source, event_id), digest_of(event), refusal.code, payload))
            state.outcomes[position] = Outcome(
                event_id, source, "rejected", refusal.code, refusal.detail
            )
    with tenant_context(sender.schema), transaction.atomic():
        _store(sender, state, events)
    if state.contradictions:
        alarms_raise(sender, state.contradictions, at=now)
        logger.warning(
            "usage.conflict",
            extra={"cluster": str(sender.cluster_id), "count": len(state.contradictions)},
        )
    return [outcome for outcome in state.outcomes if outcome is not None]


def _store(sender: Source, state: _Ingest, events: Sequence[Json]) -> None:
    """Decide about each parsed event under the cluster's lock and write the new ones."""
    lock_cluster(sender.cluster_id)
    if state.late:
        DeadLetter.objects.bulk_create(
            [
                DeadLetter(
                    source=key[0],
                    event_id=key[1],
                    digest=digest,
                    cluster_id=sender.cluster_id,
                    code=code,
                    payload=payload,
                    received_at=state.now,
                )
                for key, digest, code, payload in state.late
            ],
            ignore_conflicts=True,
        )
    if not state.positions:
        return
    known = _known_digests({parsed.key for parsed in state.positions.values()})
    for position, parsed in state.positions.items():
        state.outcomes[position] = _decide(state, known, parsed, events[position])
    if state.fresh:
        UsageEvent.objects.bulk_create(
            [_row(sender, parsed, state.now) for parsed in state.fresh.values()],
            ignore_conflicts=True,
        )
        rollups_refresh(sender.cluster_id, _touched(state.fresh.values()))


def _known_digests(keys: set[tuple[str, str]]) -> dict[tuple[str, str], bytes]:
    """Look up which of the events are stored already."""
    rows = UsageEvent.objects.filter(
        source__in={source for source, _ in keys}, event_id__in={name for _, name in keys}
    ).values_list("source", "event_id", "digest")
    return {(source, name): bytes(digest) for source, name, digest in rows}


def _decide(
    state: _Ingest, known: dict[tuple[str, str], bytes], parsed: ParsedEvent, event: Json
) -> Outcome:
    """Answer whether an event is new, known, or contradicts what is known."""
    source, event_id = parsed.key
    kept = known.get(parsed.key)
    if kept is None:
        known[parsed.key] = parsed.digest
        state.fresh[parsed.key] = parsed
        return Outcome(event_id, source, "accepted")
    if kept == parsed.digest:
        return Outcome(event_id, source, "duplicate")
    state.contradictions.append(
        Contradiction(parsed.key, kept, parsed.digest, dead_letter_payload(event))
    )
    detail = "this id was reported before with other content; the first report stands"
    return Outcome(event_id, source, "conflict", "usage_conflict", detail)


def _row(sender: Source, parsed: ParsedEvent, now: datetime) -> UsageEvent:
    """Make the row of a new event."""
    data = parsed.data
    return UsageEvent(
        source=parsed.key[0],
        event_id=parsed.key[1],
        digest=parsed.digest,
        cluster_id=sender.cluster_id,
        meter=data.meter,
        call_class=data.call_class or "",
        node=None if data.node == "cluster" else int(data.node),
        window_start=data.window_start.astimezone(UTC),
        window_end=data.window_end.astimezone(UTC),
        value=data.value,
        received_at=now,
    )


def _touched(events: Iterable[ParsedEvent]) -> Touched:
    """Answer the spans of time in which these events change a roll-up."""
    counters: list[ParsedEvent] = []
    storage: list[ParsedEvent] = []
    for event in events:
        (counters if event.data.meter in COUNTERS else storage).append(event)
    return Touched(counters=_span(counters), storage=_span(storage))


def _span(events: Sequence[ParsedEvent]) -> Period | None:
    """Answer the span that covers the windows of the events."""
    if not events:
        return None
    start = min(event.data.window_start for event in events)
    end = max(event.data.window_end for event in events)
    return Period(start.astimezone(UTC), end.astimezone(UTC))


def usage_purge(*, now: datetime) -> int:
    """Delete events that no open period and no dispute can need any more; roll-ups stay.

    Roll-ups of purged hours are never recomputed, because nothing older than 35 days is accepted.
    """
    old = UsageEvent.objects.filter(window_end__lt=now - RETENTION)
    deleted, _ = UsageEvent.objects.filter(pk__in=old.values("pk")[:PURGE_BATCH_COUNT]).delete()
    return deleted
