"""Reading the audit trail."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime

from asgiref.sync import sync_to_async
from django.db.models import QuerySet

from portal.audit.models import AuditEvent
from portal.core.tenancy import tenant_context

PAGE_SIZE = 50
EXPORT_PAGE_SIZE = 500


@dataclass(frozen=True, slots=True)
class AuditFilter:
    """What to look for; empty means everything. `since` is included, `until` is not."""

    action: str = ""
    actor: str = ""
    target_type: str = ""
    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class AuditPage:
    """Some events, and the position of the next older ones."""

    events: list[AuditEvent]
    next_before: int | None


def event_query(wanted: AuditFilter) -> QuerySet[AuditEvent]:
    """Return the events that fit, newest first."""
    found = AuditEvent.objects.order_by("-pk")
    if wanted.action:
        found = found.filter(action__startswith=wanted.action)
    if wanted.actor:
        found = found.filter(actor_label__icontains=wanted.actor)
    if wanted.target_type:
        found = found.filter(target_type=wanted.target_type)
    if wanted.since is not None:
        found = found.filter(at__gte=wanted.since)
    if wanted.until is not None:
        found = found.filter(at__lt=wanted.until)
    return found


def event_page(wanted: AuditFilter, *, before: int | None) -> AuditPage:
    """Return a page by position, which new events do not shift."""
    found = event_query(wanted)
    if before is not None:
        found = found.filter(pk__lt=before)
    events = list(found[: PAGE_SIZE + 1])
    has_more = len(events) > PAGE_SIZE
    events = events[:PAGE_SIZE]
    return AuditPage(events, events[-1].pk if has_more else None)


async def event_pages(schema_name: str, wanted: AuditFilter) -> AsyncIterator[list[AuditEvent]]:
    """Yield what fits, oldest first, a page at a time; what is added meanwhile is left out.

    Answers are streamed after the request has left its organization, so each page enters it.
    """
    last = await sync_to_async(_last)(schema_name)
    after = 0
    while page := await sync_to_async(_page)(schema_name, wanted, after, last):
        yield page
        after = page[-1].pk


def _last(schema_name: str) -> int:
    with tenant_context(schema_name):
        return AuditEvent.objects.order_by("-pk").values_list("pk", flat=True).first() or 0


def _page(schema_name: str, wanted: AuditFilter, after: int, last: int) -> list[AuditEvent]:
    with tenant_context(schema_name):
        found = event_query(wanted).filter(pk__gt=after, pk__lte=last).order_by("pk")
        return list(found[:EXPORT_PAGE_SIZE])


def target_types() -> list[str]:
    """Return the kinds of things that events are about."""
    return list(
        AuditEvent.objects.order_by("target_type").values_list("target_type", flat=True).distinct()
    )
