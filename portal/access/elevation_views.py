"""Pages of asking for more for some hours, and of approving it."""

from uuid import UUID

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods, require_POST

from portal.access.elevation import (
    APPROVING,
    elevation_approve,
    elevation_deny,
    elevation_end,
    elevation_list,
    elevation_request,
    elevation_waits,
)
from portal.access.forms import ElevationForm, cluster_choices, label_choices
from portal.access.grant_views import place_of
from portal.access.guards import member, require_everywhere
from portal.access.labels import label_map
from portal.access.models import Elevation
from portal.access.ports import cluster_names
from portal.access.roles import role_list
from portal.access.types import Access
from portal.core import clock
from portal.core.errors import PortalError
from portal.core.forms import UNPROCESSABLE
from portal.core.http import attempt
from portal.identity.selectors import has_factor
from portal.identity.stepup import is_recent, require_recent

SHOWN_MAX = 50


@never_cache
@require_http_methods(["GET", "POST"])
def elevations(request: HttpRequest, slug: str) -> HttpResponse:
    """List requests, one's own or all, and ask for more."""
    access = member(request)
    names = cluster_names()
    form = _form(request, access, names)
    refusal: PortalError | None = None
    if request.method == "POST" and form.is_valid():
        try:
            elevation_request(access, **form.wanted())
        except PortalError as error:
            refusal = error
        else:
            messages.success(request, "You asked. Who may approve it was told by mail.")
            return redirect("access-elevations", slug=slug)
    context = {
        "rows": [_row(access, asked, names) for asked in elevation_list(access)[:SHOWN_MAX]],
        "form": form,
        "refusal": refusal,
        "is_confirmed": is_recent(request),
        "has_factor": has_factor(access.user),
    }
    status = refusal.status if refusal else UNPROCESSABLE if form.errors else 200
    return render(request, "access/elevations.html", context, status=status)


@sensitive_post_parameters("password")
@require_POST
def elevation_approve_page(request: HttpRequest, slug: str, elevation_id: UUID) -> HttpResponse:
    """Approve what somebody else asked for."""
    access = require_everywhere(request, APPROVING)

    def work() -> None:
        proof = request.POST.get("password", "")
        require_recent(request, action="role.grant", proof=proof, tokens_pass=False)
        elevation_approve(access, elevation_id=elevation_id)

    attempt(request, work, "Approved; it ends by itself.")
    return redirect("access-elevations", slug=slug)


@require_POST
def elevation_deny_page(request: HttpRequest, slug: str, elevation_id: UUID) -> HttpResponse:
    """Deny it."""
    access = require_everywhere(request, APPROVING)
    attempt(request, lambda: elevation_deny(access, elevation_id=elevation_id), "Denied.")
    return redirect("access-elevations", slug=slug)


@require_POST
def elevation_end_page(request: HttpRequest, slug: str, elevation_id: UUID) -> HttpResponse:
    """Withdraw one's own request, or give back what was approved."""
    access = member(request)
    attempt(request, lambda: elevation_end(access, elevation_id=elevation_id), "Ended.")
    return redirect("access-elevations", slug=slug)


def _row(access: Access, asked: Elevation, names: dict[UUID, str]) -> dict[str, object]:
    is_open = elevation_waits(asked)
    is_mine = asked.user_id == access.user.pk
    ends_at = asked.binding.expires_at if asked.binding is not None else None
    is_running = ends_at is not None and ends_at > clock.now()
    return {
        "asked": asked,
        "place": place_of(asked.scope_kind, asked.scope, names),
        "ends_at": ends_at if is_running else None,
        "may_decide": is_open and not is_mine and APPROVING in access.everywhere,
        "may_end": is_mine and (is_open or is_running),
    }


def _form(request: HttpRequest, access: Access, names: dict[UUID, str]) -> ElevationForm:
    can_see_all = "members:read" in access.everywhere
    labels = label_map() if can_see_all else {}
    seen = {key: name for key, name in names.items() if can_see_all or access.sees(key)}
    return ElevationForm(
        *([request.POST] if request.method == "POST" else []),
        roles=[(str(role.pk), role.name) for role in role_list()],
        clusters=cluster_choices(seen),
        labels=label_choices(sorted({label for found in labels.values() for label in found})),
    )
