"""Custom roles: sets of permissions of an organization's own, and who a change of one concerns.

A custom role holds no more than whoever made it so: changing one gives to everybody who has it. It
can not decide who is an owner. It is given by grants, like the built-in roles.
"""

from collections.abc import Collection, Iterable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from django.db import IntegrityError, transaction
from django.db.models import Count, QuerySet

from portal.access.bindings import check_within
from portal.access.errors import RoleInUse, TooManyRoles
from portal.access.models import CustomRole, TeamMember
from portal.access.permissions import ALL_PERMISSIONS, PERMISSION_WORDS, PERMISSIONS
from portal.access.resolving import LiveBinding, held_of, live_bindings
from portal.access.selectors import people_of
from portal.access.types import CLUSTER, EVERYWHERE, LABEL, Access, Held, Scope
from portal.accounts.models import User
from portal.audit.services import audit_record
from portal.core import clock, live
from portal.core.errors import Conflict, Invalid, NotFound
from portal.organizations.selectors import member_list

ROLE_COUNT_MAX: Final = 50
NAME_LENGTH_MAX: Final = 40
DESCRIPTION_LENGTH_MAX: Final = 200
CUSTOM_PERMISSIONS: Final = tuple(code for code in PERMISSION_WORDS if code != "owners:write")
"""What a custom role can hold, in the order of the matrix."""


@dataclass(frozen=True, slots=True)
class Change:
    """What somebody would gain and lose somewhere."""

    user: User
    scope: Scope
    gains: tuple[str, ...]
    loses: tuple[str, ...]


def role_list() -> QuerySet[CustomRole]:
    """Return the custom roles with how often each is granted, by name."""
    return CustomRole.objects.annotate(grant_count=Count("bindings")).order_by("name")


def role_get(role_id: UUID) -> CustomRole:
    """Return a custom role.

    Raises:
        NotFound: there is no such role.
    """
    role = CustomRole.objects.filter(pk=role_id).first()
    if role is None:
        raise NotFound("There is no such role.")
    return role


def role_create(
    access: Access, *, name: str, permissions: Collection[str], description: str = ""
) -> CustomRole:
    """Make a custom role.

    Raises:
        Invalid: name or permissions make no sense.
        GrantBeyondOwn: it would hold more than the caller does everywhere.
        Conflict, TooManyRoles: the name is taken, or there are too many.
    """
    name, description = _checked_name(name), _checked_description(description)
    wanted = _checked_permissions(permissions)
    check_within(access, wanted)
    with transaction.atomic():
        if CustomRole.objects.count() >= ROLE_COUNT_MAX:
            raise TooManyRoles(f"An organization can have {ROLE_COUNT_MAX} roles of its own.")
        role = CustomRole(
            name=name, description=description, permissions=wanted, created_at=clock.now()
        )
        _save(role, is_new=True)
        _record(access, "role.created", role, after={"permissions": wanted})
    return role


def role_update(
    access: Access, *, role_id: UUID, name: str, permissions: Collection[str], description: str
) -> CustomRole:
    """Change a custom role, for everybody who has it.

    Raises:
        NotFound: there is no such role.
        Invalid, GrantBeyondOwn, Conflict: as for `role_create`; what it holds already may stay.
    """
    name, description = _checked_name(name), _checked_description(description)
    wanted = _checked_permissions(permissions)
    with transaction.atomic():
        role = _locked(role_id)
        check_within(access, set(wanted) - set(role.permissions))
        before = _facts(role)
        role.name, role.description, role.permissions = name, description, wanted
        if _facts(role) == before:
            return role
        _save(role, is_new=False)
        live.access_changed(*people_of(role.bindings.all()))
        _record(access, "role.changed", role, before=before, after=_facts(role))
    return role


def role_delete(access: Access, *, role_id: UUID) -> None:
    """Remove a custom role that nobody has.

    Raises:
        NotFound: there is no such role.
        RoleInUse: it is granted to somebody.
    """
    with transaction.atomic():
        role = _locked(role_id)
        if count := role.bindings.count():
            raise RoleInUse(f"It is granted {count} times: revoke that first.")
        _record(access, "role.deleted", role, before=_facts(role))
        role.delete()


def role_preview(access: Access, role: CustomRole, permissions: Collection[str]) -> list[Change]:
    """Return who would gain and lose what if the role had these permissions; nothing is changed.

    What somebody holds in the same place by something else, they neither gain nor lose (five
    statements, however many people).
    """
    wanted = frozenset(_checked_permissions(permissions))
    bindings = list(live_bindings())
    concerned = people_of(row for row in bindings if row.custom_role_id == role.pk)
    teams: dict[UUID, set[UUID]] = {}
    for person, team in TeamMember.objects.filter(user_id__in=concerned).values_list(
        "user_id", "team"
    ):
        teams.setdefault(person, set()).add(team)
    found: list[Change] = []
    for member in member_list(access.organization):
        if member.user_id in concerned:
            mine = [
                row
                for row in bindings
                if row.user_id == member.user_id or row.team_id in teams.get(member.user_id, ())
            ]
            found += [
                Change(member.user, scope, gains, loses)
                for scope, gains, loses in _changes(PERMISSIONS[member.role], mine, role, wanted)
            ]
    return found


def _changes(
    own: frozenset[str], bindings: list[LiveBinding], role: CustomRole, wanted: AbstractSet[str]
) -> Iterable[tuple[Scope, tuple[str, ...], tuple[str, ...]]]:
    """Yield what one person gains and loses, in each place where they have the role."""
    held = [(held_of(row), row.custom_role_id == role.pk) for row in bindings]
    for scope in dict.fromkeys(grant.scope for grant, is_it in held if is_it):
        there = [(grant.permissions, is_it) for grant, is_it in held if _reaches(grant, scope)]
        before = own.union(*(permissions for permissions, _ in there))
        after = own.union(*(wanted if is_it else permissions for permissions, is_it in there))
        if before != after:
            yield scope, tuple(sorted(after - before)), tuple(sorted(before - after))


def _reaches(held: Held, scope: Scope) -> bool:
    """Tell whether a grant holds in all of a scope."""
    if held.scope.kind == EVERYWHERE or held.scope == scope:
        return True
    return scope.kind == CLUSTER and held.scope.kind == LABEL and held.covers(UUID(scope.value))


def _locked(role_id: UUID) -> CustomRole:
    role = CustomRole.objects.select_for_update().filter(pk=role_id).first()
    if role is None:
        raise NotFound("There is no such role.")
    return role


def _save(role: CustomRole, *, is_new: bool) -> None:
    try:
        with transaction.atomic():
            role.save(force_insert=is_new)
    except IntegrityError as error:
        words = f"There is a role with the name “{role.name}”."
        raise Conflict(words, code="role_name_taken") from error


def _checked_name(name: str) -> str:
    name = " ".join(name.split())
    if not name or len(name) > NAME_LENGTH_MAX:
        raise Invalid.at("/name", f"Give a name of 1 to {NAME_LENGTH_MAX} characters.")
    if name.lower() in {role.replace("_", " ") for role in PERMISSIONS}:
        raise Invalid.at("/name", "A built-in role has this name.")
    return name


def _checked_description(description: str) -> str:
    description = " ".join(description.split())
    if len(description) > DESCRIPTION_LENGTH_MAX:
        raise Invalid.at("/description", f"Use at most {DESCRIPTION_LENGTH_MAX} characters.")
    return description


def _checked_permissions(permissions: Collection[str]) -> list[str]:
    wanted = sorted(set(permissions))
    if unknown := [code for code in wanted if code not in ALL_PERMISSIONS]:
        raise Invalid.at("/permissions", f"Unknown: {', '.join(unknown)[:200]}.")
    if beyond := [code for code in wanted if code not in CUSTOM_PERMISSIONS]:
        raise Invalid.at("/permissions", f"Only owners hold {beyond[0]}.")
    return wanted


def _facts(role: CustomRole) -> dict[str, object]:
    return {
        "name": role.name,
        "description": role.description,
        "permissions": list(role.permissions),
    }


def _record(
    access: Access,
    action: str,
    role: CustomRole,
    *,
    before: dict[str, object] | None = None,
    after: dict[str, object] | None = None,
) -> None:
    audit_record(
        access_or_actor=access,
        action=action,
        target_type="role",
        target_id=role.pk,
        target_label=role.name,
        before=before,
        after=after,
    )
