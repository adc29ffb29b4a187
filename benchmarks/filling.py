"""Filling a cluster with any number of documents: a few requests under way, none of it in memory.

What the cluster does not take now is sent again, for minutes if need be: a put under an id may be
repeated, so a long run does not end because nodes elect a primary, or a machine is busy.
"""

import asyncio
import time
from collections.abc import Iterable, Iterator
from itertools import batched
from typing import Any, Final

from benchmarks.clusters import tell
from benchmarks.processes import resident_bytes
from dataplane.client import AsyncClient
from dataplane.client.errors import ApiError, ClusterUnreachableError
from dataplane.client.local import LocalCluster

BULK: Final = 500
UNDER_WAY: Final = 4
REPEAT_S: Final = 1.0
REPEATS: Final = 120
TOLD_EVERY: Final = 100_000

type Row = tuple[str, dict[str, Any]]


def fill(cluster: LocalCluster, name: str, rows: Iterable[Row]) -> float:
    """Put documents, 500 a request; return the seconds it took.

    Raises:
        RuntimeError: The cluster refused a document.
        ClusterUnreachableError, ApiError: It took nothing for minutes.
    """
    return asyncio.run(_Filling(cluster, name).run(rows))


class _Filling:
    """One collection that is filled."""

    def __init__(self, cluster: LocalCluster, name: str) -> None:
        self._cluster = cluster
        self._name = name
        self._done = 0
        self._told = 0
        self._told_at = self._began = time.perf_counter()

    async def run(self, rows: Iterable[Row]) -> float:
        """Put all rows."""
        parts = batched(rows, BULK)
        async with (
            AsyncClient(self._cluster.urls, self._cluster.api_key) as client,
            asyncio.TaskGroup() as group,
        ):
            for _ in range(UNDER_WAY):
                group.create_task(self._work(client, parts))
        return time.perf_counter() - self._began

    async def _work(self, client: AsyncClient, parts: Iterator[tuple[Row, ...]]) -> None:
        for part in parts:
            operations = [{"op": "put", "id": key, "document": body} for key, body in part]
            results = await self._put(client, operations)
            failed = [result for result in results if result["status"] >= 400]
            if failed:
                raise RuntimeError(f"a document was refused: {failed[0]}")
            self._done += len(part)
            self._tell()

    async def _put(
        self, client: AsyncClient, operations: list[dict[str, Any]]
    ) -> list[dict[str, Any]]:
        for _ in range(REPEATS):
            try:
                return await client.bulk(self._name, operations)
            except (ApiError, ClusterUnreachableError) as error:
                if isinstance(error, ApiError) and not error.is_passing:
                    raise
            await asyncio.sleep(REPEAT_S)
        return await client.bulk(self._name, operations)

    def _tell(self) -> None:
        """Say from time to time how far it is, how fast, and what nodes need for it."""
        if self._done // TOLD_EVERY == self._told // TOLD_EVERY:
            return
        now, nodes = time.perf_counter(), len(self._cluster.pids)
        rate = (self._done - self._told) / (now - self._told_at)
        resident = resident_bytes(self._cluster) / nodes / 1e6
        tell(f"  ... {self._done:,} documents, {rate:,.0f}/s, a node resident {resident:.0f} MB")
        self._told, self._told_at = self._done, now
