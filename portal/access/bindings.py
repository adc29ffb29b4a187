"""Granting roles beside the one that a member has: to a person or a team, somewhere, for a time.

Nobody grants more than they hold in the same place, else an admin could make themselves anything.
Ownership is not granted here: it is a member's own role, which only owners give.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from django.db import IntegrityError, transaction

from portal.access.errors import AlreadyGranted, GrantBeyondOwn, TooManyGrants
from portal.access.models import (
    CustomRole,
    Elevation,
    ElevationState,
    RoleBinding,
    Team,
    TeamMember,
)
from portal.access.permissions import PERMISSIONS
from portal.access.ports import cluster_names
from portal.access.resolving import held_of, live_bindings
from portal.access.selectors import people_of
from portal.access.types import CLUSTER, LABEL, LABEL_PATTERN, Access, Held, Scope
from portal.audit.services import Actor, audit_record
from portal.core import clock, live
from portal.core.errors import Invalid, NotFound
from portal.core.tenancy import public_context
from portal.organizations.models import Membership, Role
from portal.organizations.selectors import member_find
from portal.organizations.services import organization_hold

BINDING_COUNT_MAX: Final = 500
REASON_LENGTH_MAX: Final = 200
LIFE_MIN: Final = timedelta(minutes=1)
LIFE_MAX: Final = timedelta(days=366)
GRANTABLE: Final = tuple(role for role in Role if role not in {Role.OWNER, Role.MEMBER})
"""The roles that a grant can give; the role Member gives nothing."""

CLOCK: Final = Actor("The end of its time", kind="system")


@dataclass(frozen=True, slots=True)
class Principal:
    """Who is granted something: a person or a team."""

    user_id: UUID | None = None
    team_id: UUID | None = None


def binding_grant(
    access: Access,
    *,
    principal: Principal,
    role: str,
    scope: Scope,
    expires_at: datetime | None = None,
    reason: str = "",
) -> RoleBinding:
    """Give a role, built-in or by the id of a custom one, to a member or a team, in a scope.

    Raises:
        Invalid: role, scope, time, reason or principal make no sense.
        GrantBeyondOwn: the caller does not hold all of the role in that scope.
        AlreadyGranted, TooManyGrants: there is such a grant, or there are too many.
    """
    now = clock.now()
    _check_fields(expires_at, reason, now)
    check_scope(scope)
    cluster_id = UUID(scope.value) if scope.kind == CLUSTER else None
    with transaction.atomic():
        organization_hold(access.organization.pk)
        custom = custom_role_of(role)
        check_within(
            access, PERMISSIONS[role] if custom is None else custom.permissions, cluster_id
        )
        bindings_expire()
        team, label = _principal(access, principal)
        if RoleBinding.objects.count() >= BINDING_COUNT_MAX:
            raise TooManyGrants(
                f"An organization can have {BINDING_COUNT_MAX} grants; revoke some."
            )
        try:
            with transaction.atomic():
                binding = RoleBinding.objects.create(
                    user_id=principal.user_id,
                    team=team,
                    role=role if custom is None else "",
                    custom_role=custom,
                    scope_kind=scope.kind,
                    scope=scope.value,
                    reason=reason,
                    granted_by_id=access.user.pk,
                    granted_by_label=access.user.email,
                    created_at=now,
                    expires_at=expires_at,
                )
        except IntegrityError as error:
            raise AlreadyGranted("Revoke the grant that is there to make another.") from error
        audit_record(
            access_or_actor=access,
            action="access.granted",
            target_type="grant",
            target_id=binding.pk,
            target_label=label,
            after=facts_of(binding),
        )
        live.access_changed(*people_of([binding]))
    return binding


def binding_revoke(access: Access, *, binding_id: UUID) -> None:
    """Take a grant back; it is gone at the next request of whoever had it.

    Raises:
        NotFound: there is no such grant.
    """
    with transaction.atomic():
        binding = RoleBinding.objects.select_for_update().filter(pk=binding_id).first()
        if binding is None:
            raise NotFound("There is no such grant.")
        _end(access, binding, "access.revoked")


def bindings_expire() -> int:
    """Remove the grants whose time is over, and say so; they opened nothing since then."""
    with transaction.atomic():
        over = list(RoleBinding.objects.select_for_update().filter(expires_at__lte=clock.now()))
        for binding in over:
            _end(CLOCK, binding, "access.expired")
    return len(over)


def bindings_forget(user_id: UUID) -> None:
    """Remove what a person was granted, and take them out of teams: they left."""
    Elevation.objects.filter(user_id=user_id, state=ElevationState.REQUESTED).delete()
    RoleBinding.objects.filter(user_id=user_id).delete()
    TeamMember.objects.filter(user_id=user_id).delete()


def check_within(
    access: Access, permissions: Iterable[str], cluster_id: UUID | None = None
) -> None:
    """Refuse to give what the caller does not hold in the same place.

    Raises:
        GrantBeyondOwn: with one of the permissions that are missing.
    """
    if beyond := set(permissions) - access.permissions_at(cluster_id):
        missing = min(beyond)
        raise GrantBeyondOwn(
            f"You can give only what you hold yourself; you lack {missing}.", permission=missing
        )


def check_held_within(access: Access, grants: Iterable[Held]) -> None:
    """Refuse to give somebody these grants by a team or a label, as `check_within`.

    Raises:
        GrantBeyondOwn: the caller does not hold all of them.
    """
    for held in grants:
        cluster_id = UUID(held.scope.value) if held.scope.kind == CLUSTER else None
        check_within(access, held.permissions, cluster_id)


def held_with_label(label: str) -> list[Held]:
    """Return the grants that hold on the clusters of a label."""
    return [held_of(row) for row in live_bindings().filter(scope_kind=LABEL, scope=label)]


def held_by_team(team: Team) -> list[Held]:
    """Return the grants of a team."""
    return [held_of(row) for row in live_bindings().filter(team=team)]


def facts_of(binding: RoleBinding) -> dict[str, object]:
    """Return what the trail says of a grant."""
    ends = binding.expires_at
    return {
        "role": binding.role or binding.role_name,
        "to": "person" if binding.team_id is None else "team",
        "scope": binding.scope_kind,
        **({"on": binding.scope} if binding.scope else {}),
        **({"until": ends.isoformat()} if ends is not None else {}),
        **({"reason": binding.reason} if binding.reason else {}),
    }


def _end(who: Access | Actor, binding: RoleBinding, action: str) -> None:
    live.access_changed(*people_of([binding]))
    audit_record(
        access_or_actor=who,
        action=action,
        target_type="grant",
        target_id=binding.pk,
        target_label=_label_of(binding),
        before=facts_of(binding),
    )
    binding.delete()


def _label_of(binding: RoleBinding) -> str:
    if binding.team is not None:
        return binding.team.name
    with public_context():
        member = Membership.objects.filter(user=binding.user_id).select_related("user").first()
    return member.user.email if member is not None else str(binding.user_id)


def _principal(access: Access, principal: Principal) -> tuple[Team | None, str]:
    """Return the team, if it is one, and how the trail calls whoever it is."""
    if (principal.user_id is None) == (principal.team_id is None):
        raise Invalid.at("/principal", "Name a member or a team.")
    if principal.team_id is not None:
        team = Team.objects.select_for_update().filter(pk=principal.team_id).first()
        if team is None:
            raise Invalid.at("/principal", "There is no such team.")
        return team, team.name
    member = member_find(access.organization, principal.user_id)
    if member is None:
        raise Invalid.at("/principal", "This person is not a member.")
    return None, member.user.email


def custom_role_of(role: str) -> CustomRole | None:
    """Return the custom role, held as it is until the transaction ends; None for a built-in one.

    Raises:
        Invalid: there is no role of that code or id that can be granted.
    """
    if role in GRANTABLE:
        return None
    try:
        found = CustomRole.objects.select_for_update().filter(pk=UUID(role)).first()
    except ValueError:
        found = None
    if found is None:
        words = f"Use one of {', '.join(GRANTABLE)}, or the id of a custom role."
        raise Invalid.at("/role", words)
    return found


def _check_fields(expires_at: datetime | None, reason: str, now: datetime) -> None:
    if expires_at is not None and not now + LIFE_MIN <= expires_at <= now + LIFE_MAX:
        raise Invalid.at(
            "/expires", "A grant ends a minute from now at the soonest, in a year at most."
        )
    if len(reason) > REASON_LENGTH_MAX or not (reason.isprintable()):
        raise Invalid.at("/reason", f"Use at most {REASON_LENGTH_MAX} printable characters.")


def check_scope(scope: Scope) -> None:
    """Refuse a scope that there is not.

    Raises:
        Invalid: it is of no known kind, or names no label or cluster.
    """
    match scope.kind:
        case "organization":
            fits = scope.value == ""
        case "label":
            fits = LABEL_PATTERN.fullmatch(scope.value) is not None
        case "cluster":
            fits = any(str(key) == scope.value for key in cluster_names())
        case _:
            raise Invalid.at("/scope/kind", "Use organization, label or cluster.")
    if not fits:
        words = {LABEL: "Name a label.", CLUSTER: "There is no such cluster."}
        raise Invalid.at(
            "/scope/value", words.get(scope.kind, "The whole organization has no name.")
        )
