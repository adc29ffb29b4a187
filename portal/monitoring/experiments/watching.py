"""Watches every experiment that is not over: asks the nodes, probes, and passes on what is new."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

import httpx
import msgspec

from portal.clusters.chaos.recording import Happening
from portal.monitoring.answers import answer_read
from portal.monitoring.errors import UnexpectedAnswer
from portal.monitoring.experiments.findings import Ledger, happenings, leader_of, verdict_of
from portal.monitoring.experiments.probing import Probe, Tally
from portal.monitoring.experiments.types import (
    ExperimentTarget,
    NodeFigures,
    NodeRejections,
    NodeStanding,
    Seen,
)
from portal.monitoring.types import NodeAddress

logger = logging.getLogger(__name__)

FIND_EVERY_S: Final = 1.0
LOOK_EVERY_S: Final = 1.0
LOOK_TIMEOUT_S: Final = 1.5
WATCHED_MAX: Final = 20
PROBES_PER_LOOK: Final = 2

type Store = Callable[
    [ExperimentTarget, datetime, Mapping[str, object], Sequence[Happening]], Awaitable[None]
]


@dataclass(frozen=True, slots=True)
class WatchPorts:
    """What watching needs from the rest of the portal."""

    find: Callable[[], Awaitable[Sequence[ExperimentTarget]]]
    store: Store
    now: Callable[[], datetime]


class ExperimentWatcher:
    """Runs until `stopped`; one task for each experiment."""

    def __init__(self, ports: WatchPorts, http: httpx.AsyncClient) -> None:
        self._ports = ports
        self._http = http
        self._stopped = asyncio.Event()
        self._ended: dict[UUID, asyncio.Event] = {}

    def stop(self) -> None:
        """End all watches; `run` returns when they are done."""
        self._stopped.set()
        for ended in self._ended.values():
            ended.set()

    async def run(self) -> None:
        """Watch every experiment that is found, until stopped."""
        async with asyncio.TaskGroup() as group:
            while not self._stopped.is_set():
                try:
                    found = await self._ports.find()
                except Exception:  # The database may restart; watches go on.
                    logger.exception("experiments.not_found")
                else:
                    self._reconcile(group, found[:WATCHED_MAX])
                await wait(self._stopped, FIND_EVERY_S)

    def _reconcile(self, group: asyncio.TaskGroup, found: Sequence[ExperimentTarget]) -> None:
        wanted = {target.experiment_id: target for target in found}
        for experiment_id in [known for known in self._ended if known not in wanted]:
            self._ended.pop(experiment_id).set()
        for experiment_id, target in wanted.items():
            if experiment_id not in self._ended:
                ended = self._ended[experiment_id] = asyncio.Event()
                group.create_task(self._watch(target, ended), name=f"experiment-{experiment_id}")

    async def _watch(self, target: ExperimentTarget, ended: asyncio.Event) -> None:
        clock = asyncio.get_running_loop().time
        probe, ledger, due = Probe(target, self._http), Ledger(), clock()
        async with asyncio.TaskGroup() as group:
            while not ended.is_set():
                for _ in range(PROBES_PER_LOOK):
                    if probe.has_room:
                        group.create_task(_carefully(target, probe.once()))
                await _carefully(target, self._second(target, probe, ledger))
                due = max(due + LOOK_EVERY_S, clock())
                await wait(ended, due - clock())

    async def _second(self, target: ExperimentTarget, probe: Probe, ledger: Ledger) -> None:
        seen = await self.look(target)
        tally, notes = probe.take()
        news = [*happenings(target, seen, ledger), *notes]
        await self._ports.store(target, self._ports.now(), sample_of(target, seen, tally), news)

    async def look(self, target: ExperimentTarget) -> dict[int, Seen]:
        """Ask every node at once; those that do not answer in time are missing."""
        async with asyncio.TaskGroup() as group:
            tasks = {
                node.index: group.create_task(self._ask(target, node)) for node in target.nodes
            }
        answers = {index: task.result() for index, task in tasks.items()}
        return {index: seen for index, seen in answers.items() if seen is not None}

    async def _ask(self, target: ExperimentTarget, node: NodeAddress) -> Seen | None:
        try:
            async with asyncio.timeout(LOOK_TIMEOUT_S):
                figures = await self._get(target, node, "stats", NodeFigures)
                standing = await self._get(target, node, "nodes/status", NodeStanding)
                refused = await self._get(target, node, "nodes/rejections", NodeRejections)
        except (httpx.HTTPError, msgspec.MsgspecError, TimeoutError, UnexpectedAnswer):
            return None
        if node.index != figures.node_id or node.index != refused.node_id:
            return None
        return Seen(standing, refused, figures)

    async def _get[T](
        self, target: ExperimentTarget, node: NodeAddress, path: str, shape: type[T]
    ) -> T:
        url = f"{node.url}/api/v1/{path}"
        return msgspec.json.decode(await answer_read(self._http, url, target.token), type=shape)


def sample_of(
    target: ExperimentTarget, seen: Mapping[int, Seen], tally: Tally
) -> dict[str, object]:
    """Return the figures of a second."""
    honest = {index: one for index, one in seen.items() if index not in target.broken}
    leader, verdict = leader_of(honest), verdict_of(honest)
    return {
        "view": None if leader is None else leader[0],
        "primary": None if leader is None else leader[1],
        "probe": asdict(tally),
        "roots": {
            "sequence": None if verdict is None else verdict[0],
            "equal": None if verdict is None else verdict[1],
        },
        "nodes": [_node(target, node.index, seen.get(node.index)) for node in target.nodes],
    }


def _node(target: ExperimentTarget, index: int, one: Seen | None) -> dict[str, object]:
    row: dict[str, object] = {"id": index, "broken": target.broken.get(index)}
    if one is None:
        return {**row, "state": "silent"}
    standing = one.standing
    is_repairing = standing.diverged or standing.copying is not None
    state = "repairing" if is_repairing else "ready" if one.figures.ready else "not ready"
    return {
        **row,
        "state": state,
        "view": standing.view,
        "sequence": standing.sequence,
        "p95_ms": one.figures.latency_ms.p95,
        "refused": sum(counted.count for counted in one.rejections.counts),
    }


async def _carefully(target: ExperimentTarget, work: Coroutine[None, None, None]) -> None:
    """Do it; a failure must not end the watch."""
    try:
        await work
    except Exception:
        logger.exception("experiments.failed", extra={"cluster": str(target.cluster_id)})


async def wait(event: asyncio.Event, seconds: float) -> None:
    """Sleep until the event or the time, whichever is first."""
    try:
        async with asyncio.timeout(max(0.0, seconds)):
            await event.wait()
    except TimeoutError:
        return
