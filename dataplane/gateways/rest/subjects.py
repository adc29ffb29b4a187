"""The routes of persons: hand out what is stored of one, or remove it."""

import msgspec

from dataplane.gateways.auth import Caller
from dataplane.gateways.context import Context
from dataplane.gateways.rest.http import Request, Response
from dataplane.gateways.rest.parsing import struct_of
from dataplane.gateways.rest.responses import answer_response
from dataplane.gateways.services import subjects


class ExportBody(msgspec.Struct, forbid_unknown_fields=True):
    """The body of POST /subjects/export; `after` is the `next` of the page before."""

    subject: str | int
    after: str | None = None


class EraseBody(msgspec.Struct, forbid_unknown_fields=True):
    """The body of POST /subjects/erase; `erasure` goes on with one that was begun."""

    subject: str | int
    erasure: str | None = None


async def subject_export(context: Context, request: Request, caller: Caller) -> Response:
    """POST whose documents are wanted."""
    body = struct_of(request, ExportBody)
    subject = subjects.check_subject(body.subject)
    return answer_response(await subjects.export(context, caller, subject, body.after))


async def subject_erase(context: Context, request: Request, caller: Caller) -> Response:
    """POST whose documents are to be removed."""
    body = struct_of(request, EraseBody)
    subject = subjects.check_subject(body.subject)
    return answer_response(await subjects.erase(context, caller, subject, body.erasure))


async def erasure_show(context: Context, _request: Request, caller: Caller, place: str) -> Response:
    """GET how far an erasure is."""
    return answer_response(subjects.erasure_show(context, caller, place))
