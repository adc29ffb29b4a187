"""The documentation page, and the answer to unknown routes."""

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_GET

from portal.core.errors import NotFound


@require_GET
def page(request: HttpRequest) -> HttpResponse:
    """List every route, drawn from the OpenAPI document by a script of our own.

    Swagger UI and ReDoc style their elements inline, which our content security policy refuses.
    """
    return render(request, "api/docs.html")


@csrf_exempt
def unknown(request: HttpRequest, rest: str) -> HttpResponse:
    """Answer a route that does not exist as the API answers everything."""
    raise NotFound(f"There is no route /api/v1/{rest}.")
