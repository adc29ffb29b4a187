"""Pages of people, invitations and the tokens of one organization."""

from uuid import UUID

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse, QueryDict
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from portal.access.forms import InviteForm
from portal.access.guards import member, require
from portal.access.invitations import (
    invitation_accept,
    invitation_create,
    invitation_resend,
    invitation_revoke,
)
from portal.access.models import Team
from portal.access.permissions import PERMISSION_WORDS, PERMISSIONS, ROLE_WORDS
from portal.access.roles import role_list
from portal.access.selectors import grant_counts, invitation_by_secret, invitation_list
from portal.access.services import (
    member_change_role,
    member_leave,
    member_remove,
)
from portal.accounts.forms import TokenForm
from portal.accounts.models import User
from portal.accounts.services import token_create, token_list, token_revoke
from portal.audit.services import audit_record
from portal.core import clock
from portal.core.errors import NotFound, PortalError
from portal.core.forms import form_status
from portal.core.http import attempt
from portal.core.tenancy import public_context, tenant_context
from portal.identity.stepup import require_recent
from portal.organizations.models import Organization, Role
from portal.organizations.selectors import member_list, membership_get


@require_GET
def team(request: HttpRequest, slug: str) -> HttpResponse:
    """Show members and open invitations."""
    access = require(request, "members:read")
    roles = [{"code": role.value, "name": role.label, "words": ROLE_WORDS[role]} for role in Role]
    can_write, mine = access.can("members:write"), access.everywhere
    counts = grant_counts()
    context = {
        "rows": [
            {
                "member": row,
                "grant_count": counts[row.user_id],
                "is_me": row.user_id == access.user.pk,
                # Who may not give a role can not be offered to take it away either.
                "may_change": can_write and mine >= PERMISSIONS[row.role],
            }
            for row in member_list(access.organization)
        ],
        "invitations": invitation_list(),
        "roles": roles,
        "given_roles": [role for role in roles if mine >= PERMISSIONS[role["code"]]],
        "form": _invite_form(),
        "now": clock.now(),
        "can_write": can_write,
    }
    return render(request, "access/team.html", context)


@require_GET
def matrix(request: HttpRequest, slug: str) -> HttpResponse:
    """Show what each role may do, from the very table that decides it."""
    require(request, "members:read")
    own = list(role_list())
    context = {
        "roles": [{"name": role.label, "words": ROLE_WORDS[role]} for role in Role]
        + [{"name": role.name, "words": role.description} for role in own],
        "rows": [
            {
                "code": code,
                "words": words,
                "cells": [code in PERMISSIONS[role] for role in Role]
                + [code in role.permissions for role in own],
            }
            for code, words in PERMISSION_WORDS.items()
        ],
    }
    return render(request, "access/matrix.html", context)


@require_POST
def invite(request: HttpRequest, slug: str) -> HttpResponse:
    """Send an invitation."""
    access = require(request, "members:write")
    require_recent(request, action="role.grant")
    form = _invite_form(request.POST)
    if not form.is_valid():
        messages.error(request, str(next(iter(form.errors.values()))[0]))
        return redirect("team", slug=slug)
    try:
        invitation, _ = invitation_create(access, **form.wanted())
    except PortalError as error:
        messages.error(request, error.detail)
    else:
        messages.success(request, f"An invitation was sent to {invitation.email}.")
    return redirect("team", slug=slug)


def _invite_form(*data: QueryDict) -> InviteForm:
    teams = Team.objects.values_list("pk", "name")
    return InviteForm(*data, teams=[(str(key), name) for key, name in teams])


@require_POST
def invitation_resend_page(request: HttpRequest, slug: str, invitation_id: UUID) -> HttpResponse:
    """Send an invitation once more."""
    access = require(request, "members:write")
    require_recent(request, action="role.grant")
    try:
        invitation, _ = invitation_resend(access, invitation_id=invitation_id)
    except NotFound:
        raise
    except PortalError as error:
        messages.error(request, error.detail)
    else:
        words = f"A new link was sent to {invitation.email}; the old one ended."
        messages.success(request, words)
    return redirect("team", slug=slug)


@require_POST
def invitation_revoke_page(request: HttpRequest, slug: str, invitation_id: UUID) -> HttpResponse:
    """Revoke an invitation."""
    access = require(request, "members:write")
    invitation_revoke(access, invitation_id=invitation_id)
    messages.success(request, "The invitation is revoked.")
    return redirect("team", slug=slug)


@require_POST
def member_role(request: HttpRequest, slug: str, member_id: UUID) -> HttpResponse:
    """Give a member another role."""
    access = require(request, "members:write")
    require_recent(request, action="role.grant")
    role = request.POST.get("role", "")
    attempt(
        request,
        lambda: member_change_role(access, member_id=member_id, role=role),
        "The role is changed.",
    )
    return redirect("team", slug=slug)


@require_POST
def member_remove_page(request: HttpRequest, slug: str, member_id: UUID) -> HttpResponse:
    """Take a member out, or leave; who left can not see the team any more."""
    access = require(request, "members:read")
    try:
        removed = member_remove(access, member_id=member_id)
    except NotFound:
        raise
    except PortalError as error:
        messages.error(request, error.detail)
        return redirect("team", slug=slug)
    if removed.user_id == access.user.pk:
        messages.success(request, f"You left {access.organization.name}.")
        return redirect("organizations")
    messages.success(request, f"{removed.user.email} no longer has access.")
    return redirect("team", slug=slug)


@require_POST
def leave(request: HttpRequest, slug: str) -> HttpResponse:
    """Leave the organization, also if one may not see who is in it."""
    access = member(request)
    try:
        member_leave(access)
    except PortalError as error:
        messages.error(request, error.detail)
        return redirect("dashboard", slug=slug)
    messages.success(request, f"You left {access.organization.name}.")
    return redirect("organizations")


@never_cache
@require_http_methods(["GET", "POST"])
def tokens(request: HttpRequest, slug: str) -> HttpResponse:
    """List one's tokens for this organization, and make one; its secret is shown once."""
    access = require(request, "tokens:write")
    form = TokenForm(request.POST or None)
    secret = None
    if request.method == "POST" and form.is_valid():
        require_recent(request, action="token.create")
        token, secret = token_create(
            user=access.user,
            organization=access.organization,
            name=form.cleaned_data["name"],
            expires_at=form.expires_at(),
        )
        audit_record(
            access_or_actor=access,
            action="token.created",
            target_type="token",
            target_id=token.pk,
            target_label=token.name,
        )
        form = TokenForm()
    found = token_list(user=access.user, organization=access.organization)
    context = {"form": form, "secret": secret, "tokens": found}
    return render(request, "access/tokens.html", context, status=form_status(form))


@require_POST
def token_revoke_page(request: HttpRequest, slug: str, token_id: UUID) -> HttpResponse:
    """Make a token useless."""
    access = require(request, "tokens:write")
    token = token_revoke(user=access.user, token_id=token_id)
    if token is None:
        raise NotFound
    audit_record(
        access_or_actor=access,
        action="token.revoked",
        target_type="token",
        target_id=token.pk,
        target_label=token.name,
    )
    messages.success(request, "The token is revoked.")
    return redirect("tokens", slug=slug)


@never_cache
@login_required
@require_http_methods(["GET", "POST"])
def invitation_page(request: HttpRequest, slug: str, secret: str) -> HttpResponse:
    """Show an invitation and accept it by a button."""
    assert isinstance(request.user, User)
    with public_context():
        organization = Organization.objects.filter(slug=slug, deleted_at=None).first()
    if organization is None:
        return _no_invitation(request)
    if request.method == "POST":
        try:
            invitation_accept(organization=organization, secret=secret, user=request.user)
        except NotFound:
            return _no_invitation(request)
        messages.success(request, f"Welcome to {organization.name}.")
        return redirect("dashboard", slug=slug)
    with tenant_context(organization.schema_name):
        invitation = invitation_by_secret(secret)
        teams = list(invitation.teams.all()) if invitation is not None else []
    if invitation is None:
        if membership_get(user_id=request.user.pk, slug=slug) is not None:
            return redirect("dashboard", slug=slug)
        return _no_invitation(request)
    context = {
        "invitation": invitation,
        "organization": organization,
        "teams": teams,
        "is_for_me": invitation.email == request.user.email,
        "words": ROLE_WORDS[invitation.role],
    }
    return render(request, "access/invitation.html", context)


def _no_invitation(request: HttpRequest) -> HttpResponse:
    """Answer alike whether the link or the organization is not there."""
    return render(request, "access/invitation_invalid.html", status=404)
