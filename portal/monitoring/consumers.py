"""Live channels: the figures of a cluster each second, and the activity of an organization.

Access is checked at connect, at once when it changed, and before anything is delivered once the
last check is older than five seconds: a session or a grant that ends by the clock, or whose news
was lost, shows nothing newer than that.
A page that acknowledges frames is never sent more than ten ahead: newer figures replace waiting
ones. A client that does not acknowledge is bounded by the server's ping deadline instead.
"""

import asyncio
from abc import ABC, abstractmethod
from collections import deque
from typing import ClassVar, override
from uuid import UUID

import msgspec
from channels.db import database_sync_to_async
from channels.generic.websocket import AsyncWebsocketConsumer

from portal.access.live import access_for_scope
from portal.access.types import Access
from portal.clusters.models import Cluster
from portal.core.live import cluster_group, organization_group, person_group
from portal.core.tenancy import tenant_context
from portal.monitoring.constants import (
    CLIENT_FRAME_BYTES_MAX,
    CLIENT_FRAMES_PER_CHECK_MAX,
    CLOSE_FORBIDDEN,
    CLOSE_NOT_FOUND,
    CLOSE_SLOW,
    MEMBERSHIP_CHECK_S,
    UNACKNOWLEDGED_MAX,
)
from portal.monitoring.selectors import observation_get

WAITING_MAX = 50

type Event = dict[str, object]


class LiveConsumer(AsyncWebsocketConsumer, ABC):
    """What both live channels share: access, delivery and the handling of slow readers."""

    permission: ClassVar[str] = "clusters:read"

    slug: str
    joined: tuple[str, ...] = ()
    checked_at: float = 0.0
    received_count: int = 0
    is_acknowledging: bool = False
    unacknowledged: int = 0
    waiting: deque[Event]

    @override
    async def connect(self) -> None:
        self.waiting = deque(maxlen=WAITING_MAX)
        self.slug = self.scope["url_route"]["kwargs"]["slug"]
        # Only an accepted connection can carry a close code to the browser.
        await self.accept()
        access = await self._allowed()
        if access is None:
            return
        group = await self.group_for(access)
        if group is None:
            await self.close(CLOSE_NOT_FOUND)
            return
        self.joined = (person_group(access.user.pk), group)
        for name in self.joined:
            await self.channel_layer.group_add(name, self.channel_name)
        # From here on nothing is missed: a client may now load what came before.
        await self._deliver({"type": "hello"})
        for event in await self.greeting(access):
            await self._deliver(event)

    @override
    async def disconnect(self, code: int) -> None:
        for name in self.joined:
            await self.channel_layer.group_discard(name, self.channel_name)

    @override
    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        self.received_count += 1
        is_flood = self.received_count > CLIENT_FRAMES_PER_CHECK_MAX
        if text_data is None or len(text_data) > CLIENT_FRAME_BYTES_MAX or is_flood:
            await self.close(CLOSE_SLOW)
            return
        if "ack" in text_data:
            self.is_acknowledging = True
            self.unacknowledged = 0
            while self.waiting and self.unacknowledged < UNACKNOWLEDGED_MAX:
                await self._deliver(self.waiting.popleft())

    @property
    def cluster_id(self) -> UUID | None:
        """The cluster that this is about, if it is about one."""
        return None

    @abstractmethod
    async def group_for(self, access: Access) -> str | None:
        """Answer the group to join, or None when there is no such thing."""

    async def greeting(self, access: Access) -> list[Event]:
        """Answer what a new reader is told at once."""
        return []

    async def live_event(self, message: dict[str, Event]) -> None:
        """Take an event of the group (called by Channels)."""
        event = message["event"]
        if self._is_check_due() and await self._allowed() is None:
            return
        if self.is_acknowledging and self.unacknowledged >= UNACKNOWLEDGED_MAX:
            if event.get("type") == "metrics":
                kept = [known for known in self.waiting if known.get("type") != "metrics"]
                self.waiting = deque(kept, maxlen=WAITING_MAX)
            self.waiting.append(event)
            return
        await self._deliver(event)

    async def access_changed(self, message: dict[str, str]) -> None:
        """Look again whether the reader may see this (called by Channels)."""
        await self._allowed()

    async def _deliver(self, event: Event) -> None:
        """Send one event."""
        self.unacknowledged += 1
        await self.send(text_data=msgspec.json.encode(event).decode())

    def _is_check_due(self) -> bool:
        """Answer whether membership was last checked too long ago."""
        return asyncio.get_running_loop().time() - self.checked_at >= MEMBERSHIP_CHECK_S

    async def _allowed(self) -> Access | None:
        """Check membership and permission; close the connection when they are missing."""
        access = await access_for_scope(self.scope, self.slug)
        self.checked_at = asyncio.get_running_loop().time()
        self.received_count = 0
        if access is None:
            await self.close(CLOSE_NOT_FOUND)
            return None
        if self.cluster_id is not None and not access.sees(self.cluster_id):
            await self.close(CLOSE_NOT_FOUND)
            return None
        if not access.can_at(self.cluster_id, self.permission):
            await self.close(CLOSE_FORBIDDEN)
            return None
        return access


class ClusterConsumer(LiveConsumer):
    """Figures each second, node health and operation steps of one cluster."""

    @property
    @override
    def cluster_id(self) -> UUID | None:
        found: UUID = self.scope["url_route"]["kwargs"]["cluster_id"]
        return found

    @override
    async def group_for(self, access: Access) -> str | None:
        assert self.cluster_id is not None
        schema = access.organization.schema_name
        found = await database_sync_to_async(_cluster_exists)(schema, self.cluster_id)
        return cluster_group(self.cluster_id) if found else None

    @override
    async def greeting(self, access: Access) -> list[Event]:
        assert self.cluster_id is not None
        frame = await database_sync_to_async(_last_frame)(
            access.organization.schema_name, self.cluster_id
        )
        return [] if frame is None else [{**frame, "type": "last"}]


class OrganizationConsumer(LiveConsumer):
    """Activity of one organization, for those who may read it on its page."""

    permission = "audit:read"

    @override
    async def group_for(self, access: Access) -> str | None:
        return organization_group(access.organization.schema_name)


def _cluster_exists(schema: str, cluster_id: UUID) -> bool:
    """Look a cluster up in its own schema."""
    with tenant_context(schema):
        return Cluster.objects.filter(pk=cluster_id, purged_at=None).exists()


def _last_frame(schema: str, cluster_id: UUID) -> Event | None:
    """Read the newest stored frame."""
    with tenant_context(schema):
        observation = observation_get(cluster_id)
        return None if observation is None else dict(observation.frame)
