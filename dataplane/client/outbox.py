"""An outbox: changes are queued on disk and sent to the cluster when it can be reached.

Each operation carries what it was based on, so that it is done only if nobody else changed the
document meanwhile, or as the collection's conflict policy says; one that is refused for a conflict
is kept by the cluster in `_conflicts`. Operations are sent one at a time in the order they were
queued, each under its own idempotency key: the death of this process at any point, a repetition
and another node change nothing about each being done once.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Self

from dataplane.client.aio import AsyncClient
from dataplane.client.client import Client
from dataplane.client.errors import ApiError, ClientError, ClusterUnreachableError, OutboxError
from dataplane.client.outbox_store import BYTES_MAX, OPERATIONS_MAX, OutboxStore, Queued
from dataplane.client.refusals import refusal_of
from dataplane.ports import SystemClock

RESEND_MS: Final = 23 * 3_600_000
"""The cluster remembers idempotency keys for 24 hours; later a repetition might be done twice."""
_WAIT_CODES: Final = frozenset(
    {"no_quorum", "not_ready", "rate_limited", "quota_exceeded", "unauthenticated", "timeout"}
)
_OWN_NAMES: Final = ("_id", "_version", "_created", "_updated", "_proof")

type Json = Mapping[str, Any]


@dataclass(slots=True)
class FlushReport:
    """What one flush achieved; `stopped` says why it ended before the outbox was empty."""

    done: int = 0
    conflicts: list[str] = field(default_factory=list)
    """Ids in `_conflicts`."""
    refused: list[int] = field(default_factory=list)
    """Numbers of operations that now wait in `failures`."""
    stopped: ClientError | None = None


class _Queue:
    """What both outboxes share: queueing, and what to make of answers."""

    def __init__(
        self,
        path: str | Path,
        *,
        operations_max: int = OPERATIONS_MAX,
        bytes_max: int = BYTES_MAX,
        now_ms: Callable[[], int] | None = None,
    ) -> None:
        self._now_ms = now_ms or SystemClock().now_ms
        self.store = OutboxStore(
            Path(path), self._now_ms, operations_max=operations_max, bytes_max=bytes_max
        )

    def _put(self, place: tuple[str, str], document: Json, base: Json | None) -> int:
        value = {name: item for name, item in document.items() if name not in _OWN_NAMES}
        return self.store.add(place, "put", value, _base(base), conditional=True)

    def _patch(self, place: tuple[str, str], change: Json, base: Json | None) -> int:
        self._require(place, base, "patch")
        return self.store.add(place, "patch", dict(change), _base(base), conditional=True)

    def _update(self, place: tuple[str, str], operators: Json, base: Json | None) -> int:
        conditional = base is not None
        return self.store.add(
            place, "update", dict(operators), _base(base), conditional=conditional
        )

    def _delete(self, place: tuple[str, str], base: Json | None) -> int:
        self._require(place, base, "delete")
        return self.store.add(place, "delete", None, _base(base), conditional=True)

    def _require(self, place: tuple[str, str], base: Json | None, op: str) -> None:
        if base is None and not any(
            (queued.collection, queued.document_id) == place for queued in self.store.waiting()
        ):
            raise OutboxError(f"{op} needs the document as it was read, or a queued change of it")

    def _next(self, report: FlushReport) -> Queued | None:
        """Return the next operation to send; set aside what is too old to be sent again."""
        now_ms = self._now_ms()
        while (queued := self.store.head(now_ms)) is not None:
            if queued.sent_ms is None or now_ms - queued.sent_ms < RESEND_MS:
                return queued
            detail = "sent more than 23 hours ago without an answer; look before sending it again"
            self.store.refused(queued, "outcome_unknown", detail)
            report.refused.append(queued.number)
        return None

    def _answered(self, queued: Queued, result: dict[str, Any], report: FlushReport) -> None:
        status = int(result["status"])
        if status < 300:
            document = result.get("document", queued.value if queued.op == "put" else None)
            if self.store.done(queued, result.get("version"), document):
                report.done += 1
        elif "conflict" in result:
            if self.store.conflicted(queued):
                report.conflicts.append(str(result["conflict"]))
        else:
            error = refusal_of(status, str(result["code"]), str(result["detail"]), result)
            self._failed(queued, error, report)

    def _failed(self, queued: Queued, error: ClientError, report: FlushReport) -> None:
        waits = isinstance(error, ClusterUnreachableError) or (
            isinstance(error, ApiError) and (error.status >= 500 or error.code in _WAIT_CODES)
        )
        if waits or not isinstance(error, ApiError):
            report.stopped = error
            return
        self.store.refused(queued, error.code, error.detail)
        report.refused.append(queued.number)


class Outbox(_Queue):
    """The blocking outbox; use it as a context manager.

    `base` is always the document as it was read (or as queued changes left it, when there are
    any: then it is not needed). Queueing raises `OutboxFullError` at a limit.
    """

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; what is queued stays."""
        self.store.close()

    def put(
        self, collection: str, document_id: str, document: Json, *, base: Json | None = None
    ) -> int:
        """Queue creating or replacing a document; without a base it must not exist."""
        return self._put((collection, document_id), document, base)

    def patch(
        self, collection: str, document_id: str, change: Json, *, base: Json | None = None
    ) -> int:
        """Queue merging a patch into a document."""
        return self._patch((collection, document_id), change, base)

    def update(
        self, collection: str, document_id: str, operators: Json, *, base: Json | None = None
    ) -> int:
        """Queue update operators; without a base they apply to whatever is there then."""
        return self._update((collection, document_id), operators, base)

    def delete(self, collection: str, document_id: str, *, base: Json | None = None) -> int:
        """Queue deleting a document."""
        return self._delete((collection, document_id), base)

    def waiting(self) -> list[Queued]:
        """Return what is to be sent, in order."""
        return self.store.waiting()

    def failures(self) -> list[Queued]:
        """Return what was refused for good: see `retry` and `discard`."""
        return self.store.failures()

    def retry(self, number: int) -> bool:
        """Send a refused operation again at the next flush; say whether there is such a one."""
        return self.store.requeue(number)

    def discard(self, number: int) -> bool:
        """Forget a refused operation; say whether there was such a one."""
        return self.store.discard(number)

    def flush(self, client: Client) -> FlushReport:
        """Send what is queued, in order, until the outbox is empty or the cluster is away."""
        report = FlushReport()
        while report.stopped is None and (queued := self._next(report)) is not None:
            try:
                (result,) = client.bulk(
                    queued.collection, [queued.operation()], idempotency_key=queued.key
                )
            except ClientError as error:
                self._failed(queued, error, report)
            else:
                self._answered(queued, result, report)
        return report


class AsyncOutbox(_Queue):
    """The asyncio outbox: the same calls and the same file; the disk is waited for in threads."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the file; what is queued stays."""
        await asyncio.to_thread(self.store.close)

    async def put(
        self, collection: str, document_id: str, document: Json, *, base: Json | None = None
    ) -> int:
        """Queue creating or replacing a document; without a base it must not exist."""
        return await asyncio.to_thread(self._put, (collection, document_id), document, base)

    async def patch(
        self, collection: str, document_id: str, change: Json, *, base: Json | None = None
    ) -> int:
        """Queue merging a patch into a document."""
        return await asyncio.to_thread(self._patch, (collection, document_id), change, base)

    async def update(
        self, collection: str, document_id: str, operators: Json, *, base: Json | None = None
    ) -> int:
        """Queue update operators; without a base they apply to whatever is there then."""
        return await asyncio.to_thread(self._update, (collection, document_id), operators, base)

    async def delete(self, collection: str, document_id: str, *, base: Json | None = None) -> int:
        """Queue deleting a document."""
        return await asyncio.to_thread(self._delete, (collection, document_id), base)

    async def waiting(self) -> list[Queued]:
        """Return what is to be sent, in order."""
        return await asyncio.to_thread(self.store.waiting)

    async def failures(self) -> list[Queued]:
        """Return what was refused for good: see `retry` and `discard`."""
        return await asyncio.to_thread(self.store.failures)

    async def retry(self, number: int) -> bool:
        """Send a refused operation again at the next flush; say whether there is such a one."""
        return await asyncio.to_thread(self.store.requeue, number)

    async def discard(self, number: int) -> bool:
        """Forget a refused operation; say whether there was such a one."""
        return await asyncio.to_thread(self.store.discard, number)

    async def flush(self, client: AsyncClient) -> FlushReport:
        """Send what is queued, in order, until the outbox is empty or the cluster is away."""
        report = FlushReport()
        while report.stopped is None:
            queued = await asyncio.to_thread(self._next, report)
            if queued is None:
                break
            try:
                (result,) = await client.bulk(
                    queued.collection, [queued.operation()], idempotency_key=queued.key
                )
            except ClientError as error:
                await asyncio.to_thread(self._failed, queued, error, report)
            else:
                await asyncio.to_thread(self._answered, queued, result, report)
        return report


def _base(base: Json | None) -> dict[str, Any] | None:
    if base is None:
        return None
    if not isinstance(base.get("_version"), int):
        raise OutboxError("a base is the document as it was read, with its _version")
    return dict(base)
