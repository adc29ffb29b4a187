"""Pages of imports, and the streams of exports."""

from itertools import islice
from typing import Any
from uuid import UUID

from django.http import HttpRequest, HttpResponse, JsonResponse, StreamingHttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from portal.access.guards import require
from portal.audit.services import audit_record
from portal.clusters.selectors import cluster_get
from portal.core.errors import Conflict, Invalid, NotFound
from portal.core.tenancy import current_schema
from portal.explorer.constants import IMPORT_BYTES_MAX, IMPORT_ROWS_MAX, PREVIEW_ROWS
from portal.explorer.exporting import export_csv, export_ndjson
from portal.explorer.forms import read_collection
from portal.explorer.imports import (
    import_cancel,
    import_prepare,
    import_resume,
    import_start,
    progress_of,
    rows_of,
)
from portal.explorer.models import ImportJob
from portal.explorer.tasks import import_run
from portal.explorer.types import COLUMN_TYPES


@require_http_methods(["GET", "POST"])
def import_new_page(request: HttpRequest, slug: str, cluster_id: UUID) -> HttpResponse:
    """Take a file or pasted text in."""
    access = require(request, "documents:write")
    cluster = cluster_get(cluster_id)
    error: Invalid | None = None
    if request.method == "POST":
        try:
            collection = read_collection(request.POST.get("collection", "").strip())
            name, content = _uploaded(request)
            job = import_prepare(access, cluster, collection=collection, name=name, content=content)
            return redirect("explorer:import", slug=slug, cluster_id=cluster_id, job_id=job.pk)
        except Invalid as refusal:
            error = refusal
    context = {
        "cluster": cluster,
        "collection": request.POST.get("collection") or request.GET.get("collection", ""),
        "error": error,
        "bytes_max": IMPORT_BYTES_MAX,
        "rows_max": IMPORT_ROWS_MAX,
    }
    return render(request, "explorer/import_new.html", context, status=422 if error else 200)


@require_http_methods(["GET", "POST"])
def import_page(request: HttpRequest, slug: str, cluster_id: UUID, job_id: UUID) -> HttpResponse:
    """Show a prepared file with its choices, or how far an import is."""
    access = require(request, "documents:write")
    cluster = cluster_get(cluster_id)
    job = _job(cluster_id, job_id)
    error: Invalid | Conflict | None = None
    if request.method == "POST":
        prefix = "type-"
        columns = {
            name.removeprefix(prefix): str(value)
            for name, value in request.POST.items()
            if name.startswith(prefix)
        }
        try:
            import_start(access, job, columns=columns, id_field=request.POST.get("id_field", ""))
        except (Invalid, Conflict) as refusal:
            error = refusal
        else:
            _enqueue(job)
            return redirect("explorer:import", slug=slug, cluster_id=cluster_id, job_id=job.pk)
    context: dict[str, Any] = {
        "cluster": cluster,
        "job": job,
        "error": error,
        "column_types": COLUMN_TYPES,
    }
    if job.state == ImportJob.State.DRAFT:
        rows = list(islice(rows_of(job), PREVIEW_ROWS))
        names = dict.fromkeys(name for row in rows for name in row.document or {})
        names.pop("_id", None)
        # In the order of the file; the database keeps the columns in one of its own.
        order = {name: position for position, name in enumerate(names)}
        columns_shown = sorted(job.columns, key=lambda name: order.get(name, len(order))) or [
            *names
        ]
        context |= {
            "columns": [(name, job.columns.get(name)) for name in columns_shown],
            "preview": [
                (row, [(row.document or {}).get(name) for name in columns_shown]) for row in rows
            ],
        }
        return render(request, "explorer/import_draft.html", context, status=409 if error else 200)
    return render(request, "explorer/import.html", context)


@require_GET
def import_progress_view(
    request: HttpRequest, slug: str, cluster_id: UUID, job_id: UUID
) -> JsonResponse:
    """Answer how far an import is."""
    require(request, "documents:read")
    job = _job(cluster_id, job_id)
    return JsonResponse({**progress_of(job), "errors": job.errors, "problem": job.problem})


@require_POST
def import_cancel_view(
    request: HttpRequest, slug: str, cluster_id: UUID, job_id: UUID
) -> HttpResponse:
    """Stop an import."""
    access = require(request, "documents:write")
    job = _job(cluster_id, job_id)
    is_draft = job.state == ImportJob.State.DRAFT
    import_cancel(access, job)
    if is_draft:
        return redirect("explorer:collections", slug=slug, cluster_id=cluster_id)
    return redirect("explorer:import", slug=slug, cluster_id=cluster_id, job_id=job_id)


@require_POST
def import_resume_view(
    request: HttpRequest, slug: str, cluster_id: UUID, job_id: UUID
) -> HttpResponse:
    """Let a stopped import go on."""
    require(request, "documents:write")
    job = _job(cluster_id, job_id)
    import_resume(job)
    _enqueue(job)
    return redirect("explorer:import", slug=slug, cluster_id=cluster_id, job_id=job_id)


@require_GET
def export_view(
    request: HttpRequest, slug: str, cluster_id: UUID, collection: str
) -> StreamingHttpResponse:
    """Stream a whole collection."""
    access = require(request, "documents:read")
    cluster = cluster_get(cluster_id)
    read_collection(collection)
    is_csv = request.GET.get("as") == "csv"
    content = (export_csv if is_csv else export_ndjson)(cluster, collection)
    audit_record(
        access_or_actor=access,
        action="documents.exported",
        target_type="collection",
        target_id=f"{cluster.pk}/{collection}",
        target_label=f"{cluster.name}: {collection}",
    )
    kind = "text/csv; charset=utf-8" if is_csv else "application/x-ndjson"
    response = StreamingHttpResponse(content, content_type=kind)
    name = f"{collection}.{'csv' if is_csv else 'ndjson'}"
    response["Content-Disposition"] = f'attachment; filename="{name}"'
    response["Cache-Control"] = "no-store"
    return response


def _job(cluster_id: UUID, job_id: UUID) -> ImportJob:
    """Load an import of a cluster.

    Raises:
        NotFound: There is none, or it belongs to another cluster.
    """
    job = ImportJob.objects.filter(pk=job_id, cluster_id=cluster_id).first()
    if job is None:
        raise NotFound
    return job


def _uploaded(request: HttpRequest) -> tuple[str, bytes]:
    """Read the file, or the pasted text.

    Raises:
        Invalid: There is neither, or it is too big.
    """
    upload = request.FILES.get("file")
    if upload is not None:
        if (upload.size or 0) > IMPORT_BYTES_MAX:
            detail = f"The file is larger than {IMPORT_BYTES_MAX // 2**20} MiB: split it."
            raise Invalid(errors=[{"pointer": "/file", "detail": detail}])
        return upload.name or "file", upload.read()
    text = request.POST.get("text", "")
    if not text.strip():
        detail = "Choose a file, or paste its text."
        raise Invalid(errors=[{"pointer": "/file", "detail": detail}])
    return "pasted text", text.encode()


def _enqueue(job: ImportJob) -> None:
    """Hand an import to the workers."""
    import_run.apply_async(kwargs={"schema": current_schema(), "job_id": str(job.pk)})
