"""The JSON of the base routes."""

import json
from datetime import UTC, datetime

from portal.access.explaining import Explanation
from portal.access.models import CustomRole, Elevation, Invitation, RoleBinding, Team
from portal.access.permissions import ROLE_WORDS
from portal.access.roles import Change
from portal.access.types import Access, Held
from portal.accounts.models import AccessToken, User
from portal.audit.models import AuditEvent
from portal.core.spreadsheets import harmless
from portal.organizations.models import Membership, Role

type Json = dict[str, object]

EVENT_COLUMNS = [
    "id",
    "at",
    "actor",
    "actor_kind",
    "address",
    "action",
    "target_type",
    "target_id",
    "target",
    "before",
    "after",
    "request_id",
    "prev_hash",
    "hash",
]


def time_json(moment: datetime | None) -> str | None:
    """Write a moment by RFC 3339 in UTC."""
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z") if moment else None


def organization_json(access: Access) -> Json:
    """Describe an organization to a member."""
    organization = access.organization
    return {
        "id": str(organization.pk),
        "slug": organization.slug,
        "name": organization.name,
        "created": time_json(organization.created_at),
        "role": access.role,
        "permissions": sorted(access.everywhere),
        "grants": [held_json(held) for held in access.held],
    }


def held_json(held: Held) -> Json:
    """Describe a grant to whoever holds it."""
    return {
        "id": str(held.id),
        "role": held.role,
        "role_name": held.role_name,
        "scope": scope_json(held.scope.kind, held.scope.value),
        "team": held.team or None,
        "expires": time_json(held.expires_at),
    }


def scope_json(kind: str, value: str) -> Json:
    """Describe where a grant holds."""
    return {"kind": kind, "value": value or None}


def role_json(role: str, permissions: frozenset[str]) -> Json:
    """Describe a built-in role and what it may do."""
    return {
        "id": None,
        "role": role,
        "kind": "built_in",
        "name": Role(role).label,
        "description": ROLE_WORDS[role],
        "permissions": sorted(permissions),
    }


def custom_role_json(role: CustomRole) -> Json:
    """Describe a role of the organization's own; grants name it by its id."""
    return {
        "id": str(role.pk),
        "role": str(role.pk),
        "kind": "custom",
        "name": role.name,
        "description": role.description,
        "permissions": list(role.permissions),
    }


def change_json(change: Change) -> Json:
    """Describe what somebody would gain and lose."""
    return {
        "user": {"id": str(change.user.pk), "email": change.user.email},
        "scope": scope_json(change.scope.kind, change.scope.value),
        "gains": list(change.gains),
        "loses": list(change.loses),
    }


def explanation_json(found: Explanation) -> Json:
    """Describe why somebody may do something, or what is missing."""
    return {
        "allowed": found.is_allowed,
        "permission": found.permission,
        "cluster": str(found.cluster_id) if found.cluster_id is not None else None,
        "user": found.email,
        "role": found.role,
        "by_role": found.is_by_role,
        "grants": [held_json(held) for held in found.grants],
        "elsewhere": [held_json(held) for held in found.elsewhere],
        "left_out_by_token": found.is_narrowed,
        "roles_that_allow": list(found.remedies),
    }


def elevation_json(asked: Elevation) -> Json:
    """Describe a request for more."""
    return {
        "id": str(asked.pk),
        "user": {"id": str(asked.user_id), "email": asked.user_label},
        "role": asked.role,
        "role_name": asked.role_name,
        "scope": scope_json(asked.scope_kind, asked.scope),
        "minutes": asked.minutes,
        "reason": asked.reason,
        "state": asked.state,
        "requested": time_json(asked.requested_at),
        "decided": time_json(asked.decided_at),
        "decided_by": asked.decided_by_label or None,
        "ends": time_json(asked.binding.expires_at) if asked.binding is not None else None,
    }


def team_json(team: Team) -> Json:
    """Describe a team."""
    return {
        "id": str(team.pk),
        "name": team.name,
        "users": [str(row.user_id) for row in team.members.all()],
        "created": time_json(team.created_at),
    }


def binding_json(binding: RoleBinding) -> Json:
    """Describe a grant."""
    return {
        "id": str(binding.pk),
        "principal": {
            "user": str(binding.user_id) if binding.user_id is not None else None,
            "team": str(binding.team_id) if binding.team_id is not None else None,
        },
        "role": binding.role_code,
        "role_name": binding.role_name,
        "scope": scope_json(binding.scope_kind, binding.scope),
        "expires": time_json(binding.expires_at),
        "reason": binding.reason,
        "granted_by": binding.granted_by_label,
        "created": time_json(binding.created_at),
    }


def me_json(user: User, organizations: list[Access]) -> Json:
    """Describe the caller."""
    return {
        "id": str(user.pk),
        "email": user.email,
        "name": user.name,
        "organizations": [organization_json(access) for access in organizations],
    }


def member_json(membership: Membership) -> Json:
    """Describe a member."""
    return {
        "id": str(membership.pk),
        "user": {
            "id": str(membership.user_id),
            "email": membership.user.email,
            "name": membership.user.name,
        },
        "role": membership.role,
        "joined": time_json(membership.created_at),
    }


def invitation_json(invitation: Invitation) -> Json:
    """Describe an open invitation."""
    return {
        "id": str(invitation.pk),
        "email": invitation.email,
        "role": invitation.role,
        "teams": [str(team.pk) for team in invitation.teams.all()],
        "invited_by": invitation.invited_by_label,
        "created": time_json(invitation.created_at),
        "expires": time_json(invitation.expires_at),
    }


def token_json(token: AccessToken, secret: str | None = None) -> Json:
    """Describe a token; with the secret only in the answer to its creation."""
    body: Json = {
        "id": str(token.pk),
        "name": token.name,
        "prefix": token.prefix,
        "scopes": token.scopes,
        "created": time_json(token.created_at),
        "expires": time_json(token.expires_at),
        "last_used": time_json(token.last_used_at),
    }
    return body | {"secret": secret} if secret is not None else body


def event_json(event: AuditEvent) -> Json:
    """Describe an audit event with its place in the chain."""
    return {
        "id": str(event.event_id),
        "at": time_json(event.at),
        "actor": {
            "id": str(event.actor_id) if event.actor_id else None,
            "label": event.actor_label,
            "kind": event.actor_kind,
        },
        "address": event.address,
        "request_id": event.request_id,
        "action": event.action,
        "target": {
            "type": event.target_type,
            "id": event.target_id,
            "label": event.target_label,
        },
        "before": event.before,
        "after": event.after,
        "prev_hash": event.prev_hash,
        "hash": event.hash,
    }


def event_row(event: AuditEvent) -> list[str]:
    """Describe an audit event as a row under `EVENT_COLUMNS`."""
    row = [
        str(event.event_id),
        time_json(event.at) or "",
        event.actor_label,
        event.actor_kind,
        event.address or "",
        event.action,
        event.target_type,
        event.target_id,
        event.target_label,
        _facts(event.before),
        _facts(event.after),
        event.request_id,
        event.prev_hash,
        event.hash,
    ]
    return [harmless(cell) for cell in row]


def _facts(facts: Json | None) -> str:
    return "" if facts is None else json.dumps(facts, ensure_ascii=False, sort_keys=True)
