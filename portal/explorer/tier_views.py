"""Where documents are: the card of a cluster, and a collection's page with its policy."""

from typing import Any
from uuid import UUID

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_http_methods

from portal.access.guards import require
from portal.access.types import Access
from portal.clusters.archives import archive_refusal
from portal.clusters.models import Cluster
from portal.clusters.selectors import cluster_get
from portal.explorer.constants import UNIT_WORDS
from portal.explorer.documents import collection_get, collections_list, connected
from portal.explorer.errors import ClusterRefused, UnreadableQuery
from portal.explorer.forms import read_tiering
from portal.explorer.services import collection_tiering_put
from portal.explorer.tiers import (
    Listed,
    Spread,
    care_words,
    largest_tiered,
    listed,
    memory_of,
    places_together,
)

BOXES = frozenset({"cold_after_s", "archive_after_s"})


@require_GET
@never_cache
def tiers_fragment(request: HttpRequest, slug: str, cluster_id: UUID) -> HttpResponse:
    """Answer the card of a cluster's page that says where its documents are."""
    require(request, "documents:read")
    cluster = cluster_get(cluster_id)
    context: dict[str, Any] = {"cluster": cluster}
    try:
        with connected(cluster) as client:
            found = [listed(collection) for collection in collections_list(client)]
            stats = client.stats()
            context |= {"memory": memory_of(stats), "care": care_words(stats)}
    except ClusterRefused as refusal:
        return render(request, "explorer/_tiers.html", {**context, "error": refusal})
    context |= {"places": places_together(found), "collections": largest_tiered(found)}
    return render(request, "explorer/_tiers.html", context)


@require_http_methods(["GET", "POST"])
def storage_page(
    request: HttpRequest, slug: str, cluster_id: UUID, collection: str
) -> HttpResponse:
    """Show where a collection's documents are; a POST sets its policy, or ends it."""
    need = "documents:write" if request.method == "POST" else "documents:read"
    access = require(request, need)
    cluster = cluster_get(cluster_id)
    fault: ClusterRefused | UnreadableQuery | None = None
    if request.method == "POST":
        try:
            _save(request, access, cluster, collection)
        except (ClusterRefused, UnreadableQuery) as error:
            fault = error
        else:
            return redirect(request.path)
    status = 422 if isinstance(fault, UnreadableQuery) else getattr(fault, "status", 200)
    context: dict[str, Any] = {
        "cluster": cluster,
        "collection": collection,
        "can_write": access.can("documents:write"),
        "units": UNIT_WORDS,
        "spread": Spread.over(cluster.size),
        "archive_refusal": archive_refusal(cluster),
        "faults": {} if fault is None else _faults(fault),
    }
    try:
        with connected(cluster) as client:
            shown = listed(collection_get(client, collection))
    except ClusterRefused as refusal:
        context["error"], status = refusal, refusal.status
    else:
        context |= {"shown": shown, "form": _form_of(request, shown)}
    return render(request, "explorer/storage.html", context, status=status)


def _save(request: HttpRequest, access: Access, cluster: Cluster, collection: str) -> None:
    """Do what the form asks for, and say what follows."""
    tiering = None if request.POST.get("do") == "end" else read_tiering(request.POST)
    collection_tiering_put(access, cluster, collection=collection, tiering=tiering)
    words = (
        "The policy is ended: nothing moves any more. What is cold comes back when it is read."
        if tiering is None
        else "Saved. Documents move when their time comes; those that are due, within minutes."
    )
    messages.success(request, words)


def _form_of(request: HttpRequest, shown: Listed) -> dict[str, str]:
    """Answer what stands in the boxes: what was sent, else the policy that is in force."""
    if request.method == "POST":
        return {name: str(value) for name, value in request.POST.items()}
    form: dict[str, str] = {}
    spans = {"cold": shown.policy.cold_after, "archive": shown.policy.archive_after}
    for name, span in spans.items():
        if span is not None:
            form |= {f"{name}_after": str(span.count), f"{name}_unit": span.unit}
    return form


def _faults(fault: ClusterRefused | UnreadableQuery) -> dict[str, str]:
    """Answer what is wrong by the box that it is about, or as `other`."""
    if isinstance(fault, UnreadableQuery):
        return {fault.field: fault.detail}
    found: dict[str, str] = {}
    for pointer, detail in fault.pointers:
        box = pointer.rpartition("/")[2]
        found.setdefault(box if box in BOXES else "other", f"{detail[:1].upper()}{detail[1:]}")
    return found or {"other": f"{fault.detail[:1].upper()}{fault.detail[1:]}"}
