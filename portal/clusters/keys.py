"""API keys of a cluster: made and revoked inside it by consensus, remembered here."""

from collections.abc import Sequence
from datetime import datetime

import httpx
from django.db import transaction

from dataplane.client.errors import ApiError, ClientError
from dataplane.client.keys import SCOPES, new_api_key
from portal.access.types import Access
from portal.audit.services import audit_record
from portal.clusters.connections import admin_client
from portal.clusters.constants import KEYS_PER_CLUSTER_MAX
from portal.clusters.errors import ClusterUnreachable, UnableToChangeCluster
from portal.clusters.models import ApiKey, Cluster
from portal.core import clock
from portal.core.errors import Invalid

NAME_LENGTH_MAX = 64
COLLECTIONS_COUNT_MAX = 32
DEFAULT_SCOPES = ("documents:read", "documents:write", "collections:admin", "cluster:read")
TIMEOUT_S = 4.0
_NOT_FOUND = 404


def key_create(
    access: Access,
    cluster: Cluster,
    *,
    name: str,
    scopes: Sequence[str] = DEFAULT_SCOPES,
    collections: Sequence[str] = ("*",),
    expires_at: datetime | None = None,
) -> tuple[ApiKey, str]:
    """Make a key on every node, and return it with its secret; it works as soon as this returns.

    Raises:
        Invalid: name, scopes, collections or expiry are not acceptable.
        ClusterUnreachable: no quorum took it, so there is no key.
    """
    name = name.strip()
    _check(name, scopes, collections, expires_at)
    if ApiKey.objects.filter(cluster=cluster, revoked_at=None).count() >= KEYS_PER_CLUSTER_MAX:
        raise UnableToChangeCluster(
            f"A cluster has at most {KEYS_PER_CLUSTER_MAX} keys; revoke one first."
        )
    made = new_api_key()
    record = {
        "name": name,
        "hash": made.hash,
        "scopes": list(scopes),
        "collections": list(collections),
        "expires_ms": None if expires_at is None else int(expires_at.timestamp() * 1000),
    }
    try:
        with admin_client(cluster, timeout_s=TIMEOUT_S) as client:
            client.key_put(made.id, record)
    except ApiError as error:
        raise _refused(error) from error
    except (ClientError, httpx.HTTPError) as error:
        raise _unreachable("The key was not made") from error
    with transaction.atomic():
        key = ApiKey.objects.create(
            cluster=cluster,
            key_id=made.id,
            name=name,
            scopes=list(scopes),
            collections=list(collections),
            expires_at=expires_at,
            created_by=access.user.email,
            created_at=clock.now(),
        )
        after: dict[str, object] = {"key": made.id, "name": name, "scopes": list(scopes)}
        _record(access, "key.created", cluster, after)
    return key, made.token


def key_revoke(access: Access, cluster: Cluster, key: ApiKey) -> ApiKey:
    """Revoke a key on every node; a key that is revoked already stays so.

    Raises:
        ClusterUnreachable: no quorum took it, so the key still works.
    """
    try:
        with admin_client(cluster, timeout_s=TIMEOUT_S) as client:
            client.key_revoke(key.key_id)
    except ApiError as error:
        if error.status != _NOT_FOUND:
            raise _refused(error) from error
    except (ClientError, httpx.HTTPError) as error:
        raise _unreachable("The key still works") from error
    with transaction.atomic():
        if key.revoked_at is None:
            key.revoked_at = clock.now()
            key.save(update_fields=["revoked_at"])
            _record(access, "key.revoked", cluster, {"key": key.key_id, "name": key.name})
    return key


def _check(
    name: str, scopes: Sequence[str], collections: Sequence[str], expires_at: datetime | None
) -> None:
    errors: list[tuple[str, str]] = []
    if not 0 < len(name) <= NAME_LENGTH_MAX:
        errors.append(("/name", f"Give it a name of 1 to {NAME_LENGTH_MAX} characters."))
    unknown = sorted(set(scopes) - set(SCOPES))
    if unknown or not scopes:
        errors.append(("/scopes", f"Choose at least one of {', '.join(SCOPES)}."))
    if not 0 < len(collections) <= COLLECTIONS_COUNT_MAX:
        errors.append(("/collections", "Name 1 to 32 collections, or * for all."))
    if expires_at is not None and expires_at <= clock.now():
        errors.append(("/expires", "The time is past."))
    if errors:
        raise Invalid(errors=[{"pointer": p, "detail": d} for p, d in errors])


def _refused(error: ApiError) -> Exception:
    if error.code in {"no_quorum", "not_ready"}:
        return _unreachable("Nothing was changed")
    return Invalid(f"The cluster refused: {error.detail}", cluster_code=error.code)


def _unreachable(what: str) -> ClusterUnreachable:
    return ClusterUnreachable(
        f"{what}: no quorum of the cluster answers at the moment. Look at its nodes, then try "
        "again.",
        retry_after=5,
    )


def _record(access: Access, action: str, cluster: Cluster, after: dict[str, object]) -> None:
    audit_record(
        access_or_actor=access,
        action=action,
        target_type="cluster",
        target_id=cluster.pk,
        target_label=cluster.name,
        after=after,
    )
