"""The page of a collection's indexes: what there is, what would help, making and dropping."""

from typing import Any
from uuid import UUID

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_GET, require_POST

from portal.access.guards import require
from portal.access.types import Access
from portal.clusters.models import Cluster
from portal.clusters.selectors import cluster_get
from portal.core.errors import Invalid
from portal.explorer.constants import UNIT_WORDS
from portal.explorer.documents import connected
from portal.explorer.errors import ClusterRefused, UnreadableQuery
from portal.explorer.forms import read_index
from portal.explorer.indexes import indexes_shown
from portal.explorer.services import index_create, index_drop

BOXES = frozenset({"name", "fields", "partial", "unique", "sparse", "expire_after_s"})


@require_GET
def indexes_page(
    request: HttpRequest, slug: str, cluster_id: UUID, collection: str
) -> HttpResponse:
    """List the indexes of a collection, with advice."""
    access = require(request, "documents:read")
    return _page(request, access, cluster_get(cluster_id), collection)


@require_POST
def index_create_view(
    request: HttpRequest, slug: str, cluster_id: UUID, collection: str
) -> HttpResponse:
    """Make an index; the cluster builds it in the background. A fault is told in its box."""
    access = require(request, "documents:write")
    cluster = cluster_get(cluster_id)
    try:
        asked = read_index(request.POST)
        index_create(access, cluster, collection=collection, index=asked)
    except (Invalid, ClusterRefused, UnreadableQuery) as error:
        return _page(request, access, cluster, collection, fault=error)
    messages.success(request, f"Index {asked.name} is being built.")
    return _back(slug, cluster_id, collection)


def _page(
    request: HttpRequest,
    access: Access,
    cluster: Cluster,
    collection: str,
    *,
    fault: Invalid | ClusterRefused | UnreadableQuery | None = None,
) -> HttpResponse:
    """Show the indexes, and the form as it was sent with what is wrong in it."""
    context: dict[str, Any] = {
        "cluster": cluster,
        "collection": collection,
        "can_write": "documents:write" in access.permissions,
        "form": request.POST,
        "units": UNIT_WORDS,
        "faults": {} if fault is None else _faults(fault),
    }
    status = 422 if isinstance(fault, UnreadableQuery) else getattr(fault, "status", 200)
    try:
        with connected(cluster) as client:
            context["shown"] = indexes_shown(client, collection)
    except ClusterRefused as refusal:
        context["error"], status = refusal, refusal.status
    return render(request, "explorer/indexes.html", context, status=status)


def _faults(fault: Invalid | ClusterRefused | UnreadableQuery) -> dict[str, str]:
    """Answer what is wrong, by the box that it is about; under no name what is about none."""
    if isinstance(fault, UnreadableQuery):
        return {fault.field: fault.detail}
    pointers = (
        fault.pointers
        if isinstance(fault, ClusterRefused)
        else [(item["pointer"], item["detail"]) for item in fault.errors]
    )
    found: dict[str, str] = {}
    for pointer, detail in pointers:
        box = pointer.split("/")[1] if pointer.startswith("/") else ""
        found.setdefault(box if box in BOXES else "other", f"{detail[:1].upper()}{detail[1:]}")
    return found or {"other": fault.detail}


@require_POST
def index_drop_view(
    request: HttpRequest, slug: str, cluster_id: UUID, collection: str
) -> HttpResponse:
    """Drop an index after its name was typed."""
    access = require(request, "documents:write")
    cluster = cluster_get(cluster_id)
    name = request.POST.get("name", "")
    if request.POST.get("confirm") != name:
        messages.error(request, "The name did not match: nothing was dropped.")
        return _back(slug, cluster_id, collection)
    try:
        index_drop(access, cluster, collection=collection, name=name)
    except ClusterRefused as error:
        messages.error(request, error.detail)
    else:
        messages.success(request, f"Index {name} was dropped.")
    return _back(slug, cluster_id, collection)


def _back(slug: str, cluster_id: UUID, collection: str) -> HttpResponse:
    return redirect("explorer:indexes", slug=slug, cluster_id=cluster_id, collection=collection)
