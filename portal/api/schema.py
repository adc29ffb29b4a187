"""Which routes the OpenAPI document describes, and how callers sign in."""

from collections.abc import Sequence
from typing import Any, override

from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.openapi import AutoSchema

type Endpoint = tuple[str, str, str, Any]


def only_v1(endpoints: Sequence[Endpoint]) -> list[Endpoint]:
    """Leave out what is not part of the contract."""
    return [endpoint for endpoint in endpoints if endpoint[0].startswith("/api/v1/")]


class RequestUserScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]  # untyped base.
    """How the schema describes it."""

    target_class = "portal.access.authentication.RequestUserAuthentication"
    name = "token"

    @override
    def get_security_definition(self, auto_schema: AutoSchema) -> dict[str, str]:
        return {"type": "http", "scheme": "bearer", "bearerFormat": "aer_…"}
