"""The permissions of each role: the one table that says who may do what."""

from typing import Final

from portal.organizations.models import Role

# Every permission there is, with what it allows, in the order of the published matrix.
PERMISSION_WORDS: Final[dict[str, str]] = {
    "clusters:read": "See clusters, their nodes, health and figures",
    "clusters:write": "Create, scale, restart and back up clusters",
    "clusters:delete": "Delete clusters, and replace their data",
    "clusters:break": "Break nodes of sandboxes on purpose",
    "operations:read": "See what is being done to clusters",
    "operations:cancel": "Cancel what is being done to clusters",
    "documents:read": "Read documents",
    "documents:write": "Write and import documents, indexes and schemas",
    "keys:write": "Create and revoke API keys of clusters",
    "usage:read": "See usage",
    "billing:read": "See costs",
    "tokens:write": "Make API tokens of one's own",
    "members:read": "See who belongs to the organization",
    "members:write": "Invite people, remove them and give roles",
    "roles:write": "Make and change roles of the organization's own",
    "owners:write": "Decide who is an owner",
    "audit:read": "See who did what",
    "organization:write": "Rename the organization, decide what clusters record",
}
ALL_PERMISSIONS: Final = frozenset(PERMISSION_WORDS)

_BILLING_ADMIN = frozenset({"members:read", "usage:read", "billing:read"})
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
    "roles:write",
    "billing:read",
    "organization:write",
}
_OWNER = _ADMIN | {"owners:write"}

PERMISSIONS: Final[dict[str, frozenset[str]]] = {
    Role.OWNER: frozenset(_OWNER),
    Role.ADMIN: frozenset(_ADMIN),
    Role.DEVELOPER: frozenset(_DEVELOPER),
    Role.ANALYST: frozenset(_ANALYST),
    Role.VIEWER: _VIEWER,
    Role.BILLING_ADMIN: _BILLING_ADMIN,
    Role.MEMBER: frozenset(),
}

ROLE_WORDS: Final[dict[str, str]] = {
    Role.OWNER: "Everything, and who else is an owner.",
    Role.ADMIN: "Clusters, people and costs; not owners.",
    Role.DEVELOPER: "Creates and operates clusters, reads and writes documents.",
    Role.ANALYST: "Reads documents, usage and costs.",
    Role.VIEWER: "Sees clusters and usage, no documents.",
    Role.BILLING_ADMIN: "Sees usage and costs, no clusters.",
    Role.MEMBER: "Nothing but what is granted on single clusters.",
}
