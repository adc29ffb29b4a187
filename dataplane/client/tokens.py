"""Short-lived tokens of a cluster, for whoever holds the signing key of one of its issuers."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

LIFETIME_S: Final = 900
"""How long a token is good unless another time is asked for; nodes take at most an hour."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """What a token is to say."""

    cluster_id: str
    organization: str
    subject: str
    scopes: Sequence[str]
    collections: Sequence[str] = ("*",)
    lifetime_s: int = LIFETIME_S


def issuer_public_key(seed: bytes) -> str:
    """Return the hex public key that the cluster has to know as `hash` of the issuer."""
    return Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw().hex()


def sign_token(seed: bytes, grant: Grant, *, issuer_id: str, token_id: str, now_s: int) -> str:
    """Return a token under a new id, which is also what revokes it."""
    claims = {
        "sub": grant.subject,
        "org": grant.organization,
        "aud": grant.cluster_id,
        "jti": token_id,
        "iat": now_s,
        "exp": now_s + grant.lifetime_s,
        "scopes": list(grant.scopes),
        "collections": list(grant.collections),
    }
    key = Ed25519PrivateKey.from_private_bytes(seed)
    return jwt.encode(claims, key, algorithm="EdDSA", headers={"kid": issuer_id})
