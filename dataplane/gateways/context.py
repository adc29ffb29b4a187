"""What every handler works with."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Final

from dataplane.client.spec import NodeSpec
from dataplane.documents.cold import ColdReader
from dataplane.documents.execution import NOT_DONE
from dataplane.documents.stubs import COLD
from dataplane.gateways.admission import Admission
from dataplane.gateways.auditing import AuditReporter, attributed
from dataplane.gateways.calls import CallMeter
from dataplane.gateways.feeds import Feeds
from dataplane.gateways.ports import Cluster, Encryption, Figures, Reads, State
from dataplane.gateways.tracing import Spans
from dataplane.gateways.turns import Turns
from dataplane.gateways.warming import Warming
from dataplane.ports import Clock
from dataplane.query.observed import QueryLog
from dataplane.replication.errors import NotReadyError, OverloadedError, ReplicationError
from dataplane.replication.submissions import Submitted

SEQUENCE_HEADER: Final = "Aerolith-Sequence"
VIEW_HEADER: Final = "Aerolith-View"
EPOCH_HEADER: Final = "Aerolith-Epoch"
LAG_HEADER: Final = "Aerolith-Lag"
STALENESS_HEADER: Final = "Aerolith-Staleness-Ms"
STALE_HEADER: Final = "Aerolith-Stale"
COLD_ROUNDS_MAX: Final = 3
"""How often what met cold documents is ordered again: they may become cold, or others may."""
_AGAIN: Final = frozenset({NOT_DONE, COLD})


class Context:
    """The node behind the gateway."""

    def __init__(
        self,
        *,
        spec: NodeSpec,
        cluster: Cluster,
        reads: Reads,
        state: State,
        figures: Figures,
        clock: Clock,
        random_bytes: Callable[[int], bytes],
        sign: Callable[[bytes], bytes],
        encryption: Encryption,
        cold: ColdReader,
    ) -> None:
        self.spec = spec
        self.cluster = cluster
        self.reads = reads
        self.state = state
        self.figures = figures
        self.clock = clock
        self.sign = sign
        self.encryption = encryption
        self.meter = CallMeter(spec.node_id, state.view)
        self.admission = Admission(
            spec, state.view, self.meter, clock, members=lambda: cluster.config.n
        )
        self.reporter = AuditReporter(state.view, random_bytes)
        self.spans: Spans | None = None
        """Where sampled requests are told, if the specification names a place."""
        self.turns = Turns()
        self.queries = QueryLog()
        self.feeds = Feeds(state.view, is_sound=lambda: cluster.is_sound, now_ms=clock.now_ms)
        self.backups_running = 0
        self.timeout_ms = spec.limits.write_timeout_ms
        self.random_bytes = random_bytes
        self.cold = Warming(cluster, state.view, cold, timeout_ms=self.timeout_ms)

    async def submit(self, ops: Sequence[bytes], ids: Sequence[str] | None = None) -> Submitted:
        """Order operations within the node's time limit, in the name of whose request this is.

        Those that found their batch full are ordered again while there is time, unless a later one
        of the same document, by `ids`, was done meanwhile. So are those that met cold documents,
        once these were put back.

        Raises:
            ReplicationError: There is no certain result, or a cold document could not be fetched.
        """
        ops = attributed(ops, self.state.view.audit)
        ends_ms = self.clock.now_ms() + self.timeout_ms
        left_ms = self.timeout_ms
        if self.state.view.tiers.collections:
            await self._warmed(self.cold.warm_before(ops), left_ms)
            left_ms = max(1, ends_ms - self.clock.now_ms())
        submitted = await self.cluster.submit(ops, timeout_ms=left_ms)
        if NOT_DONE not in submitted.results and COLD not in submitted.results:
            return submitted
        return await self._again(ops, ids, submitted, ends_ms)

    async def _again(
        self, ops: Sequence[bytes], ids: Sequence[str] | None, first: Submitted, ends_ms: int
    ) -> Submitted:
        """Order again what was not done, as long as there is time."""
        results, sequence = list(first.results), first.sequence
        rounds = 0
        while (left_ms := ends_ms - self.clock.now_ms()) > 0:
            again = _not_done(results, ids)
            cold = [ops[index] for index in again if results[index] == COLD]
            rounds += bool(cold)
            if not again or rounds > COLD_ROUNDS_MAX:
                break
            if cold:
                try:
                    await self._warmed(self.cold.warm_for(cold), left_ms)
                except ReplicationError:
                    # Why is said unless something was done: then what was is said.
                    if len(again) == len(ops):
                        raise
                    break
                left_ms = max(1, ends_ms - self.clock.now_ms())
            try:
                submitted = await self.cluster.submit(
                    [ops[index] for index in again], timeout_ms=left_ms
                )
            except OverloadedError:
                break
            for index, result in zip(again, submitted.results, strict=True):
                results[index] = result
            sequence = max(sequence, submitted.sequence)
        return Submitted(tuple(results), sequence)

    @staticmethod
    async def _warmed(warming: Coroutine[object, object, None], left_ms: int) -> None:
        """Wait until cold documents are back.

        Raises:
            ReplicationError: They are not, or not in time; what is back by then stays.
        """
        try:
            async with asyncio.timeout(left_ms / 1000):
                await warming
        except TimeoutError as error:
            detail = (
                "the cold documents of the request could not all be put back in time; try again"
            )
            raise NotReadyError(detail) from error

    def require_room(self) -> None:
        """Refuse work that would wait in vain, before it is even parsed."""
        self.cluster.require_room(self.timeout_ms)

    def position(self, sequence: int) -> list[tuple[str, str]]:
        """Return the headers that say where in the log an answer stands."""
        return [
            (SEQUENCE_HEADER, str(sequence)),
            (VIEW_HEADER, str(self.cluster.view)),
            (EPOCH_HEADER, str(self.cluster.config.epoch)),
        ]

    def staleness(self, sequence: int | None = None) -> tuple[str, str]:
        """Return the header of a read of this node's own state, or of the one at `sequence`.

        It says how many sequences that is behind the newest that this node has heard of.
        """
        status = self.cluster.status()
        heads = [member.executed for member in status.members if member.executed is not None]
        read_at = status.sequence if sequence is None else sequence
        return (LAG_HEADER, str(max([status.sequence, *heads]) - read_at))

    def age(self) -> list[tuple[str, str]]:
        """Return the headers that say how old this node's contact with the cluster is.

        The lag cannot tell: a node that is cut off hears of nothing that it does not have.
        """
        watch, now_ms = self.cluster.watch, self.clock.now_ms()
        headers = [(STALENESS_HEADER, str(watch.staleness_ms(now_ms)))]
        if watch.is_stale(now_ms):
            headers.append((STALE_HEADER, "true"))
        return headers

    def new_id(self) -> str:
        """Return a new UUIDv7 (RFC 9562, section 5.7)."""
        value = int.from_bytes(
            self.clock.now_ms().to_bytes(6, "big") + self.random_bytes(10), "big"
        )
        value = value & ~(0xF << 76) | 0x7 << 76
        value = value & ~(0x3 << 62) | 0x2 << 62
        text = f"{value:032x}"
        return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def _not_done(results: list[bytes], ids: Sequence[str] | None) -> list[int]:
    """Return which operations to order again, in order."""
    if ids is None:
        return [index for index, result in enumerate(results) if result in _AGAIN]
    done: set[str] = set()
    again: list[int] = []
    for index in reversed(range(len(results))):
        if results[index] not in _AGAIN:
            done.add(ids[index])
        elif ids[index] not in done:
            again.append(index)
    return again[::-1]
