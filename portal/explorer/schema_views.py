"""The page of a collection's schema: try it on what is there, then store it."""

from typing import Any
from uuid import UUID

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_http_methods

from portal.access.guards import require
from portal.clusters.selectors import cluster_get
from portal.core.errors import Invalid
from portal.explorer.constants import SCHEMA_DRAFT
from portal.explorer.documents import collection_options, connected, pretty
from portal.explorer.errors import ClusterRefused
from portal.explorer.forms import read_schema
from portal.explorer.services import collection_schema_put


@require_http_methods(["GET", "POST"])
def schema_page(request: HttpRequest, slug: str, cluster_id: UUID, collection: str) -> HttpResponse:
    """Show the schema; a POST tries it, or stores it. Without text there is none any more."""
    need = "documents:write" if request.method == "POST" else "documents:read"
    access = require(request, need)
    cluster = cluster_get(cluster_id)
    context: dict[str, Any] = {
        "cluster": cluster,
        "collection": collection,
        "can_write": "documents:write" in access.permissions,
        "draft": SCHEMA_DRAFT,
    }
    status = 200
    try:
        if request.method == "POST":
            text, validation = request.POST.get("schema", ""), request.POST.get("validation", "")
            context |= {"text": text, "validation": validation}
            schema = read_schema(text)
            is_trial = request.POST.get("do") == "try"
            context["report"] = collection_schema_put(
                access,
                cluster,
                collection=collection,
                schema=schema,
                validation=validation,
                is_trial=is_trial,
            )
            context["is_trial"] = is_trial
            if not is_trial:
                done = "Saved." if schema is not None else "The collection has no schema any more."
                messages.success(request, done)
        else:
            with connected(cluster) as client:
                options = collection_options(client, collection)
            kept = options.get("schema")
            context["text"] = pretty(kept) if isinstance(kept, dict) else ""
            context["validation"] = options.get("validation", "strict")
    except (Invalid, ClusterRefused) as error:
        context["error"], status = error, error.status
    return render(request, "explorer/schema.html", context, status=status)
