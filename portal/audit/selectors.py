"""Reading the audit trail."""

from dataclasses import dataclass

from django.db.models import QuerySet

from portal.audit.models import AuditEvent

PAGE_SIZE = 50


@dataclass(frozen=True, slots=True)
class AuditFilter:
    """What to look for; empty means everything."""

    action: str = ""
    actor: str = ""
    target_type: str = ""


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


def target_types() -> list[str]:
    """Return the kinds of things that events are about."""
    return list(
        AuditEvent.objects.order_by("target_type").values_list("target_type", flat=True).distinct()
    )
