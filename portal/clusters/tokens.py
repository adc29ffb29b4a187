"""Short-lived tokens of a cluster for its members: minted here, checked by every node alone.

The portal holds one signing key per cluster. Its public half is a record of the cluster's
replicated state, which bounds what the tokens may do; replacing it is an ordered command.
"""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from django.db import transaction

from dataplane.client.client import Client
from dataplane.client.tokens import LIFETIME_S, Grant, issuer_public_key, sign_token
from portal.access.types import Access
from portal.audit.services import audit_record
from portal.clusters.asking import asking
from portal.clusters.connections import admin_client
from portal.clusters.models import Cluster
from portal.core import clock
from portal.core.crypto import seal, unseal
from portal.core.errors import Forbidden
from portal.core.tenancy import current_schema

LIFETIME_S_MIN: Final = 60
LIFETIME_S_MAX: Final = 3_600
TIMEOUT_S: Final = 4.0
SCOPE_OF_PERMISSION: Final = {
    "documents:read": "documents:read",
    "documents:write": "documents:write",
    "clusters:write": "collections:admin",
    "clusters:read": "cluster:read",
}
"""What a member's role lets a token do; none administers the cluster itself."""


@dataclass(frozen=True, slots=True)
class Minted:
    """A token as it is shown once."""

    token: str
    id: str
    scopes: tuple[str, ...]
    collections: tuple[str, ...]
    expires: datetime


def scopes_of(access: Access) -> tuple[str, ...]:
    """Return what a token of the caller may do at most."""
    return tuple(
        scope for permission, scope in SCOPE_OF_PERMISSION.items() if access.can(permission)
    )


def token_create(
    access: Access,
    cluster: Cluster,
    *,
    scopes: Sequence[str] = (),
    collections: Sequence[str] = ("*",),
    lifetime_s: int = LIFETIME_S,
) -> Minted:
    """Mint a token of the caller; without scopes it has all that the role allows.

    Raises:
        Forbidden: the role does not allow a scope.
        ClusterUnreachable: the cluster does not know the signing key yet, and no quorum takes it.
    """
    allowed = scopes_of(access)
    beyond = sorted(set(scopes) - set(allowed))
    if beyond:
        raise Forbidden(permission=beyond[0])
    chosen = tuple(scopes) or allowed
    if not cluster.token_issuer:
        cluster = issuer_rotate(access, cluster)
    now_s = int(clock.now().timestamp())
    token_id = secrets.token_hex(16)
    grant = Grant(
        cluster_id=cluster.data_plane_id,
        organization=current_schema(),
        subject=access.user.email[:128],
        scopes=chosen,
        collections=tuple(collections),
        lifetime_s=lifetime_s,
    )
    token = sign_token(
        unseal(bytes(cluster.token_seed)),
        grant,
        issuer_id=cluster.token_issuer,
        token_id=token_id,
        now_s=now_s,
    )
    after: dict[str, object] = {"token": token_id, "scopes": list(chosen)}
    _record(access, "token.created", cluster, after)
    expires = datetime.fromtimestamp(now_s + lifetime_s, UTC)
    return Minted(token, token_id, chosen, tuple(collections), expires)


def token_revoke(access: Access, cluster: Cluster, token_id: str) -> None:
    """Revoke a token on every node, for as long as any may last.

    Raises:
        Invalid: no token has such an id.
        ClusterUnreachable: no quorum took it, so the token still works.
    """
    until_ms = int((clock.now().timestamp() + LIFETIME_S_MAX) * 1000)
    record = {"name": "revoked token", "kind": "revocation", "hash": "0" * 64, "scopes": []}
    with asking("The token still works"), admin_client(cluster, timeout_s=TIMEOUT_S) as client:
        client.key_put(token_id, {**record, "expires_ms": until_ms})
    _record(access, "token.revoked", cluster, {"token": token_id})


def issuer_rotate(access: Access, cluster: Cluster) -> Cluster:
    """Sign with a new key from now on; the old one is good until its last token has expired.

    Should somebody else replace it meanwhile, theirs is the new one. Nothing is locked while the
    cluster is asked: a row of it would be kept from everybody for as long as nodes do not answer.

    Raises:
        ClusterUnreachable: no quorum took it, so nothing has changed.
    """
    cluster.refresh_from_db(fields=["token_issuer", "token_seed"])
    seed, issuer = secrets.token_bytes(32), secrets.token_hex(8)
    old, old_seed = cluster.token_issuer, bytes(cluster.token_seed)
    with (
        asking("The signing key was not replaced"),
        admin_client(cluster, timeout_s=TIMEOUT_S) as client,
    ):
        client.key_put(issuer, _issuer(issuer_public_key(seed)))
        if old:
            until_ms = int((clock.now().timestamp() + LIFETIME_S_MAX) * 1000)
            public = issuer_public_key(unseal(old_seed))
            client.key_put(old, {**_issuer(public), "expires_ms": until_ms})
        _forget_expired(client)
        if not _replaced(access, cluster, old=old, issuer=issuer, seed=seed):
            client.key_revoke(issuer)
    cluster.refresh_from_db(fields=["token_issuer", "token_seed"])
    return cluster


def _replaced(access: Access, cluster: Cluster, *, old: str, issuer: str, seed: bytes) -> bool:
    """Note the key that signs from now on, unless another one has taken the old one's place."""
    with transaction.atomic():
        rows = Cluster.objects.filter(pk=cluster.pk, token_issuer=old)
        if not rows.update(token_issuer=issuer, token_seed=seal(seed)):
            return False
        _record(access, "token_key.replaced", cluster, {"issuer": issuer})
    return True


def _issuer(public_key: str) -> dict[str, object]:
    scopes = sorted(SCOPE_OF_PERMISSION.values())
    return {"name": "portal tokens", "kind": "issuer", "hash": public_key, "scopes": scopes}


def _forget_expired(client: Client) -> None:
    now = clock.now()
    for record in client.keys():  # noqa: SIM118 - a call
        expires = record["expires"]
        if record["kind"] == "issuer" and expires and datetime.fromisoformat(expires) < now:
            client.key_revoke(record["id"])


def _record(access: Access, action: str, cluster: Cluster, after: dict[str, object]) -> None:
    audit_record(
        access_or_actor=access,
        action=action,
        target_type="cluster",
        target_id=cluster.pk,
        target_label=cluster.name,
        after=after,
    )
