"""Pages of custom roles, with who gains and loses what, and of explaining."""

from typing import Any
from uuid import UUID

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, QueryDict
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from portal.access.explaining import access_explain
from portal.access.forms import ExplainForm, RoleForm, cluster_choices
from portal.access.guards import member, require_everywhere
from portal.access.models import CustomRole
from portal.access.permissions import PERMISSION_WORDS
from portal.access.ports import cluster_names
from portal.access.roles import (
    CUSTOM_PERMISSIONS,
    role_create,
    role_delete,
    role_get,
    role_list,
    role_preview,
    role_update,
)
from portal.access.types import CLUSTER, EVERYWHERE, Access, Scope
from portal.core.errors import PortalError
from portal.core.forms import UNPROCESSABLE
from portal.core.http import attempt
from portal.identity.selectors import has_factor
from portal.identity.stepup import is_recent, require_recent
from portal.organizations.selectors import member_list

CHANGES_SHOWN_MAX = 100
FRAGMENT = "Aerolith-Fragment"


@require_GET
def roles(request: HttpRequest, slug: str) -> HttpResponse:
    """List the roles of the organization's own."""
    access = require_everywhere(request, "members:read")
    context = {"rows": list(role_list()), "can_write": access.can("roles:write")}
    return render(request, "access/roles.html", context)


@require_http_methods(["GET", "POST"])
def role_new(request: HttpRequest, slug: str) -> HttpResponse:
    """Make a role; it gives nothing to anybody before it is granted."""
    access = require_everywhere(request, "roles:write")
    form = RoleForm(_posted(request))
    refusal: PortalError | None = None
    if request.method == "POST" and form.is_valid():
        try:
            role_create(access, **form.cleaned_data)
        except PortalError as error:
            refusal = error
        else:
            messages.success(request, "The role is made. Grant it to somebody now.")
            return redirect("access-roles", slug=slug)
    return _page(request, access, form, None, refusal=refusal)


@never_cache
@sensitive_post_parameters("password")
@require_http_methods(["GET", "POST"])
def role_edit(request: HttpRequest, slug: str, role_id: UUID) -> HttpResponse:
    """Change a role, seeing before whom it concerns."""
    access = require_everywhere(request, "roles:write")
    role = role_get(role_id)
    initial = {
        "name": role.name,
        "description": role.description,
        "permissions": role.permissions,
    }
    form = RoleForm(_posted(request), initial=initial)
    if FRAGMENT in request.headers:
        wanted = [
            code for code in request.POST.getlist("permissions") if code in CUSTOM_PERMISSIONS
        ]
        return render(request, "access/_changes.html", _changes(access, role, wanted))
    refusal: PortalError | None = None
    if request.method == "POST" and form.is_valid() and request.POST.get("do") != "preview":
        try:
            proof = request.POST.get("password", "")
            require_recent(request, action="role.change", proof=proof, tokens_pass=False)
            role_update(access, role_id=role_id, **form.cleaned_data)
        except PortalError as error:
            refusal = error
        else:
            messages.success(request, "The role is changed.")
            return redirect("access-roles", slug=slug)
    return _page(request, access, form, role, refusal=refusal)


@require_POST
def role_delete_page(request: HttpRequest, slug: str, role_id: UUID) -> HttpResponse:
    """Remove a role that nobody has."""
    access = require_everywhere(request, "roles:write")
    attempt(request, lambda: role_delete(access, role_id=role_id), "The role is gone.")
    return redirect("access-roles", slug=slug)


@require_GET
def explain(request: HttpRequest, slug: str) -> HttpResponse:
    """Say why somebody may do something, or what is missing."""
    access = member(request)
    can_see_all = "members:read" in access.everywhere
    names = cluster_names()
    if not can_see_all:
        names = {key: name for key, name in names.items() if access.sees(key)}
    people = (
        [row.user for row in member_list(access.organization)] if can_see_all else [access.user]
    )
    form = ExplainForm(
        *([request.GET] if request.GET else []),
        people=[(str(user.pk), user.email) for user in people],
        clusters=cluster_choices(names),
    )
    context: dict[str, Any] = {"form": form}
    if form.is_bound and form.is_valid():
        found = access_explain(access, **form.wanted())
        context |= {
            "found": found,
            "words": PERMISSION_WORDS[found.permission],
            "place": names.get(found.cluster_id, "") if found.cluster_id else "",
            "grants": [(held, _place(held.scope, names)) for held in found.grants],
            "elsewhere": [(held, _place(held.scope, names)) for held in found.elsewhere],
        }
    status = UNPROCESSABLE if form.is_bound and form.errors else 200
    return render(request, "access/explain.html", context, status=status)


def _posted(request: HttpRequest) -> QueryDict | None:
    return request.POST if request.method == "POST" else None


def _page(
    request: HttpRequest,
    access: Access,
    form: RoleForm,
    role: CustomRole | None,
    *,
    refusal: PortalError | None,
) -> HttpResponse:
    chosen = form.chosen()
    context = {
        "form": form,
        "role": role,
        "refusal": refusal,
        "boxes": [
            {
                "code": code,
                "words": PERMISSION_WORDS[code],
                "is_chosen": code in chosen,
                # What is there may stay; what one lacks can not be added.
                "is_open": code in access.permissions or code in (role.permissions if role else ()),
            }
            for code in CUSTOM_PERMISSIONS
        ],
        "is_confirmed": is_recent(request),
        "has_factor": has_factor(access.user),
    }
    if role is not None:
        context |= _changes(access, role, [code for code in chosen if code in CUSTOM_PERMISSIONS])
    status = refusal.status if refusal else UNPROCESSABLE if form.errors else 200
    return render(request, "access/role.html", context, status=status)


def _changes(access: Access, role: CustomRole, wanted: list[str]) -> dict[str, Any]:
    names = cluster_names()
    changes = role_preview(access, role, wanted)
    shown = changes[:CHANGES_SHOWN_MAX]
    return {
        "changes": [(change, _place(change.scope, names)) for change in shown],
        "more_count": len(changes) - len(shown),
    }


def _place(scope: Scope, names: dict[UUID, str]) -> str:
    if scope.kind == EVERYWHERE:
        return "everywhere"
    if scope.kind == CLUSTER:
        return f"on {names.get(UUID(scope.value), 'a cluster that is gone')}"
    return f"on clusters with the label {scope.value}"
