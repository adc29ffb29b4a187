"""The collector: asks every node for its figures each second and passes them on.

One watch per running cluster, made and ended as discovery finds clusters; a cluster whose nodes
hang or lie about their shape never slows another one, because every request has a deadline, the
number of requests at once is bounded, and each watch keeps its own rhythm.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from uuid import UUID

import httpx
import msgspec

from portal.monitoring.answers import answer_read
from portal.monitoring.constants import (
    BACKOFF_MAX_S,
    DISCOVERY_INTERVAL_S,
    MAINTENANCE_INTERVAL_S,
    POLL_CONCURRENCY_MAX,
    POLL_INTERVAL_S,
    POLL_TIMEOUT_S,
    SAMPLE_SECONDS,
)
from portal.monitoring.errors import UnexpectedAnswer
from portal.monitoring.figures import NodeTrack, make_frame
from portal.monitoring.types import Frame, NodeAddress, NodeStats, Target

logger = logging.getLogger(__name__)

_decoder = msgspec.json.Decoder(NodeStats)


@dataclass(frozen=True, slots=True)
class Ports:
    """What the collector needs from the rest of the portal."""

    discover: Callable[[], Awaitable[Sequence[Target]]]
    publish: Callable[[Target, Frame], Awaitable[None]]
    store: Callable[[Target, Sequence[Frame], datetime], Awaitable[None]]
    maintain: Callable[[], Awaitable[None]]
    now: Callable[[], datetime]


@dataclass(slots=True)
class _Poll:
    """The polling state of one node."""

    address: NodeAddress
    track: NodeTrack
    failures: int = 0
    next_at: float = 0.0


@dataclass(slots=True)
class _Watch:
    """One watched cluster and the switch that ends its watch."""

    target: Target
    polls: list[_Poll]
    ended: asyncio.Event = field(default_factory=asyncio.Event)


class Collector:
    """Runs until `stop`; all tasks live in one group, so that none is left behind."""

    def __init__(self, ports: Ports, http: httpx.AsyncClient) -> None:
        self._ports = ports
        self._http = http
        self._permits = asyncio.Semaphore(POLL_CONCURRENCY_MAX)
        self._stopped = asyncio.Event()
        self._watches: dict[UUID, _Watch] = {}

    @property
    def watched(self) -> frozenset[UUID]:
        """Answer which clusters are watched now."""
        return frozenset(self._watches)

    def stop(self) -> None:
        """End all watches; `run` returns when they are done."""
        self._stopped.set()
        for watch in self._watches.values():
            watch.ended.set()

    async def run(self) -> None:
        """Watch every cluster that discovery finds, until stopped."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._maintain())
            while not self._stopped.is_set():
                try:
                    targets = await self._ports.discover()
                except Exception:  # The database may restart; watches go on.
                    logger.exception("collector.discovery_failed")
                else:
                    self._reconcile(group, targets)
                await _wait(self._stopped, DISCOVERY_INTERVAL_S)

    def _reconcile(self, group: asyncio.TaskGroup, targets: Sequence[Target]) -> None:
        """Start watches of new clusters, restart changed ones, end those of vanished ones."""
        wanted = {target.cluster_id: target for target in targets}
        earlier: dict[UUID, list[_Poll]] = {}
        for cluster_id, watch in list(self._watches.items()):
            if wanted.get(cluster_id) != watch.target:
                watch.ended.set()
                earlier[cluster_id] = watch.polls
                del self._watches[cluster_id]
        now = asyncio.get_running_loop().time()
        for cluster_id, target in wanted.items():
            if cluster_id not in self._watches:
                watch = _Watch(target, _polls_of(target, earlier.get(cluster_id, []), now))
                self._watches[cluster_id] = watch
                group.create_task(self._run_watch(watch), name=f"watch-{cluster_id}")

    async def _run_watch(self, watch: _Watch) -> None:
        """Poll, publish and store one cluster each second."""
        clock = asyncio.get_running_loop().time
        frames: list[Frame] = []
        due = clock()
        while not watch.ended.is_set():
            try:
                await self._round(watch.target, watch.polls, frames)
            except Exception:  # A failed second must not end the watch.
                logger.exception(
                    "collector.round_failed", extra={"cluster": str(watch.target.cluster_id)}
                )
            # After a pause (a suspended machine) go on from now, never catch seconds up.
            due = max(due + POLL_INTERVAL_S, clock())
            await _wait(watch.ended, due - clock())

    async def _round(self, target: Target, polls: list[_Poll], frames: list[Frame]) -> None:
        """Do one second of one cluster."""
        loop = asyncio.get_running_loop()
        async with asyncio.TaskGroup() as group:
            for poll in polls:
                if poll.next_at <= loop.time():
                    group.create_task(self._poll(target, poll))
        at = self._ports.now()
        frame = make_frame(
            target.cluster_id, [poll.track for poll in polls], now=loop.time(), at=at
        )
        if frame is None:
            return
        await self._ports.publish(target, frame)
        frames.append(frame)
        if len(frames) >= SAMPLE_SECONDS or int(at.timestamp()) % SAMPLE_SECONDS == 0:
            kept, frames[:] = list(frames), []
            await self._ports.store(target, kept, at)

    async def _poll(self, target: Target, poll: _Poll) -> None:
        """Ask one node; after failures ask less often, up to every eight seconds."""
        loop = asyncio.get_running_loop()
        try:
            async with self._permits, asyncio.timeout(POLL_TIMEOUT_S):
                stats = await self._fetch(target, poll.address)
        except (httpx.HTTPError, msgspec.MsgspecError, TimeoutError, UnexpectedAnswer) as error:
            poll.failures += 1
            delay = min(POLL_INTERVAL_S * 2 ** (poll.failures - 1), BACKOFF_MAX_S)
            poll.next_at = loop.time() + (delay if poll.failures > 1 else 0.0)
            if poll.failures in {3, 30, 300}:
                logger.warning(
                    "collector.node_unreachable",
                    extra={
                        "cluster": str(target.cluster_id),
                        "node": poll.address.index,
                        "failures": poll.failures,
                        "reason": type(error).__name__,
                    },
                )
            return
        poll.failures = 0
        poll.next_at = 0.0
        poll.track.answered(stats, loop.time())

    async def _fetch(self, target: Target, address: NodeAddress) -> NodeStats:
        """Read a node's figures, refusing answers that are too big or speak for another node."""
        url = f"{address.url}/api/v1/stats"
        stats = _decoder.decode(await answer_read(self._http, url, target.token))
        if stats.node_id != address.index:
            raise UnexpectedAnswer(f"node {stats.node_id} answered for {address.index}")
        return stats

    async def _maintain(self) -> None:
        """Roll samples up and delete old ones, each minute."""
        while not self._stopped.is_set():
            try:
                await self._ports.maintain()
            except Exception:  # Housekeeping is made up by the next run.
                logger.exception("collector.maintenance_failed")
            await _wait(self._stopped, MAINTENANCE_INTERVAL_S)


def _polls_of(target: Target, earlier: Sequence[_Poll], now: float) -> list[_Poll]:
    """Begin to poll a target's nodes, going on with those that were polled already.

    When members change, the figures of those that stay must not begin anew.
    """
    known = {(poll.address.index, poll.address.url): poll for poll in earlier}
    polls = []
    for address in target.nodes:
        old = known.get((address.index, address.url))
        track = NodeTrack(address.index, started_at=now) if old is None else replace(old.track)
        track.is_learner = address.is_learner
        polls.append(_Poll(address, track))
    return polls


async def _wait(event: asyncio.Event, seconds: float) -> None:
    """Sleep until the event or the time, whichever is first."""
    if seconds <= 0:
        await asyncio.sleep(0)
        return
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()
