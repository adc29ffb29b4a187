"""The page *Backups* of a cluster, and restoring one of them."""

import json
from typing import Any
from urllib.parse import urlencode
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
from portal.backups.branching import branch_expire_set, restore_begin
from portal.backups.constants import SHOWN_MAX
from portal.backups.errors import MomentNotKept
from portal.backups.forms import (
    BackupForm,
    BranchForm,
    MomentForm,
    PolicyForm,
    RestoreForm,
    policy_initial,
)
from portal.backups.moments import Point, point_find
from portal.backups.presentation import event_words, lines_of
from portal.backups.previewing import preview_request
from portal.backups.pricing import storage_estimate
from portal.backups.retention import Grid
from portal.backups.selectors import (
    backup_get,
    backup_list,
    branch_list,
    branch_of,
    drill_newest,
    grid_of,
    next_due,
    policy_get,
    preview_newest,
    restore_get,
    restore_list,
    window_of,
)
from portal.clusters.models import Cluster
from portal.clusters.pages import cluster_context
from portal.clusters.selectors import cluster_get
from portal.clusters.services import form_token_new
from portal.core import clock
from portal.core.errors import Forbidden, Invalid, PortalError

RESTORES_SHOWN_MAX = 20
BRANCHES_SHOWN_MAX = 20
DIGITS_MAX = 18
FRAGMENT = "Aerolith-Fragment"


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
def storage_view(request: HttpRequest, slug: str, cluster_id: UUID) -> HttpResponse:
    """What the schedule in the form would take up, as a part of the page."""
    require(request, "clusters:read")
    form = PolicyForm(request.GET)
    if not form.is_valid():
        # No refusal: nothing was asked for yet, and the words are for who is still typing.
        return render(request, "backups/_storage.html", {})
    context = {
        "storage": storage_estimate(
            cluster_get(cluster_id),
            every_hours=form.cleaned_data["every_hours"],
            grid=Grid(**form.keep()),
            window_days=form.cleaned_data["window_days"],
            now=clock.now(),
        )
    }
    return render(request, "backups/_storage.html", context)


@require_GET
@never_cache
def backups_fragment(request: HttpRequest, slug: str, cluster_id: UUID) -> HttpResponse:
    """The changing part of the page, fetched on news and by polling."""
    access = require(request, "clusters:read")
    context = _list_context(access, cluster_get(cluster_id))
    return render(request, "backups/_backups.html", context)


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
    access = require(request, "clusters:write")
    cluster = cluster_get(cluster_id)
    form = MomentForm(request.GET)
    try:
        if not form.is_valid():
            raise MomentNotKept("Name a sequence, or a time in UTC.")
        point = _moment(request, access, cluster, form.cleaned_data)
    except PortalError as error:
        messages.error(request, _words(error))
        return redirect("backups:backups", slug, cluster_id)
    path = reverse("backups:restore", args=[slug, cluster_id, point.backup.pk])
    asked = {"to_sequence": point.sequence}
    asked |= {} if point.before_event is None else {"before": point.before_event}
    return redirect(f"{path}?{urlencode(asked)}")


def _moment(request: HttpRequest, access: Access, cluster: Cluster, asked: dict[str, Any]) -> Point:
    if asked["before"] is not None:
        require(request, "audit:read")
        return point_find(cluster, before_audit_event=asked["before"])
    return point_find(cluster, to_sequence=asked["sequence"], to_time=asked["time"])


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
    point = Point(backup, _number(request, "to_sequence"))
    try:
        point = _point(request, cluster, point)
        if form.is_bound and form.is_valid():
            return _restore(request, slug, point, form.cleaned_data)
    except PortalError as error:
        refusal = error
    context = {
        **cluster_context(cluster, access, clock.now(), tab="backups"),
        "point": point,
        "preview": preview_newest(cluster, point.sequence),
        "backup": point.backup,
        "to_sequence": None if point.sequence == point.backup.sequence else point.to_sequence,
        "event_words": None if point.event is None else event_words(point.event),
        "form": form,
        "posted": request.POST,
        "refusal": None if refusal is None else _words(refusal),
        "can_replace": access.can("clusters:delete"),
        "form_token": request.POST.get("form_token") or form_token_new(),
    }
    status = refusal.status if refusal else 422 if form.is_bound else 200
    return render(request, "backups/restore.html", context, status=status)


def _point(request: HttpRequest, cluster: Cluster, point: Point) -> Point:
    """Ask the cluster again which sequence an event has: what a form says is no proof of it."""
    before = _number(request, "before")
    if before is None:
        return point
    require(request, "audit:read")
    return point_find(cluster, before_audit_event=before)


@require_http_methods(["GET", "POST"])
@never_cache
def preview_view(
    request: HttpRequest, slug: str, cluster_id: UUID, backup_id: UUID
) -> HttpResponse:
    """What restoring a state would change, as a part of the page; posting has it compared."""
    access = require(request, "clusters:write")
    cluster = cluster_get(cluster_id)
    point = Point(backup_get(cluster, backup_id), _number(request, "to_sequence"))
    context: dict[str, Any] = {"cluster": cluster, "access": access, "point": point}
    if request.method == "POST":
        is_part = FRAGMENT in request.headers
        try:
            preview_request(access, point)
        except PortalError as error:
            context["preview_refusal"] = _words(error)
            if not is_part:
                messages.error(request, _words(error))
        if not is_part:
            # Without scripts: the page shows it when it is loaded again.
            path = reverse("backups:restore", args=[slug, cluster_id, backup_id])
            asked = {} if point.to_sequence is None else {"to_sequence": point.to_sequence}
            return redirect(f"{path}?{urlencode(asked)}")
    context |= {"backup": point.backup, "preview": preview_newest(cluster, point.sequence)}
    return render(request, "backups/_preview.html", context)


def _restore(request: HttpRequest, slug: str, point: Point, data: dict[str, Any]) -> HttpResponse:
    where, life = data["where"], data["life"]
    access = require(request, "clusters:delete" if where == "in_place" else "clusters:write")
    made, operation = restore_begin(
        access,
        point,
        where=where,
        name=data["name"],
        nodes=point.backup.cluster.desired_nodes,
        confirm=data["confirm"],
        expires_at=None if life is None else clock.now() + life,
        form_token=data["form_token"],
    )
    if where == "in_place":
        return redirect("clusters:operation", slug, operation.pk)
    return redirect("clusters:cluster", slug, made.pk)


@require_POST
def branch_view(request: HttpRequest, slug: str, cluster_id: UUID) -> HttpResponse:
    """Say when a branch ends."""
    access = require(request, "clusters:write")
    form = BranchForm(request.POST)
    try:
        if not form.is_valid():
            raise Invalid("Choose how long it lives.")
        life = form.cleaned_data["life"]
        expires_at = None if life is None else clock.now() + life
        branch_expire_set(access, cluster_get(cluster_id), expires_at=expires_at)
    except Forbidden as error:
        messages.error(request, f"To have it end sooner is to delete it. {_words(error)}")
    except PortalError as error:
        messages.error(request, _words(error))
    else:
        messages.success(request, "The end of this branch is changed.")
    return redirect("backups:backups", slug, cluster_id)


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


def _list_context(access: Access, cluster: Cluster) -> dict[str, Any]:
    """Gather what the changing part of the page shows: it is asked for each second at times."""
    now = clock.now()
    policy = policy_get(cluster)
    backups = list(backup_list(cluster)[:SHOWN_MAX])
    drill = drill_newest(cluster)
    return {
        "cluster": cluster,
        "due": next_due(cluster, policy),
        "lines": lines_of(backups, policy),
        "is_open": any(backup.is_open for backup in backups),
        "stored_count": sum(1 for backup in backups if backup.is_usable),
        "stored_bytes": sum(backup.size_bytes or 0 for backup in backups),
        "newest": next((backup for backup in backups if backup.is_usable), None),
        "drill": drill,
        "is_rehearsing": drill is not None and drill.is_at_work(now),
        "can_write": access.can("clusters:write"),
        "can_delete": access.can("clusters:delete"),
    }


def _context(access: Access, cluster: Cluster) -> dict[str, Any]:
    now = clock.now()
    policy = policy_get(cluster)
    visible = access.clusters_visible("cluster_id")
    return {
        **cluster_context(cluster, access, now, tab="backups"),
        **_list_context(access, cluster),
        "policy": policy,
        "policy_form": PolicyForm(initial=policy_initial(policy)),
        "storage": storage_estimate(
            cluster,
            every_hours=policy.every_hours,
            grid=grid_of(policy),
            window_days=policy.window_days,
            now=now,
        ),
        "window": window_of(cluster),
        "moment_form": MomentForm(),
        "branch": branch_of(cluster),
        "branch_form": BranchForm(),
        "branches": list(branch_list(cluster, visible=visible)[:BRANCHES_SHOWN_MAX]),
        "restores": list(restore_list(cluster)[:RESTORES_SHOWN_MAX]),
    }


def _number(request: HttpRequest, name: str) -> int | None:
    text = request.POST.get(name) or request.GET.get(name) or ""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= DIGITS_MAX else None


def _words(error: PortalError) -> str:
    if isinstance(error, Invalid):
        return " ".join(fault["detail"] for fault in error.errors) or error.detail
    return error.detail
