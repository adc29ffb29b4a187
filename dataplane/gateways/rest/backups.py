"""Backups: the whole state under a root that a quorum signed, as a stream."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Collection, Iterator
from itertools import islice
from types import TracebackType
from typing import Final, NamedTuple, override

import zstandard

from dataplane.documents.backing_up import backup_records, has_stubs, with_bodies
from dataplane.documents.tables import META, decode_meta
from dataplane.gateways.auth import Caller
from dataplane.gateways.context import Context
from dataplane.gateways.errors import Problem
from dataplane.gateways.holding import hold
from dataplane.gateways.rest.http import Request, Response
from dataplane.gateways.rest.parsing import require_media_type
from dataplane.gateways.services.reads import of_checkpoint, require_sound
from dataplane.storage.ports import Snapshot
from dataplane.wire.backups import (
    FORMAT,
    KNOWN_BYTES,
    KNOWN_MAX,
    MAGIC,
    MEDIA_TYPE,
    AnyRecord,
    Head,
    Rows,
    encode_records,
)
from dataplane.wire.proofs import EPOCH_CHANGES_MAX, Certificate

KNOWN_TYPE: Final = "application/octet-stream"
NOW: Final = "now"
CHECKPOINT: Final = "checkpoint"
RUNNING_MAX: Final = 2
SLICE_RECORDS: Final = 12
SLICE_BYTES: Final = 64 * 1024
LEVEL: Final = 3
BACKUP_HEADER: Final = "Aerolith-Backup"
"""Sequence and root of the state that is sent."""


def require_all(caller: Caller) -> None:
    """Refuse a key that may not see, or replace, everything.

    Raises:
        Problem: `forbidden`.
    """
    caller.require("cluster:admin")
    if not caller.covers_all:
        raise Problem("forbidden", "a backup has every collection, and the key covers only some")


class Moment(NamedTuple):
    """A state that a quorum signed, and what a backup of it begins with."""

    snapshot: Snapshot
    head: Head
    let_go: Callable[[], None]


async def backup(context: Context, request: Request, caller: Caller) -> Response:
    """GET the state of now as a backup; POST with the digests of what is held already.

    With `at=checkpoint` it is the last state that a quorum certified anyway, which needs no other
    node: what was written after it is not in it.
    """
    require_all(caller)
    known = _known(request) if request.method == "POST" else frozenset[bytes]()
    at = request.query.get("at", NOW)
    if at not in {NOW, CHECKPOINT}:
        raise Problem("invalid", f"at takes {NOW} or {CHECKPOINT}")
    require_sound(context)
    _take_place(context)
    try:
        if at == CHECKPOINT:
            moment = _certified(context)
        else:
            await hold(context)
            moment = await _moment(context)
    except BaseException:
        context.backups_running -= 1
        raise
    certificate = moment.head.certificate
    where = f"{certificate.sequence} {certificate.root.hex()}"
    return Response(
        200,
        content_type=MEDIA_TYPE,
        headers=[(BACKUP_HEADER, where), *context.position(certificate.sequence)],
        chunks=_Sending(context, moment, known),
    )


def _known(request: Request) -> frozenset[bytes]:
    require_media_type(request, KNOWN_TYPE)
    body = request.body
    if len(body) % KNOWN_BYTES or len(body) > KNOWN_MAX * KNOWN_BYTES:
        raise Problem("invalid", f"up to {KNOWN_MAX} digests of {KNOWN_BYTES} bytes are expected")
    return frozenset(body[at : at + KNOWN_BYTES] for at in range(0, len(body), KNOWN_BYTES))


def _take_place(context: Context) -> None:
    if context.backups_running >= RUNNING_MAX:
        raise Problem("rate_limited", "the node is sending other backups; ask another, or wait")
    context.backups_running += 1


async def _moment(context: Context) -> Moment:
    """Have the state of now sealed, and keep it: all that was acknowledged before is in it."""
    epoch, view = context.cluster.config.epoch, context.state.view
    certificate, (snapshot, at_ms) = await context.reads.seal(
        lambda: (view.snapshot(), view.stats().now_ms), timeout_ms=context.timeout_ms
    )
    return Moment(snapshot, _head(context, epoch, certificate, at_ms), snapshot.release)


def _certified(context: Context) -> Moment:
    """Return the last stable checkpoint; it is held until it was sent."""
    views = context.reads.views
    held = views.borrow()
    if held is None:
        raise Problem("not_ready", "this node holds no certified checkpoint; ask another")
    checkpoint, snapshot = held
    meta = snapshot.get(META)
    assert meta is not None, "a state has its counters"
    certificate = of_checkpoint(checkpoint)
    head = _head(context, checkpoint.epoch, certificate, decode_meta(meta).now_ms)
    return Moment(snapshot, head, lambda: views.give_back(snapshot))


def _head(context: Context, epoch: int, certificate: Certificate, at_ms: int) -> Head:
    changes = context.cluster.epoch_changes[max(0, epoch - EPOCH_CHANGES_MAX) : epoch]
    return Head(FORMAT, context.spec.cluster_id, epoch, certificate, changes, at_ms)


class _Sending(AsyncGenerator[bytes]):
    """A backup on its way; closing it gives back its state and its place, begun or not."""

    def __init__(self, context: Context, moment: Moment, known: Collection[bytes]) -> None:
        self._context = context
        self._moment: Moment | None = moment
        self._parts = _parts(context, moment, known)

    @override
    async def asend(self, value: None) -> bytes:
        return await self._parts.asend(value)

    @override
    async def athrow(
        self,
        typ: type[BaseException] | BaseException,
        val: object = None,
        tb: TracebackType | None = None,
    ) -> bytes:
        return await self._parts.athrow(typ)

    @override
    async def aclose(self) -> None:
        await self._parts.aclose()
        if self._moment is not None:
            self._context.backups_running -= 1
            self._moment.let_go()
            self._moment = None


async def _parts(
    context: Context, moment: Moment, known: Collection[bytes]
) -> AsyncGenerator[bytes]:
    """Yield the file, a slice in each turn of the loop: the node serves others meanwhile."""
    compressor = zstandard.ZstdCompressor(level=LEVEL, write_checksum=True).compressobj()
    records = backup_records(moment.snapshot.get, known)
    yield MAGIC + compressor.compress(encode_records([moment.head]))
    while part := _slice(records):
        async for whole in _whole(context, part):
            data = compressor.compress(encode_records(whole))
            yield data + compressor.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK)
            await asyncio.sleep(0)
    yield compressor.flush()


async def _whole(context: Context, part: list[AnyRecord]) -> AsyncGenerator[list[AnyRecord]]:
    """Yield records with the bodies of cold documents.

    Raises:
        DamagedStateError: A body is nowhere any more: the backup breaks off, and is none.
        ReplicationError: Too few members gave their fragments in time: likewise.
    """
    plain: list[AnyRecord] = []
    for record in part:
        if not (isinstance(record, Rows) and has_stubs(record)):
            plain.append(record)
            continue
        if plain:
            yield plain
            plain = []
        async for piece in with_bodies(record, context.cold.body_of):
            yield [piece]
    if plain:
        yield plain


def _slice(records: Iterator[AnyRecord]) -> list[AnyRecord]:
    part: list[AnyRecord] = []
    size_bytes = 0
    for record in islice(records, SLICE_RECORDS):
        part.append(record)
        if isinstance(record, Rows):
            size_bytes += sum(len(key) + len(value) for key, value in record.rows)
        if size_bytes > SLICE_BYTES:
            break
    return part
