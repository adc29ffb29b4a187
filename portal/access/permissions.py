"""The permissions of each role: the one table that says who may do what."""

from typing import Final

from portal.organizations.models import Role

OWNER, ADMIN, DEVELOPER, ANALYST, VIEWER = (
    Role.OWNER,
    Role.ADMIN,
    Role.DEVELOPER,
    Role.ANALYST,
    Role.VIEWER,
)

_VIEWER = frozenset({"clusters:read", "members:read", "usage:read", "operations:read"})
_ANALYST = _VIEWER | {"documents:read", "billing:read", "tokens:write"}
_DEVELOPER = _VIEWER | {
    "documents:read",
    "documents:write",
    "clusters:write",
    "keys:write",
    "tokens:write",
    "operations:cancel",
    "audit:read",
}
_ADMIN = _DEVELOPER | {
    "clusters:delete",
    "clusters:break",
    "members:write",
    "billing:read",
    "organization:write",
}
_OWNER = _ADMIN | {"organization:delete", "owners:write"}

PERMISSIONS: Final[dict[str, frozenset[str]]] = {
    Role.OWNER: frozenset(_OWNER),
    Role.ADMIN: frozenset(_ADMIN),
    Role.DEVELOPER: frozenset(_DEVELOPER),
    Role.ANALYST: frozenset(_ANALYST),
    Role.VIEWER: _VIEWER,
}
ALL_PERMISSIONS: Final = frozenset().union(*PERMISSIONS.values())

ROLE_WORDS: Final[dict[str, str]] = {
    Role.OWNER: "Everything, and who else is an owner.",
    Role.ADMIN: "Clusters, people and costs; not owners.",
    Role.DEVELOPER: "Creates and operates clusters, reads and writes documents.",
    Role.ANALYST: "Reads documents, usage and costs.",
    Role.VIEWER: "Sees clusters and usage, no documents.",
}
