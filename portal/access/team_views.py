"""Pages of teams."""

from uuid import UUID

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_GET, require_POST

from portal.access.forms import TeamForm
from portal.access.guards import require_everywhere
from portal.access.teams import (
    team_cards,
    team_create,
    team_delete,
    team_member_add,
    team_member_remove,
    team_rename,
)
from portal.core.errors import NotFound
from portal.core.http import attempt
from portal.identity.stepup import require_recent
from portal.organizations.selectors import member_list


@require_GET
def teams(request: HttpRequest, slug: str) -> HttpResponse:
    """List teams with their people."""
    access = require_everywhere(request, "members:read")
    people = [row.user for row in member_list(access.organization)]
    context = {
        "cards": [
            (card, [user for user in people if user not in card.people])
            for card in team_cards(access)
        ],
        "form": TeamForm(),
        "can_write": access.can("members:write"),
    }
    return render(request, "access/teams.html", context)


@require_POST
def team_new(request: HttpRequest, slug: str) -> HttpResponse:
    """Make a team."""
    access = require_everywhere(request, "members:write")
    name = request.POST.get("name", "")
    attempt(request, lambda: team_create(access, name=name), "The team is made.")
    return redirect("teams", slug=slug)


@require_POST
def team_rename_page(request: HttpRequest, slug: str, team_id: UUID) -> HttpResponse:
    """Give a team another name."""
    access = require_everywhere(request, "members:write")
    name = request.POST.get("name", "")
    attempt(request, lambda: team_rename(access, team_id=team_id, name=name), "Saved.")
    return redirect("teams", slug=slug)


@require_POST
def team_delete_page(request: HttpRequest, slug: str, team_id: UUID) -> HttpResponse:
    """Remove a team with its grants."""
    access = require_everywhere(request, "members:write")
    attempt(request, lambda: team_delete(access, team_id=team_id), "The team is gone.")
    return redirect("teams", slug=slug)


@require_POST
def team_add(request: HttpRequest, slug: str, team_id: UUID) -> HttpResponse:
    """Put a member into a team."""
    access = require_everywhere(request, "members:write")
    require_recent(request, action="role.grant")
    user_id = _id(request)
    attempt(
        request,
        lambda: team_member_add(access, team_id=team_id, user_id=user_id),
        "They are in the team.",
    )
    return redirect("teams", slug=slug)


@require_POST
def team_remove(request: HttpRequest, slug: str, team_id: UUID) -> HttpResponse:
    """Take a person out of a team."""
    access = require_everywhere(request, "members:write")
    user_id = _id(request)
    attempt(
        request,
        lambda: team_member_remove(access, team_id=team_id, user_id=user_id),
        "They are out of the team.",
    )
    return redirect("teams", slug=slug)


def _id(request: HttpRequest) -> UUID:
    try:
        return UUID(request.POST.get("user", ""))
    except ValueError as error:
        raise NotFound from error
