"""The page *Backups* of a cluster, and restoring one of them."""

import json
from typing import Any
from uuid import UUID

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from portal.access.guards import require
from portal.access.types import Access
from portal.backups import services
from portal.backups.archiving import moment_find
from portal.backups.constants import SHOWN_MAX
from portal.backups.errors import MomentNotKept
from portal.backups.forms import (
    BackupForm,
    MomentForm,
    PolicyForm,
    RestoreForm,
    policy_initial,
)
from portal.backups.models import Backup
from portal.backups.presentation import lines_of
from portal.backups.selectors import (
    backup_get,
    backup_list,
    drill_newest,
    next_due,
    policy_get,
    restore_get,
    restore_list,
    window_of,
)
from portal.clusters.models import Cluster
from portal.clusters.pages import cluster_context
from portal.clusters.selectors import cluster_get
from portal.clusters.services import form_token_new
from portal.core import clock
from portal.core.errors import Invalid, PortalError

RESTORES_SHOWN_MAX = 20
DIGITS_MAX = 18


@require_http_methods(["GET", "POST"])
@never_cache
def backups_page(request: HttpRequest, slug: str, cluster_id: UUID) -> HttpResponse:
    """The backups, the schedule, and what was restored; posting takes one now."""
    access = require(request, "clusters:write" if request.method == "POST" else "clusters:read")
    cluster = cluster_get(cluster_id)
    form = BackupForm(request.POST if request.method == "POST" else None)
    if form.is_bound and form.is_valid():
        try:
            services.backup_request(access, cluster, **form.cleaned_data)
        except PortalError as error:
            messages.error(request, _words(error))
        return redirect("backups:backups", slug, cluster_id)
    context = _context(access, cluster)
    status = 422 if form.is_bound else 200
    return render(request, "backups/backups.html", {**context, "form": form}, status=status)


@require_POST
def policy_view(request: HttpRequest, slug: str, cluster_id: UUID) -> HttpResponse:
    """Change the schedule."""
    access = require(request, "clusters:write")
    cluster = cluster_get(cluster_id)
    form = PolicyForm(request.POST)
    if not form.is_valid():
        context = {**_context(access, cluster), "form": BackupForm(), "policy_form": form}
        return render(request, "backups/backups.html", context, status=422)
    try:
        services.policy_set(
            access,
            cluster,
            every_hours=form.cleaned_data["every_hours"],
            keep=form.keep(),
            window_days=form.cleaned_data["window_days"],
        )
    except PortalError as error:
        messages.error(request, _words(error))
    else:
        messages.success(request, "The schedule is changed.")
    return redirect("backups:backups", slug, cluster_id)


@require_GET
@never_cache
def backups_fragment(request: HttpRequest, slug: str, cluster_id: UUID) -> HttpResponse:
    """The changing part of the page, fetched on news and by polling."""
    access = require(request, "clusters:read")
    return render(request, "backups/_backups.html", _context(access, cluster_get(cluster_id)))


@require_POST
def backup_delete_view(
    request: HttpRequest, slug: str, cluster_id: UUID, backup_id: UUID
) -> HttpResponse:
    """Delete a backup."""
    access = require(request, "clusters:delete")
    try:
        services.backup_delete(access, backup_get(cluster_get(cluster_id), backup_id))
    except PortalError as error:
        messages.error(request, _words(error))
    else:
        messages.success(request, "The backup is deleted.")
    return redirect("backups:backups", slug, cluster_id)


@require_GET
@never_cache
def moment_view(request: HttpRequest, slug: str, cluster_id: UUID) -> HttpResponse:
    """Find the backup from which a moment is reached, and go to restoring it."""
    require(request, "clusters:write")
    cluster = cluster_get(cluster_id)
    form = MomentForm(request.GET)
    try:
        if not form.is_valid():
            raise MomentNotKept("Name a sequence, or a time in UTC.")
        backup, sequence = moment_find(cluster, **form.cleaned_data)
    except PortalError as error:
        messages.error(request, _words(error))
        return redirect("backups:backups", slug, cluster_id)
    path = reverse("backups:restore", args=[slug, cluster_id, backup.pk])
    return redirect(f"{path}?to_sequence={sequence}")


@require_http_methods(["GET", "POST"])
@never_cache
def restore_page(
    request: HttpRequest, slug: str, cluster_id: UUID, backup_id: UUID
) -> HttpResponse:
    """Where a backup is to go, to be confirmed."""
    access = require(request, "clusters:write")
    cluster = cluster_get(cluster_id)
    backup = backup_get(cluster, backup_id)
    refusal: PortalError | None = None
    form = RestoreForm(request.POST if request.method == "POST" else None)
    if form.is_bound and form.is_valid():
        try:
            return _restore(request, slug, (cluster, backup), form.cleaned_data)
        except PortalError as error:
            refusal = error
    context = {
        **_context(access, cluster),
        "backup": backup,
        "form": form,
        "posted": request.POST,
        "to_sequence": _sequence(request),
        "refusal": None if refusal is None else _words(refusal),
        "can_replace": access.can("clusters:delete"),
        "form_token": request.POST.get("form_token") or form_token_new(),
    }
    status = refusal.status if refusal else 422 if form.is_bound else 200
    return render(request, "backups/restore.html", context, status=status)


def _restore(
    request: HttpRequest, slug: str, what: tuple[Cluster, Backup], data: dict[str, Any]
) -> HttpResponse:
    cluster, backup = what
    if data["where"] == "place":
        access = require(request, "clusters:delete")
        _, operation = services.restore_in_place(
            access, cluster, backup, confirm=data["confirm"], to_sequence=data["to_sequence"]
        )
    else:
        access = require(request, "clusters:write")
        made, operation = services.restore_new(
            access,
            backup,
            name=data["name"],
            nodes=cluster.desired_nodes,
            form_token=data["form_token"],
            to_sequence=data["to_sequence"],
        )
        return redirect("clusters:cluster", slug, made.pk)
    return redirect("clusters:operation", slug, operation.pk)


@require_GET
def certificate_view(
    request: HttpRequest, slug: str, cluster_id: UUID, operation_id: UUID
) -> HttpResponse:
    """The certificate of a restore, or the trust anchor of one of its two clusters, as a file."""
    require(request, "clusters:read")
    restore = restore_get(cluster_get(cluster_id), operation_id)
    part = request.GET.get("part", "certificate")
    if part not in {"certificate", "source_anchor", "target_anchor"}:
        part = "certificate"
    return HttpResponse(
        json.dumps(restore.certificate[part], indent=2),
        content_type="application/json",
        headers={"Content-Disposition": f'attachment; filename="{part}.json"'},
    )


def _context(access: Access, cluster: Cluster) -> dict[str, Any]:
    now = clock.now()
    policy = policy_get(cluster)
    backups = list(backup_list(cluster)[:SHOWN_MAX])
    return {
        **cluster_context(cluster, access, now, tab="backups"),
        "policy": policy,
        "policy_form": PolicyForm(initial=policy_initial(policy)),
        "due": next_due(cluster, policy),
        "lines": lines_of(backups, policy),
        "is_open": any(backup.is_open for backup in backups),
        "stored_count": sum(1 for backup in backups if backup.is_usable),
        "stored_bytes": sum(backup.size_bytes or 0 for backup in backups),
        "newest": next((backup for backup in backups if backup.is_usable), None),
        "window": window_of(cluster),
        "drill": (drill := drill_newest(cluster)),
        "is_rehearsing": drill is not None and drill.is_at_work(now),
        "moment_form": MomentForm(),
        "restores": list(restore_list(cluster)[:RESTORES_SHOWN_MAX]),
        "can_write": access.can("clusters:write"),
        "can_delete": access.can("clusters:delete"),
    }


def _sequence(request: HttpRequest) -> int | None:
    text = request.POST.get("to_sequence") or request.GET.get("to_sequence") or ""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= DIGITS_MAX else None


def _words(error: PortalError) -> str:
    if isinstance(error, Invalid):
        return " ".join(fault["detail"] for fault in error.errors) or error.detail
    return error.detail
