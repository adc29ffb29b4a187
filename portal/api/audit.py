"""The audit trail over the API: page by page, and as a file of any length."""

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime

from django.http import QueryDict, StreamingHttpResponse
from django.utils.dateparse import parse_datetime
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from portal.access.guards import require
from portal.api import presentation as shapes
from portal.audit.models import AuditEvent
from portal.audit.selectors import AuditFilter, event_pages, event_query
from portal.audit.services import audit_record
from portal.core import clock
from portal.core.errors import Invalid
from portal.core.pagination import NewestFirst
from portal.core.spreadsheets import csv_text

FILTERS = [
    OpenApiParameter("action", str, description="Beginning of the action's name."),
    OpenApiParameter("actor", str, description="Part of the actor's name."),
    OpenApiParameter("target", str, description="Kind of the thing it was done to."),
    OpenApiParameter("since", OpenApiTypes.DATETIME, description="Not before this moment."),
    OpenApiParameter("until", OpenApiTypes.DATETIME, description="Before this moment."),
]


class AuditView(APIView):
    """The audit trail."""

    @extend_schema(parameters=FILTERS, responses=OpenApiTypes.OBJECT)
    def get(self, request: Request, slug: str) -> Response:
        """List events, newest first, each with its hash and its predecessor's."""
        require(request, "audit:read")
        found = event_query(filter_asked(request.query_params))
        pages = NewestFirst()
        rows = pages.paginate_queryset(found, request, view=self) or []
        return pages.get_paginated_response([shapes.event_json(row) for row in rows])


class AuditJsonView(APIView):
    """The audit trail as a JSON file."""

    @extend_schema(parameters=FILTERS, responses=OpenApiTypes.OBJECT)
    def get(self, request: Request, slug: str) -> StreamingHttpResponse:
        """Stream one array of all events that fit, oldest first, as the hash chain goes."""
        return _export(request, slug, "json")


class AuditCsvView(APIView):
    """The audit trail as a table."""

    @extend_schema(parameters=FILTERS, responses={(200, "text/csv"): OpenApiTypes.STR})
    def get(self, request: Request, slug: str) -> StreamingHttpResponse:
        """Stream one row for each event that fits, oldest first."""
        return _export(request, slug, "csv")


def filter_asked(parameters: QueryDict) -> AuditFilter:
    """Read the filters.

    Raises:
        Invalid: a moment is not one of RFC 3339.
    """
    return AuditFilter(
        action=parameters.get("action", "")[:64],
        actor=parameters.get("actor", "")[:254],
        target_type=parameters.get("target", "")[:32],
        since=_moment(parameters, "since"),
        until=_moment(parameters, "until"),
    )


def _moment(parameters: QueryDict, name: str) -> datetime | None:
    """Read a moment; one without a zone is UTC."""
    text = parameters.get(name, "")
    if not text:
        return None
    try:
        found = parse_datetime(text)
    except ValueError:
        found = None
    if found is None:
        detail = "a moment is written like 2026-11-24T09:30:00Z"
        raise Invalid.at(f"/{name}", detail)
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)


async def _json(pages: AsyncIterator[list[AuditEvent]]) -> AsyncIterator[str]:
    """Yield an array with one event a line."""
    yield "["
    before = "\n"
    async for events in pages:
        yield before + ",\n".join(_line(event) for event in events)
        before = ",\n"
    yield "\n]\n"


def _line(event: AuditEvent) -> str:
    return json.dumps(shapes.event_json(event), ensure_ascii=False)


async def _csv(pages: AsyncIterator[list[AuditEvent]]) -> AsyncIterator[str]:
    """Yield the head and then the rows."""
    yield csv_text([shapes.EVENT_COLUMNS])
    async for events in pages:
        yield csv_text(shapes.event_row(event) for event in events)


def _export(request: Request, slug: str, kind: str) -> StreamingHttpResponse:
    """Answer a download that is written while it is read; that it was made is a fact too."""
    access = require(request, "audit:read")
    wanted = filter_asked(request.query_params)
    audit_record(
        access_or_actor=access,
        action="audit.exported",
        target_type="audit",
        target_id=access.organization.pk,
        target_label=access.organization.name,
        after={"format": kind},
    )
    pages = event_pages(access.organization.schema_name, wanted)
    write, content_type = {
        "csv": (_csv, "text/csv; charset=utf-8"),
        "json": (_json, "application/json"),
    }[kind]
    response = StreamingHttpResponse(write(pages), content_type=content_type)
    name = f"audit-{slug}-{clock.now():%Y-%m-%d}.{kind}"
    response["Content-Disposition"] = f'attachment; filename="{name}"'
    response["Cache-Control"] = "no-store"
    return response
