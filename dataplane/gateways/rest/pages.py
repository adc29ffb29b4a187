"""What anybody may see: health, readiness, metrics, the API's description."""

from importlib import resources
from typing import Final

from dataplane.gateways.errors import Problem
from dataplane.gateways.rest.context import Context
from dataplane.gateways.rest.http import Request, Response
from dataplane.gateways.rest.openapi import openapi_document
from dataplane.gateways.rest.responses import json_response, problem_response

ASSETS: Final = {
    "/docs": ("docs.html", "text/html; charset=utf-8"),
    "/docs/docs.css": ("docs.css", "text/css; charset=utf-8"),
    "/docs/docs.js": ("docs.js", "text/javascript; charset=utf-8"),
}
OPEN_PATHS: Final = frozenset({"/health", "/ready", "/metrics", "/openapi.json", *ASSETS})
_SECURITY: Final = [
    ("Content-Security-Policy", "default-src 'self'; frame-ancestors 'none'; base-uri 'none'"),
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
]


def page_for(context: Context, request: Request) -> Response | None:
    """Return the page at a path that needs no key, None for every other path.

    Raises:
        Problem: `method_not_allowed`.
    """
    if request.path not in OPEN_PATHS:
        return None
    if request.method not in {"GET", "HEAD"}:
        raise Problem("method_not_allowed", "use GET", headers=(("Allow", "GET"),))
    match request.path:
        case "/health":
            return json_response({"status": "ok"})
        case "/ready":
            return _ready(context)
        case "/metrics":
            text = context.figures.prometheus().encode()
            return Response(200, text, "text/plain; version=0.0.4; charset=utf-8")
        case "/openapi.json":
            return json_response(openapi_document(context.spec.me.url))
        case path:
            name, kind = ASSETS[path]
            data = resources.files("dataplane.gateways.rest").joinpath("assets", name).read_bytes()
            return Response(200, data, kind, list(_SECURITY))


def _ready(context: Context) -> Response:
    if context.cluster.ready:
        return json_response({"status": "ready"})
    problem = Problem("not_ready", "this node cannot serve linearizable requests now")
    return problem_response(problem, "/ready")
