"""Pages of the document explorer: collections, documents, one document."""

from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

import msgspec
from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from portal.access.guards import require
from portal.clusters.selectors import cluster_get
from portal.core.errors import Invalid
from portal.explorer import tiers
from portal.explorer.constants import PREVIEW_CHARACTERS
from portal.explorer.documents import (
    Page,
    collections_list,
    connected,
    pretty,
    proof_get,
    query,
    verify,
)
from portal.explorer.errors import ClusterRefused, UnreadableQuery
from portal.explorer.explaining import explained
from portal.explorer.forms import (
    read_collection,
    read_document,
    read_query,
    read_version,
    read_version_or_none,
)
from portal.explorer.models import ImportJob
from portal.explorer.services import (
    collection_create,
    collection_drop,
    document_create,
    document_delete,
    document_replace,
)
from portal.explorer.types import SYSTEM_FIELDS, Document

IMPORTS_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Listed:
    """A document as a row of the list."""

    id: str
    version: object
    updated: object
    preview: str


@require_GET
def collections_page(request: HttpRequest, slug: str, cluster_id: UUID) -> HttpResponse:
    """List the collections of a cluster."""
    access = require(request, "documents:read")
    cluster = cluster_get(cluster_id)
    error: ClusterRefused | None = None
    collections: list[tiers.Listed] = []
    try:
        with connected(cluster) as client:
            collections = [tiers.listed(found) for found in collections_list(client)]
    except ClusterRefused as refusal:
        error = refusal
    context = {
        "cluster": cluster,
        "collections": collections,
        "error": error,
        "is_tiered": any(collection.is_tiered for collection in collections),
        "can_write": "documents:write" in access.permissions,
        "imports": ImportJob.objects.filter(cluster_id=cluster.pk)
        .exclude(state=ImportJob.State.DRAFT)
        .defer("content")[:IMPORTS_SHOWN],
    }
    return render(request, "explorer/collections.html", context)


@require_POST
def collection_create_view(request: HttpRequest, slug: str, cluster_id: UUID) -> HttpResponse:
    """Create a collection."""
    access = require(request, "documents:write")
    cluster = cluster_get(cluster_id)
    try:
        name = read_collection(request.POST.get("name", "").strip())
        collection_create(access, cluster, collection=name)
    except (Invalid, ClusterRefused) as error:
        messages.error(request, error.detail)
        return redirect("explorer:collections", slug=slug, cluster_id=cluster_id)
    return redirect("explorer:documents", slug=slug, cluster_id=cluster_id, collection=name)


@require_POST
def collection_drop_view(
    request: HttpRequest, slug: str, cluster_id: UUID, collection: str
) -> HttpResponse:
    """Drop a collection after its name was typed."""
    access = require(request, "documents:write")
    cluster = cluster_get(cluster_id)
    if request.POST.get("confirm") != collection:
        messages.error(request, "The name did not match: nothing was dropped.")
        return redirect(
            "explorer:documents", slug=slug, cluster_id=cluster_id, collection=collection
        )
    try:
        collection_drop(access, cluster, collection=collection)
    except ClusterRefused as error:
        messages.error(request, error.detail)
    else:
        messages.success(request, f"Collection {collection} was dropped.")
    return redirect("explorer:collections", slug=slug, cluster_id=cluster_id)


@require_GET
def documents_page(
    request: HttpRequest, slug: str, cluster_id: UUID, collection: str
) -> HttpResponse:
    """List the documents that match the query box."""
    access = require(request, "documents:read")
    cluster = cluster_get(cluster_id)
    context: dict[str, Any] = {
        "cluster": cluster,
        "collection": collection,
        "form": request.GET,
        "can_write": "documents:write" in access.permissions,
        "rows": [],
        "is_filtered": any(request.GET.get(name) for name in ("filter", "sort", "projection")),
    }
    try:
        asked = read_query(request.GET)
        with connected(cluster) as client:
            page = query(client, collection, asked)
            if page.plan is not None:
                context["explained"] = explained(client, collection, page.plan)
        context |= _page_context(request, page)
    except UnreadableQuery as error:
        context["field_error"] = {"field": error.field, "detail": error.detail}
    except ClusterRefused as refusal:
        context["error"] = refusal
    return render(request, "explorer/documents.html", context)


@require_http_methods(["GET", "POST"])
def document_page(
    request: HttpRequest, slug: str, cluster_id: UUID, collection: str
) -> HttpResponse:
    """Show one document and save changes of it, unless somebody was quicker."""
    need = "documents:write" if request.method == "POST" else "documents:read"
    access = require(request, need)
    cluster = cluster_get(cluster_id)
    document_id = request.GET.get("id", "")
    context: dict[str, Any] = {
        "cluster": cluster,
        "collection": collection,
        "document_id": document_id,
        "can_write": "documents:write" in access.permissions,
    }
    status = 200
    if request.method == "POST":
        text = request.POST.get("document", "")
        try:
            document_replace(
                access,
                cluster,
                collection=collection,
                document_id=document_id,
                document=read_document(text),
                version=read_version(request.POST.get("version", "")),
            )
        except (Invalid, ClusterRefused) as error:
            status = error.status
            context |= {"text": text, "error": error, "version": request.POST.get("version", "")}
            context["is_conflict"] = error.code == "precondition_failed"
        else:
            messages.success(request, "Saved.")
            return _to_document(slug, cluster_id, collection, document_id)
    try:
        with connected(cluster) as client:
            document: Document = client.get(collection, document_id)
            if "verify" in request.GET:
                context["verdict"] = verify(client, cluster, collection, document_id)
    except ClusterRefused as refusal:
        context.setdefault("error", refusal)
        context["is_gone"] = refusal.status == 404
        return render(request, "explorer/document.html", context, status=refusal.status)
    context |= {
        "document": document,
        "current_text": pretty(_editable(document)),
        "current_version": document.get("_version"),
    }
    context.setdefault("text", context["current_text"])
    context.setdefault("version", document.get("_version"))
    return render(request, "explorer/document.html", context, status=status)


@require_GET
def document_proof_view(
    request: HttpRequest, slug: str, cluster_id: UUID, collection: str
) -> HttpResponse:
    """Answer the proof of a document and the keys to check it with, for the reader's browser."""
    require(request, "documents:read")
    cluster = cluster_get(cluster_id)
    with connected(cluster) as client:
        proof = proof_get(client, cluster, collection, request.GET.get("id", ""))
    return HttpResponse(proof, content_type="application/json")


@require_http_methods(["GET", "POST"])
def document_new_page(
    request: HttpRequest, slug: str, cluster_id: UUID, collection: str
) -> HttpResponse:
    """Create a document from JSON."""
    access = require(request, "documents:write")
    cluster = cluster_get(cluster_id)
    context: dict[str, Any] = {"cluster": cluster, "collection": collection, "text": "{\n  \n}"}
    status = 200
    if request.method == "POST":
        context["text"] = request.POST.get("document", "")
        try:
            document = read_document(context["text"])
            document_id = document_create(access, cluster, collection=collection, document=document)
        except (Invalid, ClusterRefused) as error:
            context["error"], status = error, error.status
        else:
            messages.success(request, "Created.")
            return _to_document(slug, cluster_id, collection, document_id)
    return render(request, "explorer/document_new.html", context, status=status)


@require_POST
def document_delete_view(
    request: HttpRequest, slug: str, cluster_id: UUID, collection: str
) -> JsonResponse:
    """Delete a document and hand it back to the page, which can put it back."""
    access = require(request, "documents:write")
    cluster = cluster_get(cluster_id)
    document = document_delete(
        access,
        cluster,
        collection=collection,
        document_id=request.GET.get("id", ""),
        version=read_version_or_none(request.GET.get("version", "")),
    )
    return JsonResponse({"document": document})


@require_POST
def document_restore_view(
    request: HttpRequest, slug: str, cluster_id: UUID, collection: str
) -> JsonResponse:
    """Put a deleted document back under its id, unless the id is taken again."""
    access = require(request, "documents:write")
    cluster = cluster_get(cluster_id)
    document = read_document(request.body.decode("utf-8", errors="replace"))
    document_id = document_create(access, cluster, collection=collection, document=document)
    return JsonResponse({"id": document_id}, status=201)


def _page_context(request: HttpRequest, page: Page) -> dict[str, Any]:
    """Answer what the list shows of a page."""
    following = request.GET.copy()
    following.pop("explain", None)
    following["after"] = page.after or ""
    return {
        "rows": [_listed(document) for document in page.documents],
        "scanned": page.scanned,
        "next": f"?{following.urlencode()}" if page.after else None,
        "is_first": not request.GET.get("after"),
    }


def _listed(document: Document) -> Listed:
    """Make the row of a document."""
    text = msgspec.json.encode(_editable(document)).decode()
    cut = text if len(text) <= PREVIEW_CHARACTERS else f"{text[:PREVIEW_CHARACTERS]}…"
    return Listed(
        id=str(document.get("_id", "")),
        version=document.get("_version"),
        updated=document.get("_updated"),
        preview=cut,
    )


def _editable(document: Document) -> Document:
    """Answer the document's own fields."""
    return {
        name: value
        for name, value in document.items()
        if name not in SYSTEM_FIELDS and name != "_id"
    }


def _to_document(
    slug: str, cluster_id: UUID, collection: str, document_id: str
) -> HttpResponseRedirect:
    """Go to the page of a document."""
    kwargs = {"slug": slug, "cluster_id": cluster_id, "collection": collection}
    path = reverse("explorer:document", kwargs=kwargs)
    return HttpResponseRedirect(f"{path}?{urlencode({'id': document_id})}")
