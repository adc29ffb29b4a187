"""What a gateway adds to the audit log: in whose name it orders, and what it served or refused.

Reads leave no trace in the agreed log, and an order that a gateway refuses never gets there. The
gateway reports both as ordered commands, at most once a second. At level `forensic` it serves no
more reads than it can report: what is not written down is not read.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple, Self

import msgspec
from blake3 import blake3

from dataplane.documents.audit_commands import AuditEvent, ReportAudit
from dataplane.documents.audit_view import AuditLog
from dataplane.documents.audited import REPORTED_ALWAYS
from dataplane.documents.auditing import EVENTS_MAX
from dataplane.documents.commands import (
    attribute,
    decode_result,
    encode_op,
    name_of,
)
from dataplane.documents.view import StateView
from dataplane.gateways.auth import CALLING
from dataplane.gateways.errors import Problem, problem_of
from dataplane.replication.errors import ReplicationError
from dataplane.replication.submissions import Submitted

REPORT_S: Final = 1.0
WAITING_MAX: Final = 10_000
"""Different events that wait to be reported."""
_FORBIDDEN: Final = 403
_KEY_BYTES: Final = 32
_NAME_CHARS_MAX: Final = 200
_encode_question: Final = msgspec.json.Encoder(order="sorted").encode


class Seen(NamedTuple):
    """What a gateway served or refused."""

    action: str
    collection: str | None = None
    id: str | None = None
    detail: str | None = None


def attributed(ops: Sequence[bytes], log: AuditLog) -> Sequence[bytes]:
    """Return encoded operations, those that are recorded with the id of the caller's key."""
    actor = CALLING.get()
    if actor is None:
        return ops
    watched = log.watched_names
    return [attribute(op, actor) if name_of(op) in watched else op for op in ops]


def seen_question(action: str, collection: str, question: Mapping[str, Any]) -> Seen:
    """Return what is noted of a question: its digest, for it may name persons."""
    digest = blake3(_encode_question(question)).hexdigest()
    return Seen(action, collection, None, f'{{"question":"{digest}"}}')


class Reading:
    """A read under way; every one passes here, and a generator would take three times as long."""

    __slots__ = ("_facts", "_reporter", "_seen")

    def __init__(self, reporter: "AuditReporter", seen: Seen) -> None:
        self._reporter, self._seen = reporter, seen
        self._facts: Sequence[tuple[str, str]] = ()

    def __enter__(self) -> Self:
        """Begin."""
        return self

    def answered(self, facts: Sequence[tuple[str, str]]) -> None:
        """Learn what is told of the document that was read; its version is noted."""
        self._facts = facts

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: object
    ) -> None:
        """Note how it ended; a call that was given up is none that was answered."""
        reporter = self._reporter
        if error is None:
            if reporter.is_forensic or self._seen.action in REPORTED_ALWAYS:
                reporter.note(self._seen, 200, None, self._version())
            return
        if not isinstance(error, Exception):
            return
        problem = problem_of(error)
        if problem is not None:
            reporter.note(self._seen, problem.status, problem.code)
        if isinstance(error, Problem):
            error.is_recorded = True

    def _version(self) -> int | None:
        tag = dict(self._facts).get("ETag")
        return None if tag is None else int(tag.strip('"'))


class AuditReporter:
    """What this gateway saw and has not reported yet; equal events are one with a count."""

    def __init__(self, view: StateView, random_bytes: Callable[[int], bytes]) -> None:
        self._view = view
        self._random_bytes = random_bytes
        self._waiting: dict[AuditEvent, int] = {}
        self._in_report: bytes | None = None
        self._in_report_count = 0

    @property
    def waiting_count(self) -> int:
        """How many different events wait."""
        return len(self._waiting) + self._in_report_count

    def reading(self, seen: Seen) -> "Reading":
        """Note a read, however it ends; at lower levels than `forensic` only if it is forbidden.

        Raises:
            Problem: `audit_backlog`: it could not be written down.
        """
        if self.waiting_count >= WAITING_MAX and self.is_forensic:
            raise Problem("audit_backlog", "reads must be recorded, and too many wait for it")
        return Reading(self, seen)

    @property
    def is_forensic(self) -> bool:
        """Whether every read is recorded."""
        return self._view.audit.is_forensic

    def note(self, seen: Seen, status: int, code: str | None, version: int | None = None) -> None:
        """Note an answer to the caller: a read at level `forensic`, or what is forbidden."""
        actor = CALLING.get()
        is_always = status == _FORBIDDEN or seen.action in REPORTED_ALWAYS
        if actor is None or not (self._view.audit.is_forensic or is_always):
            return
        if self.waiting_count >= WAITING_MAX and status == _FORBIDDEN:
            return  # Somebody knocks without end; the first thousands are on record.
        place = _clip(seen.collection), _clip(seen.id)
        event = AuditEvent(actor, seen.action, *place, status, code, version, 1, seen.detail)
        self._waiting[event] = self._waiting.get(event, 0) + 1

    def take_report(self) -> bytes | None:
        """Return the command that records what was seen, the last again if nobody knows of it."""
        if self._in_report is None and self._waiting:
            taken = list(self._waiting.items())[:EVENTS_MAX]
            events = tuple(msgspec.structs.replace(event, count=count) for event, count in taken)
            for event, _ in taken:
                del self._waiting[event]
            self._in_report_count = len(taken)
            self._in_report = encode_op(ReportAudit(events, self._random_bytes(_KEY_BYTES)))
        return self._in_report

    def reported(self) -> None:
        """The last report is recorded."""
        self._in_report, self._in_report_count = None, 0

    async def run(self, submit: Callable[[Sequence[bytes]], Awaitable[Submitted]]) -> None:
        """Report for ever; what is not recorded yet is sent again."""
        while True:
            await asyncio.sleep(REPORT_S)
            with contextlib.suppress(ReplicationError):
                while (report := self.take_report()) is not None:
                    submitted = await submit([report])
                    if decode_result(submitted.results[0]).status >= 500:
                        break
                    self.reported()


def _clip(name: str | None) -> str | None:
    return None if name is None else name[:_NAME_CHARS_MAX]
