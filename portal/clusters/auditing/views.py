"""The page *Audit* of a cluster, and the compliance modes on its settings page."""

from typing import Any, Final
from urllib.parse import urlencode
from uuid import UUID

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from dataplane.client.errors import ProofError
from portal.access.guards import require
from portal.access.types import Access
from portal.clusters.auditing import services, subjects
from portal.clusters.auditing.downloads import lines_download
from portal.clusters.auditing.presentation import (
    DAYS_MAX,
    LEVEL_WORDS,
    change_words,
    days,
    mode_cards,
)
from portal.clusters.models import Cluster
from portal.clusters.pages import cluster_context, encryption_context
from portal.clusters.selectors import cluster_get
from portal.core import clock
from portal.core.errors import PortalError
from portal.identity.stepup import require_recent

FILTERS: Final = ("action", "actor", "collection", "since", "until")
ACTIONS: Final = (
    "document",
    "collection",
    "key",
    "audit",
    "compliance",
    "subject",
    "members",
    "quota",
    "backup",
    "restore",
    "transaction",
)
DIGITS_MAX: Final = 4


@require_http_methods(["GET", "POST"])
@never_cache
def audit_page(request: HttpRequest, slug: str, cluster_id: UUID) -> HttpResponse:
    """What the cluster recorded; posting checks it, here and now."""
    access = require(request, "audit:read")
    cluster = cluster_get(cluster_id)
    context = {
        **cluster_context(cluster, access, clock.now(), tab="audit"),
        **_log(request, cluster),
        "actions": ACTIONS,
        "levels": list(LEVEL_WORDS.items()),
        "can_set": access.can("organization:write"),
        "can_restore": access.can("clusters:write") and cluster.deleted_at is None,
    }
    if request.method == "POST" and not context.get("problem"):
        context |= _checked(cluster)
    return render(request, "clusters/audit.html", context)


def _log(request: HttpRequest, cluster: Cluster) -> dict[str, Any]:
    filters = {name: request.GET.get(name, "").strip()[:200] for name in FILTERS}
    asked = urlencode({name: value for name, value in filters.items() if value})
    found: dict[str, Any] = {"wanted": filters, "query": asked, "is_filtered": bool(asked)}
    try:
        sheet = services.log_page(cluster, filters, request.GET.get("after", ""))
    except PortalError as error:
        return {**found, "problem": error.detail}
    return {
        **found,
        "sheet": sheet,
        "days": days(sheet.chain["retention_ms"]),
        "level_words": LEVEL_WORDS.get(sheet.chain["level"], ""),
    }


def _checked(cluster: Cluster) -> dict[str, Any]:
    try:
        proven = services.log_check(cluster)
    except (ProofError, PortalError) as error:
        return {"checked_at": clock.now(), "fault": error.detail}
    return {"checked_at": clock.now(), "proven": proven}


@require_GET
def audit_download(
    request: HttpRequest, slug: str, cluster_id: UUID
) -> HttpResponse | StreamingHttpResponse:
    """The whole log with its proof, as a file for `verify-audit`."""
    require(request, "audit:read")
    cluster = cluster_get(cluster_id)
    try:
        lines = services.log_lines(cluster)
    except PortalError as error:
        messages.error(request, error.detail)
        return redirect("clusters:audit", slug, cluster_id)
    return lines_download(lines, f"{cluster.slug}-audit.ndjson")


@require_POST
def audit_settings_view(request: HttpRequest, slug: str, cluster_id: UUID) -> HttpResponse:
    """Change what is recorded."""
    access = require(request, "organization:write")
    cluster = cluster_get(cluster_id)
    require_recent(request, action="cluster.compliance")
    typed = request.POST.get("days", "")
    is_number = typed.isascii() and typed.isdigit() and len(typed) <= DIGITS_MAX
    if not is_number or not 1 <= int(typed) <= DAYS_MAX:
        messages.error(request, f"Keep records for 1 to {DAYS_MAX} days.")
        return redirect("clusters:audit", slug, cluster_id)
    level = request.POST.get("level", "")
    try:
        services.log_settings(access, cluster, level=level, days=int(typed))
    except PortalError as error:
        messages.error(request, error.detail)
    else:
        messages.success(request, f"The level is {level}; records are kept for {typed} days.")
    return redirect("clusters:audit", slug, cluster_id)


def compliance_context(cluster: Cluster, access: Access) -> dict[str, Any]:
    """Gather what the compliance card shows; empty for who may not change it."""
    if not access.can("organization:write") or cluster.deleted_at is not None:
        return {}
    modes = services.modes_show(cluster)
    cards = [] if modes is None else mode_cards(modes)
    return {"shows_modes": True, "modes": modes, "mode_cards": cards}


@require_POST
@never_cache
def compliance_view(request: HttpRequest, slug: str, cluster_id: UUID) -> HttpResponse:
    """Show what modes would change, or set them."""
    access = require(request, "organization:write")
    cluster = cluster_get(cluster_id)
    asked = request.POST.getlist("modes")
    if "apply" in request.POST:
        require_recent(request, action="cluster.compliance")
    try:
        if "apply" in request.POST:
            confirm = request.POST.get("confirm", "").strip()
            services.modes_set(access, cluster, modes=asked, confirm=confirm)
            messages.success(request, "The compliance modes are set.")
            return redirect("clusters:settings", slug, cluster_id)
        preview = services.modes_preview(cluster, asked)
    except PortalError as error:
        messages.error(request, error.detail)
        return redirect("clusters:settings", slug, cluster_id)
    context = {
        **cluster_context(cluster, access, clock.now(), tab="settings"),
        **encryption_context(cluster),
        **compliance_context(cluster, access),
        "preview": preview,
        "preview_changes": [change_words(change) for change in preview["changes"]],
        "asked": asked,
    }
    return render(request, "clusters/settings.html", context)


@require_http_methods(["GET", "POST"])
@never_cache
def subjects_page(
    request: HttpRequest, slug: str, cluster_id: UUID
) -> HttpResponse | StreamingHttpResponse:
    """Export what is stored of a person, or erase it."""
    access = require(request, "organization:write")
    cluster = cluster_get(cluster_id)
    given = request.POST
    context: dict[str, Any] = {
        **cluster_context(cluster, access, clock.now(), tab="audit"),
        "subject": given.get("subject", ""),
    }
    if request.method == "POST":
        if "export" not in given:
            require_recent(request, action="subject.erase")
        try:
            subject = subjects.subject_of(given.get("subject", "").strip())
            if "export" in given:
                found = subjects.subject_lines(access, cluster, subject)
                return lines_download(found, f"{cluster.slug}-subject.ndjson")
            context["done"] = subjects.subject_erase(
                access,
                cluster,
                subject=subject,
                erasure=given.get("erasure", ""),
                confirm=given.get("confirm", "").strip(),
            )
        except PortalError as error:
            context |= {"problem": error.detail, "erasure": given.get("erasure", "")}
    return render(request, "clusters/subjects.html", context)
