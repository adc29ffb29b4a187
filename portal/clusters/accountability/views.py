"""The page *Accountability* of a cluster, and one proof on it."""

from typing import Any
from uuid import UUID

import msgspec
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_http_methods

from dataplane.client.errors import EvidenceError
from portal.access.guards import require
from portal.clusters.accountability.presentation import (
    KIND_WORDS,
    place_words,
    public_key_of,
    ring_of,
    verdict_of,
)
from portal.clusters.accountability.selectors import evidence_get, evidence_list
from portal.clusters.accountability.services import evidence_verify
from portal.clusters.models import Cluster, Evidence
from portal.clusters.pages import cluster_context
from portal.clusters.selectors import cluster_get
from portal.core import clock
from portal.core.errors import NotFound
from portal.plans.selectors import fault_budget

SHOWN_MAX = 15


@require_GET
def accountability_page(request: HttpRequest, slug: str, cluster_id: UUID) -> HttpResponse:
    """Who was caught lying, what that means, and the proofs."""
    access = require(request, "clusters:read")
    cluster = cluster_get(cluster_id)
    context = cluster_context(cluster, access, clock.now(), tab="accountability")
    found = evidence_list(cluster)
    before = request.GET.get("before")
    if before is not None:
        found = found.filter(pk__lt=_uuid(before))
    rows = list(found[: SHOWN_MAX + 1])
    budget, counts = fault_budget(cluster.size), context["accused"]
    context |= {
        "rows": [_row(row) for row in rows[:SHOWN_MAX]],
        "next_before": rows[SHOWN_MAX - 1].pk if len(rows) > SHOWN_MAX else None,
        "is_first_page": before is None,
        "budget": budget,
        "ring": ring_of(cluster, counts),
        "verdict": verdict_of(budget, len(counts)),
        "accused_rows": sorted(counts.items()),
    }
    return render(request, "clusters/accountability.html", context)


@require_http_methods(["GET", "POST"])
@never_cache
def evidence_page(
    request: HttpRequest, slug: str, cluster_id: UUID, evidence_id: UUID
) -> HttpResponse:
    """One proof; posting checks both signatures again, here and now."""
    access = require(request, "clusters:read")
    cluster = cluster_get(cluster_id)
    evidence = evidence_get(cluster, evidence_id)
    context = {
        **cluster_context(cluster, access, clock.now(), tab="accountability"),
        **_row(evidence),
        "public_key": public_key_of(cluster, evidence.node),
        "statements": [evidence.proof["first"], evidence.proof["second"]],
    }
    if request.method == "POST":
        context |= _checked(cluster, evidence)
    return render(request, "clusters/evidence.html", context)


@require_GET
def proof_download(
    request: HttpRequest, slug: str, cluster_id: UUID, evidence_id: UUID
) -> HttpResponse:
    """The proof as a file."""
    require(request, "clusters:read")
    evidence = evidence_get(cluster_get(cluster_id), evidence_id)
    name = f"node-{evidence.node}-{evidence.kind}-{evidence.sequence}.json"
    data = msgspec.json.format(msgspec.json.encode(evidence.proof), indent=2) + b"\n"
    response = HttpResponse(data, content_type="application/json")
    response["Content-Disposition"] = f'attachment; filename="{name}"'
    return response


def _row(evidence: Evidence) -> dict[str, Any]:
    return {
        "evidence": evidence,
        "kind_words": KIND_WORDS.get(evidence.kind, evidence.kind),
        "place": place_words(evidence),
        "reports": sorted(evidence.reports.all(), key=lambda report: report.node),
    }


def _checked(cluster: Cluster, evidence: Evidence) -> dict[str, Any]:
    try:
        proven = evidence_verify(cluster, evidence)
    except EvidenceError as error:
        return {"checked_at": clock.now(), "fault": error.detail}
    return {"checked_at": clock.now(), "proven": proven}


def _uuid(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError as error:
        raise NotFound from error
