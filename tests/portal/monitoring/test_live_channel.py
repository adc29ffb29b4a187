"""The live channel: members hear their cluster, strangers learn nothing, leavers hear no more."""

from uuid import uuid4

import pytest
from asgiref.sync import sync_to_async
from channels.testing import WebsocketCommunicator
from django.conf import settings
from django.db import connections

from portal.access.bindings import Principal, binding_grant, binding_revoke
from portal.access.resolving import access_of
from portal.access.types import Scope
from portal.accounts.services import session_end
from portal.accounts.tokens import token_hash
from portal.clusters.models import Cluster
from portal.config.routing import websocket_application
from portal.core import clock
from portal.core.live import cluster_group, publish
from portal.core.tenancy import tenant_context
from portal.monitoring import consumers
from portal.organizations.models import Membership
from portal.organizations.selectors import membership_get
from portal.organizations.services import membership_remove

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
async def _fresh_connections():
    """Drop the worker thread's connection: the database of the last test is gone."""
    await sync_to_async(connections.close_all)()
    yield
    await sync_to_async(connections.close_all)()


@pytest.fixture
def cookie(client_for):
    def make(user):
        return client_for(user).cookies[settings.SESSION_COOKIE_NAME].value

    return make


@pytest.fixture
def people(transactional_db):
    from django.contrib.auth import get_user_model

    return {u.name.lower(): u for u in get_user_model().objects.all()}


@pytest.fixture
def cluster(transactional_db):
    from portal.organizations.models import Organization

    acme = Organization.objects.get(slug="acme")
    with tenant_context(acme.schema_name):
        return Cluster.objects.create(
            name="shop",
            plan="free",
            region="local",
            status="running",
            desired_nodes=1,
            data_plane_id="ab" * 16,
            created_by="alice@example.com",
            created_at=clock.now(),
        )


def connect(path, session=None):
    headers = [(b"host", b"testserver"), (b"origin", b"http://testserver")]
    if session is not None:
        headers.append((b"cookie", f"{settings.SESSION_COOKIE_NAME}={session}".encode()))
    return WebsocketCommunicator(websocket_application, path, headers=headers)


async def join(path, session):
    """Connect and wait until the channel listens."""
    live = connect(path, session)
    connected, _ = await live.connect()
    assert connected
    assert await live.receive_json_from(5) == {"type": "hello"}
    return live


async def closing_code(communicator):
    await communicator.connect()
    return await code_of(communicator)


async def code_of(communicator):
    """Wait for the end of the connection, which may take five seconds; nothing comes before it."""
    message = await communicator.receive_output(5)
    assert message["type"] == "websocket.close", message
    return message["code"]


def grant(people, cluster):
    owner = membership_get(user_id=people["alice"].pk, slug="acme")
    with tenant_context(owner.organization.schema_name):
        return binding_grant(
            access_of(people["alice"], owner),
            principal=Principal(people["bob"].pk),
            role="viewer",
            scope=Scope("cluster", str(cluster.pk)),
        ).pk


def revoke(people, binding_id):
    owner = membership_get(user_id=people["alice"].pk, slug="acme")
    with tenant_context(owner.organization.schema_name):
        binding_revoke(access_of(people["alice"], owner), binding_id=binding_id)


def remove(people):
    membership = Membership.objects.get(user=people["bob"])
    membership_remove(actor=people["alice"], membership=membership)


async def test_a_member_hears_the_cluster(people, cluster, cookie):
    session = await sync_to_async(cookie)(people["bob"])
    live = await join(f"/ws/orgs/acme/clusters/{cluster.pk}/", session)
    await live.send_to(text_data='{"type":"ack"}')
    event = {"type": "metrics", "sequence": 7}
    await sync_to_async(publish)(cluster_group(cluster.pk), event)
    assert await live.receive_json_from(5) == event
    await live.disconnect()


async def test_strangers_and_unknown_clusters_are_the_same(people, cluster, cookie):
    charlie = await sync_to_async(cookie)(people["charlie"])
    alice = await sync_to_async(cookie)(people["alice"])
    path = f"/ws/orgs/acme/clusters/{cluster.pk}/"
    assert await closing_code(connect(path, charlie)) == 4404
    assert await closing_code(connect(path)) == 4404
    assert await closing_code(connect("/ws/orgs/acme/", charlie)) == 4404
    unknown = f"/ws/orgs/acme/clusters/{uuid4()}/"
    assert await closing_code(connect(unknown, alice)) == 4404
    other = f"/ws/orgs/globex/clusters/{cluster.pk}/"
    assert await closing_code(connect(other, charlie)) == 4404


async def test_what_was_lost_unseen_is_noticed_before_the_next_figures(
    people, cluster, cookie, monkeypatch
):
    monkeypatch.setattr(consumers, "MEMBERSHIP_CHECK_S", 0)
    session = await sync_to_async(cookie)(people["bob"])
    live = await join(f"/ws/orgs/acme/clusters/{cluster.pk}/", session)
    await sync_to_async(Membership.objects.filter(user=people["bob"]).delete)()
    await sync_to_async(publish)(cluster_group(cluster.pk), {"type": "metrics"})
    assert await code_of(live) == 4404


@pytest.mark.parametrize("path", ["/ws/orgs/acme/", "/ws/orgs/acme/clusters/{cluster}/"])
async def test_a_removed_member_is_cut_off_at_once_though_nothing_happens(
    people, cluster, cookie, monkeypatch, path
):
    monkeypatch.setattr(consumers, "MEMBERSHIP_CHECK_S", 3600)
    session = await sync_to_async(cookie)(people["bob"])
    live = await join(path.format(cluster=cluster.pk), session)
    await sync_to_async(remove)(people)
    assert await code_of(live) == 4404


async def test_an_ended_session_is_cut_off_at_once_and_another_is_not(
    people, cluster, cookie, monkeypatch
):
    monkeypatch.setattr(consumers, "MEMBERSHIP_CHECK_S", 3600)
    path = f"/ws/orgs/acme/clusters/{cluster.pk}/"
    ended, kept = [await sync_to_async(cookie)(people["bob"]) for _ in range(2)]
    first, second = await join(path, ended), await join(path, kept)
    digest = token_hash(ended)[:32]
    assert await sync_to_async(session_end)(user=people["bob"], digest=digest)
    assert await code_of(first) == 4404
    await sync_to_async(publish)(cluster_group(cluster.pk), {"type": "metrics", "sequence": 1})
    assert await second.receive_json_from(5) == {"type": "metrics", "sequence": 1}
    await second.disconnect()


async def test_the_other_members_of_the_organization_go_on_hearing(
    people, cluster, cookie, monkeypatch
):
    monkeypatch.setattr(consumers, "MEMBERSHIP_CHECK_S", 3600)
    path = f"/ws/orgs/acme/clusters/{cluster.pk}/"
    alice, bob = [await sync_to_async(cookie)(people[name]) for name in ("alice", "bob")]
    stays, goes = await join(path, alice), await join(path, bob)
    await sync_to_async(remove)(people)
    assert await code_of(goes) == 4404
    await sync_to_async(publish)(cluster_group(cluster.pk), {"type": "metrics", "sequence": 1})
    assert await stays.receive_json_from(5) == {"type": "metrics", "sequence": 1}
    await stays.disconnect()


async def test_a_grant_on_a_cluster_opens_its_channel_until_it_is_revoked(
    people, cluster, cookie, monkeypatch
):
    monkeypatch.setattr(consumers, "MEMBERSHIP_CHECK_S", 3600)
    path = f"/ws/orgs/acme/clusters/{cluster.pk}/"
    await sync_to_async(Membership.objects.filter(user=people["bob"]).update)(role="member")
    session = await sync_to_async(cookie)(people["bob"])
    assert await closing_code(connect(path, session)) == 4404
    binding_id = await sync_to_async(grant)(people, cluster)
    live = await join(path, session)
    assert await closing_code(connect("/ws/orgs/acme/", session)) == 4403
    await sync_to_async(revoke)(people, binding_id)
    assert await code_of(live) == 4404


async def test_activity_is_for_those_who_may_read_it(people, cookie):
    await sync_to_async(Membership.objects.filter(user=people["bob"]).update)(role="viewer")
    session = await sync_to_async(cookie)(people["bob"])
    assert await closing_code(connect("/ws/orgs/acme/", session)) == 4403


async def test_a_slow_page_gets_the_newest_figures_only(people, cluster, cookie):
    session = await sync_to_async(cookie)(people["bob"])
    live = await join(f"/ws/orgs/acme/clusters/{cluster.pk}/", session)
    await live.send_to(text_data='{"type":"ack"}')
    for number in range(25):
        await sync_to_async(publish)(
            cluster_group(cluster.pk), {"type": "metrics", "sequence": number}
        )
    heard = [(await live.receive_json_from(5))["sequence"] for _ in range(10)]
    assert heard == list(range(10))
    assert await live.receive_nothing(0.3)
    await live.send_to(text_data='{"type":"ack"}')
    assert (await live.receive_json_from(5))["sequence"] == 24
    await live.disconnect()


async def test_a_flood_is_cut_off(people, cluster, cookie):
    session = await sync_to_async(cookie)(people["bob"])
    live = await join(f"/ws/orgs/acme/clusters/{cluster.pk}/", session)
    await live.send_to(text_data="x" * 2000)
    message = await live.receive_output(5)
    assert (message["type"], message["code"]) == ("websocket.close", 4008)
