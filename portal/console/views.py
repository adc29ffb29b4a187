"""The landing page, organizations, the dashboard, activity and the development mailbox."""

from urllib.parse import urlencode

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_GET, require_http_methods

from portal.access.guards import member, require
from portal.accounts.models import User
from portal.audit.selectors import AuditFilter, event_page, target_types
from portal.console.context import may_see_mailbox
from portal.console.forms import OrganizationForm, OrganizationNameForm
from portal.core.errors import NotFound, PortalError
from portal.core.forms import form_status
from portal.core.throttling import limit
from portal.notifications.models import MailboxMessage
from portal.organizations.selectors import memberships_of
from portal.organizations.services import organization_create, organization_rename

CREATIONS_PER_HOUR = 10
MAILS_SHOWN_MAX = 100


@require_GET
def landing(request: HttpRequest) -> HttpResponse:
    """Say what this is."""
    return render(request, "console/landing.html")


@login_required
@require_GET
def organizations(request: HttpRequest) -> HttpResponse:
    """Send to the only organization, to the first one's creation, or let choose."""
    assert isinstance(request.user, User)
    found = memberships_of(request.user.pk)
    if not found:
        return redirect("organization-new")
    if len(found) == 1 and "all" not in request.GET:
        return redirect("dashboard", slug=found[0].organization.slug)
    return render(request, "console/organizations.html", {"memberships": found})


@login_required
@require_http_methods(["GET", "POST"])
def organization_new(request: HttpRequest) -> HttpResponse:
    """Make an organization."""
    assert isinstance(request.user, User)
    form = OrganizationForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        limit(f"organization:{request.user.pk}", most=CREATIONS_PER_HOUR, window_s=3600)
        try:
            organization = organization_create(
                owner=request.user,
                name=form.cleaned_data["name"],
                slug=form.cleaned_data["slug"] or None,
            )
        except PortalError as error:
            form.add_error(None, error.detail)
        else:
            return redirect("dashboard", slug=organization.slug)
    context = {"form": form}
    return render(request, "console/organization_new.html", context, status=form_status(form))


@require_GET
def dashboard(request: HttpRequest, slug: str) -> HttpResponse:
    """Show how the organization is doing, and what to do next."""
    access = member(request)
    from portal.console.overview import overview_of  # noqa: PLC0415 - needs apps above the landing page.

    return render(request, "console/dashboard.html", {"overview": overview_of(access)})


@require_http_methods(["GET", "POST"])
def organization_settings(request: HttpRequest, slug: str) -> HttpResponse:
    """Rename the organization."""
    access = require(request, "organization:write")
    form = OrganizationNameForm(request.POST or None, initial={"name": access.organization.name})
    if request.method == "POST" and form.is_valid():
        organization_rename(
            actor=access.user, organization=access.organization, name=form.cleaned_data["name"]
        )
        messages.success(request, "Saved.")
        return redirect("organization-settings", slug=slug)
    context = {"form": form}
    return render(request, "console/organization_settings.html", context, status=form_status(form))


@require_GET
def activity(request: HttpRequest, slug: str) -> HttpResponse:
    """Show the audit trail, filtered."""
    require(request, "audit:read")
    wanted = AuditFilter(
        action=request.GET.get("action", "")[:64],
        actor=request.GET.get("actor", "")[:254],
        target_type=request.GET.get("target", "")[:32],
    )
    text = request.GET.get("before", "")
    before = int(text) if text.isascii() and text.isdigit() and len(text) < 19 else None
    filters = {"action": wanted.action, "actor": wanted.actor, "target": wanted.target_type}
    context = {
        "query": urlencode({name: value for name, value in filters.items() if value}),
        "page": event_page(wanted, before=before),
        "wanted": wanted,
        "target_types": target_types(),
        "is_filtered": any(filters.values()),
    }
    return render(request, "audit/activity.html", context)


@require_GET
def mailbox(request: HttpRequest) -> HttpResponse:
    """Show the mail that development keeps instead of sending, links for new passwords included."""
    if not may_see_mailbox(request):
        raise NotFound
    found = MailboxMessage.objects.order_by("-pk")[:MAILS_SHOWN_MAX]
    return render(request, "console/mailbox.html", {"messages_kept": found})
