"""API keys of a cluster: `adk_<id>_<secret>`, known to the nodes by their hash alone."""

import hashlib
import secrets
from dataclasses import dataclass
from typing import Final

PREFIX: Final = "adk"
SCOPES: Final = (
    "documents:read",
    "documents:write",
    "collections:admin",
    "cluster:read",
    "audit:read",
    "cluster:admin",
)


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key just made; `token` is shown once and stored nowhere."""

    id: str
    token: str
    hash: str


def hash_token(token: str) -> str:
    """Return the hex SHA-256 of a token; its secret has 192 random bits, so no salt is needed."""
    return hashlib.sha256(token.encode()).hexdigest()


def new_api_key() -> NewKey:
    """Make a key."""
    key_id = secrets.token_hex(8)
    token = f"{PREFIX}_{key_id}_{secrets.token_urlsafe(24)}"
    return NewKey(key_id, token, hash_token(token))


def key_id_of(token: str) -> str | None:
    """Return the id inside a token, None when it is not of the form of one."""
    parts = token.split("_", 2)
    if len(parts) != 3 or parts[0] != PREFIX or not parts[1] or not parts[2]:
        return None
    return parts[1]
