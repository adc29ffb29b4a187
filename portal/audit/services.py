"""Writing the audit trail, and checking that nobody changed it."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable
from uuid import UUID

from django.db import connection, transaction

from portal.audit.models import AuditEvent
from portal.core import clock, live, logs
from portal.core.tenancy import current_schema, is_public

type Facts = Mapping[str, object] | None

LABEL_MAX = 254
_LOCK = 0x6175_6469  # "audi": one writer of the chain at a time in each schema.


class Person(Protocol):
    """A user, as far as the trail is concerned."""

    @property
    def pk(self) -> UUID:
        """The user's id."""
        ...

    email: str


@runtime_checkable
class HasUser(Protocol):
    """An `Access`, as far as the trail is concerned."""

    @property
    def user(self) -> Person:
        """Who acts."""
        ...


@dataclass(frozen=True, slots=True)
class Actor:
    """Who acted when it was not a signed-in user: the system, a node, an operator."""

    label: str
    kind: str = "system"
    id: UUID | None = None


def audit_record(
    *,
    access_or_actor: HasUser | Person | Actor | str,
    action: str,
    target_type: str,
    target_id: object,
    target_label: str,
    before: Facts = None,
    after: Facts = None,
) -> AuditEvent:
    """Append a fact to the trail of the organization in force, in the caller's transaction."""
    assert not is_public(), "the audit trail belongs to an organization"
    actor = _actor(access_or_actor)
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT pg_advisory_xact_lock(%s, hashtext(%s))", [_LOCK, current_schema()]
            )
        last = AuditEvent.objects.order_by("-pk").values_list("hash", flat=True).first()
        event = AuditEvent(
            at=clock.now(),
            actor_id=actor.id,
            actor_label=actor.label[:LABEL_MAX],
            actor_kind=actor.kind,
            address=logs.address.get() or None,
            request_id=logs.request_id.get(),
            action=action,
            target_type=target_type,
            target_id=str(target_id),
            target_label=target_label[:LABEL_MAX],
            before=_plain(before),
            after=_plain(after),
            prev_hash=last or "",
        )
        event.hash = event_hash(event)
        event.save(force_insert=True)
    schema = current_schema()
    news: dict[str, object] = {
        "type": "activity",
        "id": str(event.event_id),
        "at": event.at.isoformat(),
        "actor": event.actor_label,
        "action": action,
        "target": {"type": target_type, "id": event.target_id, "label": event.target_label},
    }
    transaction.on_commit(lambda: live.publish(live.organization_group(schema), news))
    return event


def event_hash(event: AuditEvent) -> str:
    """Return the hash over the row and its predecessor's hash."""
    covered = {
        "event_id": str(event.event_id),
        "at": event.at.isoformat(),
        "actor": [str(event.actor_id or ""), event.actor_label, event.actor_kind],
        "address": event.address or "",
        "request_id": event.request_id,
        "action": event.action,
        "target": [event.target_type, event.target_id, event.target_label],
        "before": event.before,
        "after": event.after,
        "prev_hash": event.prev_hash,
    }
    text = json.dumps(covered, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def chain_verify() -> int | None:
    """Return the id of the first row that does not fit, or None; reads the whole trail."""
    previous = ""
    for event in AuditEvent.objects.order_by("pk").iterator(chunk_size=500):
        if event.prev_hash != previous or event.hash != event_hash(event):
            return event.pk
        previous = event.hash
    return None


def _plain(facts: Facts) -> dict[str, object] | None:
    """Return what the database will return, so that the hash can be checked later."""
    if facts is None:
        return None
    plain: dict[str, object] = json.loads(json.dumps(dict(facts), default=str))
    return plain


def _actor(who: HasUser | Person | Actor | str) -> Actor:
    """Reduce whoever acted to what is stored."""
    match who:
        case Actor():
            return who
        case str():
            return Actor(label=who)
        case HasUser():
            return Actor(label=who.user.email, kind="user", id=who.user.pk)
        case _:
            return Actor(label=who.email, kind="user", id=who.pk)
