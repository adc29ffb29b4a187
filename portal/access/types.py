"""What a request may do in the organization it addresses, and where in it."""

import re
from collections.abc import Iterable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final
from uuid import UUID

from django.db.models import Q

from portal.accounts.models import User
from portal.organizations.models import Organization, Role

LABEL_PATTERN: Final = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,38}[a-z0-9])?")
EVERYWHERE: Final = "organization"
LABEL: Final = "label"
CLUSTER: Final = "cluster"


@dataclass(frozen=True, slots=True)
class Scope:
    """Where a grant holds: everywhere in the organization, or on some of its clusters."""

    kind: str = EVERYWHERE
    value: str = ""


@dataclass(frozen=True, slots=True)
class Held:
    """A grant that a person holds, directly or by a team."""

    id: UUID
    scope: Scope
    role: str
    role_name: str
    permissions: AbstractSet[str]
    # The clusters that the scope means now; None for all, those included that there will be.
    cluster_ids: AbstractSet[UUID] | None
    team: str = ""
    expires_at: datetime | None = None

    def covers(self, cluster_id: UUID | None) -> bool:
        """Tell whether the grant holds on the cluster, or everywhere if none is named."""
        return self.cluster_ids is None or cluster_id in self.cluster_ids


@dataclass(frozen=True, slots=True)
class Access:
    """A member, with what they may do here: everywhere, or on the cluster that is addressed.

    Grants only ever add. A token narrows whatever its owner holds to its own scopes.
    """

    user: User
    organization: Organization
    role: str
    role_permissions: AbstractSet[str]
    held: tuple[Held, ...] = ()
    token_scopes: AbstractSet[str] | None = None
    cluster_id: UUID | None = None

    @property
    def role_name(self) -> str:
        """The role as people call it."""
        return Role(self.role).label

    @property
    def permissions(self) -> AbstractSet[str]:
        """What may be done here."""
        return self.permissions_at(self.cluster_id)

    @property
    def everywhere(self) -> AbstractSet[str]:
        """What may be done in the whole organization."""
        return self.permissions_at(None)

    @property
    def somewhere(self) -> AbstractSet[str]:
        """What may be done on one cluster at least."""
        return self._narrowed(held.permissions for held in self.held)

    def can(self, permission: str) -> bool:
        """Tell whether the permission is held here."""
        return permission in self.permissions

    def at(self, cluster_id: UUID | None) -> "Access":
        """Return the same member's access to one cluster."""
        return replace(self, cluster_id=cluster_id)

    def permissions_at(self, cluster_id: UUID | None) -> AbstractSet[str]:
        """Return what may be done on a cluster; on none in particular: everywhere."""
        return self._narrowed(held.permissions for held in self.held if held.covers(cluster_id))

    def sees(self, cluster_id: UUID) -> bool:
        """Tell whether the person, whatever their token, may know that there is this cluster."""
        return replace(self, token_scopes=None).can_at(cluster_id, "clusters:read")

    def can_at(self, cluster_id: UUID | None, permission: str) -> bool:
        """Tell whether the permission is held on a cluster."""
        return permission in self.permissions_at(cluster_id)

    def clusters_visible(self, field: str = "pk", permission: str = "clusters:read") -> Q | None:
        """Return where a permission is held, by the field that has a cluster's id; None means all.

        Only among the clusters that the person may know of, as for a path that names one.
        """
        if self._lists(None, permission):
            return None
        keys = {key for held in self.held for key in held.cluster_ids or ()}
        return Q(**{f"{field}__in": {key for key in keys if self._lists(key, permission)}})

    def _lists(self, cluster_id: UUID | None, permission: str) -> bool:
        person = replace(self, token_scopes=None)
        is_known = person.can_at(cluster_id, "clusters:read")
        return is_known and self.can_at(cluster_id, permission)

    def _narrowed(self, granted: Iterable[AbstractSet[str]]) -> AbstractSet[str]:
        found = frozenset(self.role_permissions).union(*granted)
        return found if self.token_scopes is None else found & self.token_scopes
