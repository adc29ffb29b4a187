"""The guards that every page and every API route of an organization calls first.

A path that names a cluster asks what the caller may do on that cluster; any other asks what they
may do everywhere in the organization.
"""

from typing import cast
from uuid import UUID

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
    """Return who acts where, once it is sure that they may, on the cluster that the path names.

    Raises:
        NotFound: the request was not routed to an organization the caller belongs to, or the
            caller may not know that there is this cluster.
        Forbidden: the caller lacks the permission.
    """
    return require_at(request, permission, _cluster_of(request))


def require_at(request: HttpRequest | Request, permission: str, cluster_id: UUID | None) -> Access:
    """Do the same for a cluster that the path does not name; None means everywhere.

    Raises:
        NotFound, Forbidden: as for `require`.
    """
    access = _checked(request, permission)
    if cluster_id is not None and not access.sees(cluster_id):
        raise NotFound("There is no such cluster.")
    here = access.at(cluster_id)
    if permission not in here.permissions:
        raise Forbidden(permission=permission)
    # Templates and what is stored under an Idempotency-Key ask for the same.
    plain: HttpRequest = getattr(request, "_request", request)
    plain.access = here  # type: ignore[attr-defined]  # ours to add.
    return here


def require_everywhere(request: HttpRequest | Request, permission: str) -> Access:
    """Return who acts, once it is sure that they hold the permission in the whole organization.

    Raises:
        NotFound, Forbidden: as for `require`.
    """
    return require_at(request, permission, None)


def require_somewhere(request: HttpRequest | Request, permission: str) -> Access:
    """Return who acts, if they hold the permission on one cluster at least.

    Lists ask this, and show what `Access.clusters_visible` leaves.

    Raises:
        NotFound, Forbidden: as for `require`.
    """
    access = _checked(request, permission)
    if permission not in access.somewhere:
        raise Forbidden(permission=permission)
    return access


def _checked(request: HttpRequest | Request, permission: str) -> Access:
    assert permission in ALL_PERMISSIONS, f"unknown permission {permission}"
    return member(request)


def _cluster_of(request: HttpRequest | Request) -> UUID | None:
    match = request.resolver_match
    found = match.kwargs.get("cluster_id") if match is not None else None
    return found if isinstance(found, UUID) else None
