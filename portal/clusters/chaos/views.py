"""The page *Chaos* of a cluster."""

from typing import Any
from uuid import UUID

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from portal.access.guards import require
from portal.access.types import Access
from portal.clusters.chaos import services
from portal.clusters.chaos.forms import FIELD, faults_of
from portal.clusters.chaos.presentation import experiment_json, row_of
from portal.clusters.faults import FAULTS
from portal.clusters.models import Cluster, Experiment, ExperimentStatus, Profile
from portal.clusters.pages import cluster_context
from portal.clusters.selectors import cluster_get, experiment_get, experiment_list
from portal.core import clock
from portal.core.errors import PortalError
from portal.identity.selectors import has_factor
from portal.identity.stepup import is_recent, require_recent
from portal.plans.selectors import fault_budget

SHOWN_MAX = 20


@never_cache
@sensitive_post_parameters("password")
@require_http_methods(["GET", "POST"])
def chaos_page(request: HttpRequest, slug: str, cluster_id: UUID) -> HttpResponse:
    """What may be broken and what is broken now; posting breaks it."""
    access = require(request, "clusters:break" if request.method == "POST" else "clusters:read")
    cluster = cluster_get(cluster_id)
    context: dict[str, Any] = {}
    if request.method == "POST":
        try:
            proof = request.POST.get("password", "")
            require_recent(request, action="cluster.break", proof=proof, tokens_pass=False)
            services.experiment_start(
                access,
                cluster,
                faults=faults_of(request.POST.dict()),
                beyond_f="beyond_f" in request.POST,
                confirm=request.POST.get("confirm", ""),
            )
        except PortalError as error:
            context = {"refusal": error, "posted": request.POST}
        else:
            return redirect("clusters:chaos", slug, cluster_id)
    rows = list(experiment_list(cluster)[:SHOWN_MAX])
    shown = rows[0] if rows and rows[0].status != ExperimentStatus.OVER else None
    context |= _context(request, access, cluster, shown)
    context["rows"] = [row_of(row) for row in rows if row is not shown]
    refusal: PortalError | None = context.get("refusal")
    return render(
        request, "clusters/chaos.html", context, status=refusal.status if refusal else 200
    )


@require_GET
@never_cache
def experiment_page(
    request: HttpRequest, slug: str, cluster_id: UUID, experiment_id: UUID
) -> HttpResponse:
    """One experiment, as it went."""
    access = require(request, "clusters:read")
    cluster = cluster_get(cluster_id)
    experiment = experiment_get(cluster, experiment_id)
    context = {**_context(request, access, cluster, experiment), "rows": [], "is_past": True}
    return render(request, "clusters/chaos.html", context)


def _context(
    request: HttpRequest, access: Access, cluster: Cluster, shown: Experiment | None
) -> dict[str, Any]:
    """Gather what the page shows; `shown` is the experiment whose timeline is drawn."""
    posted = request.POST
    context = {
        **cluster_context(cluster, access, clock.now(), tab="chaos"),
        "budget": fault_budget(cluster.size),
        "faults": list(FAULTS.values()),
        "choices": [
            (node, f"{FIELD}{node.index}", posted.get(f"{FIELD}{node.index}", ""))
            for node in cluster.members
        ],
        "can_break": access.can("clusters:break"),
        "is_confirmed": is_recent(request),
        "has_factor": has_factor(access.user),
        "is_production": cluster.profile == Profile.PRODUCTION,
    }
    if shown is not None:
        context["shown"] = row_of(shown)
        context["experiment"] = shown
        context["experiment_json"] = experiment_json(shown)
    return context


@require_POST
def revert_view(request: HttpRequest, slug: str, cluster_id: UUID) -> HttpResponse:
    """Put every node back now."""
    access = require(request, "clusters:break")
    cluster = cluster_get(cluster_id)
    running = experiment_list(cluster).exclude(status=ExperimentStatus.OVER).first()
    try:
        if running is not None:
            services.experiment_revert(access, running, reason="manual")
    except PortalError as error:
        messages.error(request, error.detail)
    return redirect("clusters:chaos", slug, cluster_id)


@require_POST
def sandbox_view(request: HttpRequest, slug: str, cluster_id: UUID) -> HttpResponse:
    """Say that a cluster is a sandbox, or is none any more."""
    access = require(request, "clusters:break")
    cluster = cluster_get(cluster_id)
    is_sandbox = request.POST.get("sandbox") == "1"
    try:
        services.sandbox_set(access, cluster, is_sandbox=is_sandbox)
    except PortalError as error:
        messages.error(request, error.detail)
    else:
        words = "a sandbox: its nodes may be broken" if is_sandbox else "no sandbox any more"
        messages.success(request, f"{cluster.name} is {words}.")
    return redirect("clusters:settings", slug, cluster_id)
