"""The page of a document's history: what it was, what changed, and putting a version back."""

from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.http import require_GET, require_POST

from portal.access.guards import require
from portal.clusters.selectors import cluster_get
from portal.core.errors import Invalid
from portal.explorer.documents import connected
from portal.explorer.errors import ClusterRefused
from portal.explorer.forms import read_version
from portal.explorer.history import history_shown, people_named, version_get
from portal.explorer.services import document_rewind

LATE = (
    "Somebody changed the document meanwhile: nothing was overwritten. Look at what is there now."
)


@require_GET
def history_page(
    request: HttpRequest, slug: str, cluster_id: UUID, collection: str
) -> HttpResponse:
    """Show the versions of a document that the cluster still knows, and compare two."""
    access = require(request, "documents:read")
    cluster = cluster_get(cluster_id)
    document_id = request.GET.get("id", "")
    place = (collection, document_id)
    compared = [text for name in ("old", "new") if (text := request.GET.get(name, ""))]
    context: dict[str, Any] = {
        "cluster": cluster,
        "collection": collection,
        "document_id": document_id,
        "can_write": "documents:write" in access.permissions,
        "can_see_people": "audit:read" in access.permissions,
    }
    status = 200
    try:
        with connected(cluster) as client:
            before = request.GET.get("before") or None
            shown = history_shown(client, place, before=before, compared=compared)
    except ClusterRefused as refusal:
        context |= {"error": refusal, "is_unknown": refusal.status == 404}
        status = refusal.status
    else:
        if context["can_see_people"]:
            people_named(cluster, place, shown.versions)
        older = urlencode({"id": document_id, "before": shown.next or ""})
        context |= {"shown": shown, "older": older, "is_first": before is None}
    return render(request, "explorer/history.html", context, status=status)


@require_POST
def document_rewind_view(
    request: HttpRequest, slug: str, cluster_id: UUID, collection: str
) -> HttpResponse:
    """Put a version back, unless somebody changed the document since the page was made."""
    access = require(request, "documents:write")
    cluster = cluster_get(cluster_id)
    document_id = request.GET.get("id", "")
    place = (collection, document_id)
    try:
        with connected(cluster) as client:
            version = version_get(client, place, request.POST.get("place", ""))
        if version is None or version.document is None:
            messages.error(request, "This version is not known any more: nothing was changed.")
            return _to_history(slug, cluster_id, collection, document_id)
        present = request.POST.get("present", "")
        stored = document_rewind(
            access,
            cluster,
            place=place,
            document=version.document,
            present=None if present == "none" else read_version(present),
        )
    except (Invalid, ClusterRefused) as error:
        late = error.code in {"precondition_failed", "conflict"}
        messages.error(request, LATE if late else error.detail)
    else:
        messages.success(request, f"Version {version.number} is back, as version {stored}.")
    return _to_history(slug, cluster_id, collection, document_id)


def _to_history(
    slug: str, cluster_id: UUID, collection: str, document_id: str
) -> HttpResponseRedirect:
    kwargs = {"slug": slug, "cluster_id": cluster_id, "collection": collection}
    path = reverse("explorer:history", kwargs=kwargs)
    return HttpResponseRedirect(f"{path}?{urlencode({'id': document_id})}")
