"""Clusters in tests: the real supervisor, real nodes, the engine driven in this process."""

import pytest


@pytest.fixture
def access_of(acme):
    """Return a function that gives a member's access to Acme."""

    from portal.access.permissions import PERMISSIONS
    from portal.access.types import Access
    from portal.core.tenancy import public_context
    from portal.organizations.models import Membership

    def make(user) -> Access:
        with public_context():
            role = Membership.objects.get(user=user, organization=acme).role
        return Access(user, acme, role, PERMISSIONS[role])

    return make


@pytest.fixture
def tidy_nodes(supervisor):
    """Remove every node that a test left."""
    yield supervisor
    for unit in supervisor.units():
        if unit.name.startswith("node-"):
            supervisor.remove_unit(unit.name)
