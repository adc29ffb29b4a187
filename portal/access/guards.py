"""The guards that every page and every API route of an organization calls first."""

from typing import cast

from django.http import HttpRequest
from rest_framework.request import Request

from portal.access.permissions import ALL_PERMISSIONS
from portal.access.types import Access
from portal.core.errors import Forbidden, NotFound


def member(request: HttpRequest | Request) -> Access:
    """Return who acts where, whatever they may do there.

    Raises:
        NotFound: the request was not routed to an organization the caller belongs to.
    """
    access = cast("Access | None", getattr(request, "access", None))
    if access is None:
        raise NotFound
    return access


def require(request: HttpRequest | Request, permission: str) -> Access:
    """Return who acts where, once it is sure that they may.

    Raises:
        NotFound: the request was not routed to an organization the caller belongs to.
        Forbidden: the caller's role lacks the permission.
    """
    assert permission in ALL_PERMISSIONS, f"unknown permission {permission}"
    access = member(request)
    if permission not in access.permissions:
        raise Forbidden(permission=permission)
    return access
