"""What is resolved for a request, compared with the plainest reading of the grants."""

from datetime import timedelta
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from portal.access.bindings import GRANTABLE
from portal.access.models import ClusterLabel, RoleBinding, Team, TeamMember
from portal.access.permissions import PERMISSIONS
from portal.access.resolving import access_of
from portal.clusters.models import Cluster
from portal.core import clock
from portal.core.tenancy import tenant_context
from portal.organizations.models import Membership
from tests.portal.access.test_grants import cluster_row

pytestmark = pytest.mark.django_db


@pytest.fixture
def clusters(acme):
    with tenant_context(acme.schema_name):
        return [cluster_row(name) for name in ("shop", "bank")]


SCOPES = [("organization", ""), ("label", "a"), ("label", "b"), ("cluster", 0), ("cluster", 1)]
GRANTS = st.lists(
    st.tuples(
        st.sampled_from(["me", "mine", "other"]),
        st.sampled_from(GRANTABLE),
        st.sampled_from(SCOPES),
        st.sampled_from([None, -1, 1]),
    ),
    max_size=5,
    unique=True,
)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    role=st.sampled_from(["member", "viewer", "billing_admin"]),
    grants=GRANTS,
    labels=st.lists(st.sampled_from(["", "a", "b"]), min_size=2, max_size=2),
    token=st.sampled_from([None, frozenset({"clusters:read", "documents:read"})]),
)
def test_what_is_resolved_is_what_the_grants_say(role, grants, labels, token, acme, bob, clusters):
    """Compare with the plainest reading: a grant counts if it is mine, of now, and means this."""
    now = clock.now()
    with tenant_context(acme.schema_name):
        Team.objects.all().delete()
        RoleBinding.objects.all().delete()
        ClusterLabel.objects.all().delete()
        teams = {name: Team.objects.create(name=name, created_at=now) for name in ("mine", "other")}
        TeamMember.objects.create(team=teams["mine"], user_id=bob.pk, added_at=now)
        for cluster, label in zip(clusters, labels, strict=True):
            if label:
                ClusterLabel.objects.create(cluster_id=cluster.pk, label=label)
        seen = set()
        for who, granted, (kind, value), life in grants:
            place = str(clusters[value].pk) if kind == "cluster" else value
            if (who, granted, kind, place) in seen:
                continue
            seen.add((who, granted, kind, place))
            RoleBinding.objects.create(
                user_id=bob.pk if who == "me" else None,
                team=teams.get(who),
                role=granted,
                scope_kind=kind,
                scope=place,
                granted_by_id=bob.pk,
                granted_by_label="x",
                created_at=now,
                expires_at=None if life is None else now + timedelta(hours=life),
            )
        rows = list(RoleBinding.objects.select_related("team"))
        membership = Membership(user=bob, organization=acme, role=role)
        access = access_of(bob, membership)
        found = {one: access.permissions_at(one) for one in (None, *(c.pk for c in clusters))}
        narrowed = type(access)(bob, acme, role, PERMISSIONS[role], access.held, token)
    label_of = {cluster.pk: label for cluster, label in zip(clusters, labels, strict=True)}

    def counts(row, one: UUID | None):
        mine = row.user_id == bob.pk or (row.team is not None and row.team.name == "mine")
        place = {
            "organization": True,
            "label": one is not None and label_of[one] == row.scope,
            "cluster": one is not None and str(one) == row.scope,
        }[row.scope_kind]
        return mine and place and (row.expires_at is None or row.expires_at > now)

    for one, permissions in found.items():
        wanted = PERMISSIONS[role].union(
            *(PERMISSIONS[row.role] for row in rows if counts(row, one))
        )
        assert permissions == wanted
        assert narrowed.permissions_at(one) == (wanted if token is None else wanted & token)
    with tenant_context(acme.schema_name):
        filtered = access.clusters_visible()
        shown = Cluster.objects.all() if filtered is None else Cluster.objects.filter(filtered)
        assert {row.pk for row in shown} == {
            one for one, may in found.items() if one is not None and "clusters:read" in may
        }
