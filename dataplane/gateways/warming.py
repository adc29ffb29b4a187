"""Cold documents for whoever reads or writes: bodies fetched from their segments, and put back."""

import asyncio
import contextlib
import time
from collections.abc import Iterable, Sequence
from typing import Final

from dataplane.documents.audit_commands import EraseStep
from dataplane.documents.audited import Place, touched
from dataplane.documents.cold import ColdReader
from dataplane.documents.commands import (
    Attributed,
    Get,
    MalformedOperationError,
    Op,
    Patch,
    Resolve,
    Update,
    Warm,
    decode_op,
    encode_op,
)
from dataplane.documents.conflicts import CONFLICTS
from dataplane.documents.stubs import cut, directory_of
from dataplane.documents.tables import HEADER_BYTES, decode_document_header
from dataplane.documents.values import unpack_document
from dataplane.documents.view import StateView
from dataplane.gateways.errors import Problem
from dataplane.gateways.fetches import Fetched, Fetches, Outcome
from dataplane.gateways.ports import Cluster
from dataplane.replication.errors import ReplicationError
from dataplane.wire.stubs import Stub, is_stub, stub_of

WARMED_BYTES: Final = 1024 * 1024
WARMED_COUNT: Final = 64
"""Of one request that puts bodies back."""
KEPT_MAX: Final = 16
"""Documents that wait to be put back because they were read."""
LOOKS_MAX: Final = 3
_NEEDING: Final = (Patch, Update, Get, Resolve, EraseStep)
"""What surely needs the bodies of all that it is about."""
_CHANGED: Final = "the document changed while its body was fetched; try again"


class Warming:
    """Fetches bodies for one gateway."""

    def __init__(
        self, cluster: Cluster, view: StateView, reader: ColdReader, *, timeout_ms: int
    ) -> None:
        self._cluster = cluster
        self._view = view
        self._reader = reader
        self._timeout_ms = timeout_ms
        self.fetches = Fetches()
        self._kept: dict[Place, Warm] = {}
        self._asked = asyncio.Event()

    async def segments(self, numbers: Iterable[int], told: Fetched) -> dict[int, bytes]:
        """Return segments by their numbers, without those that are no more; count them in `told`.

        Raises:
            NotReadyError: Too few members gave their fragments in time.
            OverloadedError: Too much is being fetched already.
        """
        found: dict[int, bytes] = {}
        failures: list[ReplicationError] = []

        async def fetch(number: int) -> None:
            try:
                segment = await self._fetch(number)
            except ReplicationError as error:
                failures.append(error)
            else:
                if segment is not None:
                    found[number] = segment

        began = time.perf_counter()
        async with asyncio.TaskGroup() as group:
            for number in dict.fromkeys(numbers):
                told.segments += 1
                segment = self._known(number)
                if segment is None:
                    told.fetched += 1
                    group.create_task(fetch(number))
                else:
                    found[number] = segment
        told.seconds += time.perf_counter() - began
        if failures:
            raise failures[0]
        return found

    async def _segment(self, number: int) -> bytes | None:
        known = self._known(number)
        return await self._fetch(number) if known is None else known

    def _known(self, number: int) -> bytes | None:
        segment = self._reader.known(number)
        if segment is not None:
            self.fetches.known()
        return segment

    async def _fetch(self, number: int) -> bytes | None:
        record, began = self._view.tiers.segment(number), time.perf_counter()
        outcome: Outcome = "failed"
        try:
            segment = await self._reader.fetch(number, timeout_ms=self._timeout_ms)
            outcome = "gone" if segment is None else "fetched"
            self.fetches.bytes += len(segment or b"")
        finally:
            tier = "distributed" if record is None else record.tier
            self.fetches.ended(outcome, tier, time.perf_counter() - began)
        return segment

    async def whole(self, place: Place, row: bytes | None, *, keep: bool = True) -> bytes | None:
        """Return a document row with its body; `keep` has it put back too, if there is room.

        Raises:
            Problem: `not_ready`: the document changed meanwhile.
            NotReadyError: Too few members gave their fragments in time.
            OverloadedError: Too much is being fetched already.
        """
        if row is None:
            return None
        version = decode_document_header(row)[0]
        for _ in range(LOOKS_MAX):
            stub = stub_of(row)
            if stub is None:
                return row
            body = await self._body(stub)
            if body is not None:
                if keep:
                    self._keep(place, Warm(*place, version, body))
                return row[:HEADER_BYTES] + body
            # Its segment is no more: the document was put back, or changed.
            present = self._view.row(*place)
            if present is None or decode_document_header(present)[0] != version:
                break
            row = present
        raise Problem("not_ready", _CHANGED)

    async def body_of(self, key: bytes, row: bytes) -> bytes:
        """Return the body of a cold document of an earlier moment, nothing when it is nowhere.

        Memory does not tell what is in no segment any more: it may have been erased.

        Raises:
            ReplicationError: It cannot be had now.
        """
        stub = stub_of(row)
        assert stub is not None
        is_there = self._view.tiers.segment(stub.segment) is not None
        body = await self._body(stub) if is_there else None
        if body is None:
            # It was put back since, and may still be what it was.
            present = self._view.row_at(key) or row
            body = b"" if is_stub(present) else present[HEADER_BYTES:]
        return body

    async def _body(self, stub: Stub) -> bytes | None:
        segment = await self._segment(stub.segment)
        return None if segment is None else cut(segment, stub)

    def _keep(self, place: Place, operation: Warm) -> None:
        """Have a document that was read put back, unless there is too much to do."""
        if len(self._kept) < KEPT_MAX:
            self._kept[place] = operation
            self._asked.set()

    async def run(self) -> None:
        """Put back what was read, for ever."""
        while True:
            await self._asked.wait()
            self._asked.clear()
            taken = dict(self._kept)
            # Whoever reads one of them again has the answer; the next one asks again.
            with contextlib.suppress(ReplicationError):
                for operation in taken.values():
                    await self._order([operation])
            for place in taken:
                del self._kept[place]

    async def _order(self, operations: Sequence[Warm]) -> None:
        await self._cluster.submit([*map(encode_op, operations)], timeout_ms=self._timeout_ms)

    # --- For operations that met stubs ----------------------------------------------------------

    async def warm(self, places: Iterable[Place], *, rests: bool = False) -> None:
        """Have the bodies of these documents put back, of those that are cold.

        Raises:
            ReplicationError: They could not be fetched, or the cluster did not take them.
        """
        part: list[Warm] = []
        size_bytes = 0
        for place in dict.fromkeys(places):
            row = self._view.row(*place)
            stub = None if row is None else stub_of(row)
            if row is None or stub is None:
                continue
            if part and (size_bytes + stub.length > WARMED_BYTES or len(part) == WARMED_COUNT):
                await self._order(part)
                part, size_bytes = [], 0
            body = await self._body(stub)
            if body is not None:
                version = decode_document_header(row)[0]
                part.append(Warm(*place, version, body, rests))
                size_bytes += len(body)
        if part:
            await self._order(part)

    async def warm_out(self, number: int) -> None:
        """Have whatever is left in a segment put back, to become cold again in another.

        Raises:
            ReplicationError: It could not be fetched, or the cluster did not take it.
        """
        record = self._view.tiers.segment(number)
        name = None if record is None else self._view.collection_name(record.collection)
        segment = None if name is None else await self._segment(number)
        if name is None or segment is None:
            return
        left: list[Place] = []
        for entry in directory_of(segment):
            row = self._view.row(name, entry.id)
            stub = None if row is None else stub_of(row)
            if stub is not None and stub.segment == number:
                left.append((name, entry.id))
        await self.warm(left, rests=True)

    async def warm_for(self, operations: Iterable[bytes]) -> None:
        """Have what encoded operations are about put back.

        Raises:
            ReplicationError: It could not be fetched, or the cluster did not take it.
        """
        await self._warm_for(map(_decoded, operations))

    async def warm_before(self, operations: Iterable[bytes]) -> None:
        """Have put back what encoded operations surely need, to spare them a turn in vain.

        Raises:
            ReplicationError: It could not be fetched, or the cluster did not take it.
        """
        decoded = map(_decoded, operations)
        await self._warm_for([each for each in decoded if isinstance(each, _NEEDING)])

    async def _warm_for(self, operations: Iterable[Op | None]) -> None:
        known = [operation for operation in operations if operation is not None]
        await self.warm([place for operation in known for place in self._places(operation)])

    def _places(self, operation: Op) -> list[Place]:
        if not isinstance(operation, Resolve):
            return touched(operation)
        record = self._view.row(CONFLICTS, operation.conflict)
        if record is None:
            return []
        return [(operation.collection, unpack_document(record[HEADER_BYTES:])["id"])]


def _decoded(encoded: bytes) -> Op | None:
    """Return an operation without whose it is, None for what the cluster will refuse."""
    try:
        decoded = decode_op(encoded)
    except MalformedOperationError:
        return None
    return decoded.operation if isinstance(decoded, Attributed) else decoded
