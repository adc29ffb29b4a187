"""More for some hours: a member asks for a role, another one approves, and the clock takes it back.

An approval is a grant with an end; nothing else changes who may do what. Nobody approves their own
request, and nobody approves what they could not grant.
"""

from datetime import timedelta
from typing import Final
from uuid import UUID

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import Q, QuerySet
from django.urls import reverse

from portal.access.bindings import (
    CLOCK,
    REASON_LENGTH_MAX,
    Principal,
    binding_grant,
    binding_revoke,
    check_scope,
    custom_role_of,
)
from portal.access.errors import ElevationOver, ElevationOwn, TooManyElevations
from portal.access.models import Elevation, ElevationState
from portal.access.selectors import permission_holders
from portal.access.types import CLUSTER, Access, Scope
from portal.accounts.models import User
from portal.audit.services import Actor, audit_record
from portal.core import clock
from portal.core.errors import Invalid, NotFound
from portal.core.tenancy import public_context
from portal.notifications.services import mail_send
from portal.organizations.models import Role
from portal.organizations.services import organization_hold

MINUTES_MIN: Final = 5
MINUTES_MAX: Final = 24 * 60
OPEN_COUNT_MAX: Final = 10
OPEN_FOR: Final = timedelta(hours=24)
KEPT: Final = timedelta(days=90)
MAILS_MAX: Final = 20
APPROVING: Final = "members:write"


def elevation_list(access: Access) -> QuerySet[Elevation]:
    """Return the caller's requests, and everybody's for those who may approve; newest first."""
    found = Elevation.objects.select_related("binding").order_by("-pk")
    can_see_all = APPROVING in access.everywhere
    return found if can_see_all else found.filter(user_id=access.user.pk)


def elevation_request(
    access: Access, *, role: str, scope: Scope, minutes: int, reason: str
) -> Elevation:
    """Ask for a role in a scope, for so many minutes from the approval on.

    Raises:
        Invalid: role, scope, time or reason make no sense.
        TooManyElevations: the same is asked for already, or too much is.
    """
    reason = " ".join(reason.split())
    _check(access, scope, minutes=minutes, reason=reason)
    now = clock.now()
    with transaction.atomic():
        custom = custom_role_of(role)
        elevations_lapse()
        waiting = Elevation.objects.filter(user_id=access.user.pk, state=ElevationState.REQUESTED)
        if waiting.count() >= OPEN_COUNT_MAX:
            raise TooManyElevations(f"{OPEN_COUNT_MAX} of your requests wait for approval.")
        try:
            with transaction.atomic():
                asked = Elevation.objects.create(
                    user_id=access.user.pk,
                    user_label=access.user.email,
                    role=role,
                    role_name=Role(role).label if custom is None else custom.name,
                    scope_kind=scope.kind,
                    scope=scope.value,
                    minutes=minutes,
                    reason=reason,
                    requested_at=now,
                )
        except IntegrityError as error:
            raise TooManyElevations("You asked for this already; it waits.") from error
        _record(access, "elevation.requested", asked)
        _tell_approvers(access, asked)
    return asked


def elevation_approve(access: Access, *, elevation_id: UUID) -> Elevation:
    """Grant what somebody else asked for, from now on for their minutes.

    Raises:
        NotFound: there is no such request.
        ElevationOwn: it is the caller's own.
        ElevationOver: it does not wait any more.
        GrantBeyondOwn, AlreadyGranted, Invalid: as for `binding_grant`.
    """
    with transaction.atomic():
        organization_hold(access.organization.pk)
        asked = _locked(elevation_id)
        if asked.user_id == access.user.pk:
            raise ElevationOwn("Nobody approves their own request.")
        asked.binding = binding_grant(
            access,
            principal=Principal(asked.user_id),
            role=asked.role,
            scope=Scope(asked.scope_kind, asked.scope),
            expires_at=clock.now() + timedelta(minutes=asked.minutes),
            reason=asked.reason,
        )
        _decide(access, asked, ElevationState.APPROVED)
    return asked


def elevation_deny(access: Access, *, elevation_id: UUID) -> Elevation:
    """Refuse what somebody asked for.

    Raises:
        NotFound: there is no such request.
        ElevationOver: it does not wait any more.
    """
    with transaction.atomic():
        asked = _locked(elevation_id)
        _decide(access, asked, ElevationState.DENIED)
    return asked


def elevation_end(access: Access, *, elevation_id: UUID) -> None:
    """Withdraw one's request, or give back what was approved before its time is over.

    Raises:
        NotFound: the caller has no such request.
        ElevationOver: there is nothing left to end.
    """
    with transaction.atomic():
        asked = (
            Elevation.objects.select_for_update()
            .filter(pk=elevation_id, user_id=access.user.pk)
            .first()
        )
        if asked is None:
            raise NotFound("You have no such request.")
        if asked.state == ElevationState.APPROVED and asked.binding_id is not None:
            binding_revoke(access, binding_id=asked.binding_id)
            return
        if not elevation_waits(asked):
            raise ElevationOver("There is nothing to end.")
        _settle(access, asked, ElevationState.WITHDRAWN)


def elevations_lapse() -> int:
    """End the requests on which nobody decided in time, and forget those of long ago."""
    now = clock.now()
    with transaction.atomic():
        Elevation.objects.filter(
            ~Q(state=ElevationState.REQUESTED), requested_at__lt=now - KEPT
        ).delete()
        old = Elevation.objects.select_for_update().filter(
            state=ElevationState.REQUESTED, requested_at__lte=now - OPEN_FOR
        )
        count = 0
        for asked in old:
            _settle(CLOCK, asked, ElevationState.LAPSED)
            count += 1
    return count


def elevation_waits(asked: Elevation) -> bool:
    """Tell whether a request can still be decided on."""
    is_fresh = clock.now() < asked.requested_at + OPEN_FOR
    return asked.state == ElevationState.REQUESTED and is_fresh


def _locked(elevation_id: UUID) -> Elevation:
    asked = Elevation.objects.select_for_update().filter(pk=elevation_id).first()
    if asked is None:
        raise NotFound("There is no such request.")
    if not elevation_waits(asked):
        raise ElevationOver("It was decided, withdrawn, or is older than a day.")
    return asked


def _decide(access: Access, asked: Elevation, state: ElevationState) -> None:
    _settle(access, asked, state)
    with public_context():
        user = User.objects.filter(pk=asked.user_id).first()
    if user is not None and user.pk != access.user.pk:
        mail_send(
            to=user.email,
            template="elevation_decided",
            elevation=asked,
            organization=access.organization,
            link=_link(access),
        )


def _settle(who: Access | Actor, asked: Elevation, state: ElevationState) -> None:
    asked.state, asked.decided_at = state, clock.now()
    asked.decided_by_label = who.user.email if isinstance(who, Access) else who.label
    asked.save(update_fields=["state", "decided_at", "decided_by_label", "binding"])
    _record(who, f"elevation.{state}", asked)


def _check(access: Access, scope: Scope, *, minutes: int, reason: str) -> None:
    check_scope(scope)
    can_see_all = "members:read" in access.everywhere
    if scope.kind == CLUSTER and not can_see_all and not access.sees(UUID(scope.value)):
        raise Invalid.at("/scope/value", "There is no such cluster.")
    if not MINUTES_MIN <= minutes <= MINUTES_MAX:
        raise Invalid.at("/minutes", f"Ask for {MINUTES_MIN} to {MINUTES_MAX} minutes.")
    if not 0 < len(reason) <= REASON_LENGTH_MAX or not reason.isprintable():
        raise Invalid.at("/reason", f"Say why, in at most {REASON_LENGTH_MAX} characters.")


def _tell_approvers(access: Access, asked: Elevation) -> None:
    others = [
        user
        for user in permission_holders(access.organization, APPROVING)
        if user.pk != access.user.pk
    ]
    for user in others[:MAILS_MAX]:
        mail_send(
            to=user.email,
            template="elevation_requested",
            elevation=asked,
            organization=access.organization,
            link=_link(access),
        )


def _link(access: Access) -> str:
    path = reverse("access-elevations", args=[access.organization.slug])
    return f"{settings.PORTAL_URL}{path}"


def _record(who: Access | Actor, action: str, asked: Elevation) -> None:
    audit_record(
        access_or_actor=who,
        action=action,
        target_type="elevation",
        target_id=asked.pk,
        target_label=asked.user_label,
        after={
            "role": asked.role_name,
            "scope": asked.scope_kind,
            **({"on": asked.scope} if asked.scope else {}),
            "minutes": asked.minutes,
            "reason": asked.reason,
        },
    )
