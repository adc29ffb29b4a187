"""What anybody may see: health, readiness, identity, metrics, the API's description."""

from collections.abc import Callable
from importlib import resources
from typing import Final

from dataplane.gateways.context import Context
from dataplane.gateways.errors import Problem
from dataplane.gateways.rest.gateways import identity
from dataplane.gateways.rest.http import Request, Response
from dataplane.gateways.rest.openapi import openapi_document
from dataplane.gateways.rest.responses import json_response, problem_response

ASSETS: Final = {
    "/docs": ("docs.html", "text/html; charset=utf-8"),
    "/docs/docs.css": ("docs.css", "text/css; charset=utf-8"),
    "/docs/docs.js": ("docs.js", "text/javascript; charset=utf-8"),
}
_SECURITY: Final = [
    ("Content-Security-Policy", "default-src 'self'; frame-ancestors 'none'; base-uri 'none'"),
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
]


def _health(_context: Context, _request: Request) -> Response:
    return json_response({"status": "ok"})


def _ready(context: Context, _request: Request) -> Response:
    if context.cluster.ready:
        return json_response({"status": "ready"})
    problem = Problem("not_ready", "this node cannot serve linearizable requests now")
    return problem_response(problem, "/ready")


def _metrics(context: Context, _request: Request) -> Response:
    text = context.figures.prometheus().encode()
    return Response(200, text, "text/plain; version=0.0.4; charset=utf-8")


def _description(context: Context, _request: Request) -> Response:
    return json_response(openapi_document(context.spec.me.url))


def _asset(_context: Context, request: Request) -> Response:
    name, kind = ASSETS[request.path]
    data = resources.files("dataplane.gateways.rest").joinpath("assets", name).read_bytes()
    return Response(200, data, kind, list(_SECURITY))


PAGES: Final[dict[str, Callable[[Context, Request], Response]]] = {
    "/health": _health,
    "/ready": _ready,
    "/identity": identity,
    "/metrics": _metrics,
    "/openapi.json": _description,
    **dict.fromkeys(ASSETS, _asset),
}


def page_for(context: Context, request: Request) -> Response | None:
    """Return the page at a path that needs no key, None for every other path.

    Raises:
        Problem: `method_not_allowed`, and those of the page.
    """
    page = PAGES.get(request.path)
    if page is None:
        return None
    if request.method not in {"GET", "HEAD"}:
        raise Problem("method_not_allowed", "use GET", headers=(("Allow", "GET"),))
    return page(context, request)
