"""Teams: some members under one name, to whom roles are granted together."""

from dataclasses import dataclass
from typing import Final
from uuid import UUID

from django.db import IntegrityError, transaction
from django.db.models import Prefetch

from portal.access.bindings import check_held_within, held_by_team
from portal.access.errors import TooManyGrants
from portal.access.models import RoleBinding, Team, TeamMember
from portal.access.types import Access
from portal.accounts.models import User
from portal.audit.services import audit_record
from portal.core import clock, live
from portal.core.errors import Conflict, Invalid, NotFound
from portal.core.tenancy import public_context
from portal.organizations.selectors import member_find, member_list
from portal.organizations.services import organization_hold

TEAM_COUNT_MAX: Final = 200
MEMBER_COUNT_MAX: Final = 1000
NAME_LENGTH_MAX: Final = 60


@dataclass(frozen=True, slots=True)
class TeamCard:
    """A team as the list shows it."""

    team: Team
    people: list[User]
    grant_count: int


def team_cards(access: Access) -> list[TeamCard]:
    """Return all teams by name, with their people (four statements)."""
    rows = Team.objects.prefetch_related(
        Prefetch("members", queryset=TeamMember.objects.order_by("pk")),
        Prefetch("bindings", queryset=RoleBinding.objects.only("team_id")),
    )
    teams = list(rows)
    people = {row.user_id: row.user for row in member_list(access.organization)}
    return [
        TeamCard(
            team=team,
            people=[people[row.user_id] for row in team.members.all() if row.user_id in people],
            grant_count=len(team.bindings.all()),
        )
        for team in teams
    ]


def team_get(team_id: UUID) -> Team:
    """Return a team of the organization in force.

    Raises:
        NotFound: there is no such team.
    """
    team = Team.objects.filter(pk=team_id).first()
    if team is None:
        raise NotFound("There is no such team.")
    return team


def team_create(access: Access, *, name: str) -> Team:
    """Make a team without people.

    Raises:
        Invalid: the name is empty or too long.
        Conflict: there is a team of that name.
        TooManyGrants: there are too many teams.
    """
    name = _checked_name(name)
    with transaction.atomic():
        if Team.objects.count() >= TEAM_COUNT_MAX:
            raise TooManyGrants(f"An organization can have {TEAM_COUNT_MAX} teams.")
        try:
            with transaction.atomic():
                team = Team.objects.create(name=name, created_at=clock.now())
        except IntegrityError as error:
            raise _name_taken(name) from error
        _record(access, "team.created", team)
    return team


def team_rename(access: Access, *, team_id: UUID, name: str) -> Team:
    """Give a team another name.

    Raises:
        NotFound: there is no such team.
        Invalid, Conflict: as for `team_create`.
    """
    name = _checked_name(name)
    with transaction.atomic():
        team = _locked(team_id)
        before, team.name = team.name, name
        if before == name:
            return team
        try:
            with transaction.atomic():
                team.save(update_fields=["name"])
        except IntegrityError as error:
            raise _name_taken(name) from error
        _record(access, "team.renamed", team, before={"name": before}, after={"name": name})
    return team


def team_delete(access: Access, *, team_id: UUID) -> None:
    """Remove a team, and with it what it was granted.

    Raises:
        NotFound: there is no such team.
    """
    with transaction.atomic():
        team = _locked(team_id)
        people = list(team.members.values_list("user_id", flat=True))
        grants = [str(binding) for binding in team.bindings.order_by("pk")]
        live.access_changed(*people)
        _record(access, "team.deleted", team, before={"people": len(people), "grants": grants})
        team.delete()


def team_member_add(access: Access, *, team_id: UUID, user_id: UUID) -> None:
    """Put a member into a team; who is in it already stays.

    Raises:
        NotFound: there is no such team.
        Invalid: the person is not a member of the organization.
        GrantBeyondOwn: the team holds more than the caller.
        TooManyGrants: the team is full.
    """
    with transaction.atomic():
        organization_hold(access.organization.pk)
        member = member_find(access.organization, user_id)
        if member is None:
            detail = "This person is not a member of the organization."
            raise Invalid.at("/user", detail)
        team = _locked(team_id)
        check_held_within(access, held_by_team(team))
        if team.members.count() >= MEMBER_COUNT_MAX:
            raise TooManyGrants(f"A team can have {MEMBER_COUNT_MAX} people.")
        _, is_new = TeamMember.objects.get_or_create(
            team=team, user_id=user_id, defaults={"added_at": clock.now()}
        )
        if is_new:
            live.access_changed(user_id)
            _record(access, "team.member_added", team, after={"person": member.user.email})


def team_member_remove(access: Access, *, team_id: UUID, user_id: UUID) -> None:
    """Take a person out of a team.

    Raises:
        NotFound: there is no such team, or the person is not in it.
    """
    with transaction.atomic():
        team = _locked(team_id)
        count, _ = team.members.filter(user_id=user_id).delete()
        if not count:
            raise NotFound("This person is not in the team.")
        with public_context():
            user = User.objects.get(pk=user_id)
        live.access_changed(user_id)
        _record(access, "team.member_removed", team, before={"person": user.email})


def _locked(team_id: UUID) -> Team:
    team = Team.objects.select_for_update().filter(pk=team_id).first()
    if team is None:
        raise NotFound("There is no such team.")
    return team


def _checked_name(name: str) -> str:
    name = " ".join(name.split())
    if not name or len(name) > NAME_LENGTH_MAX:
        detail = f"Give a name of 1 to {NAME_LENGTH_MAX} characters."
        raise Invalid.at("/name", detail)
    return name


def _name_taken(name: str) -> Conflict:
    return Conflict(f"There is a team with the name “{name}”.", code="team_name_taken")


def _record(
    access: Access,
    action: str,
    team: Team,
    *,
    before: dict[str, object] | None = None,
    after: dict[str, object] | None = None,
) -> None:
    audit_record(
        access_or_actor=access,
        action=action,
        target_type="team",
        target_id=team.pk,
        target_label=team.name,
        before=before,
        after=after,
    )
