"""Transactions: operations that all take effect, at one place in the log, or none of them does."""

from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from dataplane.documents import tables
from dataplane.documents.collections import Collections
from dataplane.documents.commands import (
    Check,
    Create,
    Get,
    OpResult,
    Step,
    Transact,
)
from dataplane.documents.errors import (
    CONFLICT,
    NOT_FOUND,
    PRECONDITION_FAILED,
    STATUS,
    TOO_LARGE,
    Refusal,
    invalid,
)
from dataplane.documents.stubs import ColdError
from dataplane.documents.tables import Attempt, Batch

STEPS_MAX: Final = 1_000
WRITTEN_BYTES_MAX: Final = 8 * 1024 * 1024
"""Of documents as a transaction leaves them: patches are small, what they change may not be."""
READ_BYTES_MAX: Final = 1024 * 1024
CHANGED_BYTES_MAX: Final = 24 * 1024 * 1024
"""Of these, of what they replace or remove, of what indexes look at for them, and of checks."""

type Handler = Callable[[Batch, Any], OpResult]


class Outcome(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """What a transaction's result carries packed as its `document`.

    Without a failure there is a result for each operation, in order; otherwise only that of the
    operation that failed.
    """

    failed: int | None
    results: tuple[OpResult, ...]


_encode = msgspec.msgpack.Encoder(order="deterministic").encode
decode_outcome = msgspec.msgpack.Decoder(Outcome).decode


class Transactions:
    """Executes transactions by the handlers of single operations."""

    def __init__(self, collections: Collections, handlers: Mapping[type, Handler]) -> None:
        self._collections = collections
        self._handlers = handlers

    def run(self, batch: Batch, operation: Transact) -> OpResult:
        """Do all steps or nothing.

        Raises:
            Refusal: It is not a transaction that could be executed.
            ColdError: A step needs a body that is not there.
        """
        _check_limits(operation.steps)
        attempt = Attempt(batch)
        before = self._collections.savepoint({step.collection: None for step in operation.steps})
        results: list[OpResult] = []
        written = read = 0
        try:
            for step in operation.steps:
                known = len(attempt.documents)
                result = self._step(attempt, step)
                written += sum([len(change[4] or b"") for change in attempt.documents[known:]])
                read += len(result.document or b"")
                _check_sizes(written, read, attempt.spent)
                results.append(result)
        except Refusal as refusal:
            self._collections.restore(before)
            return _failed(len(results), refusal)
        except ColdError:
            self._collections.restore(before)
            raise
        attempt.keep()
        return OpResult(200, document=_encode(Outcome(None, tuple(results))))

    def _step(self, attempt: Attempt, step: Step) -> OpResult:
        if isinstance(step, Check):
            return self._check(attempt, step)
        result = self._handlers[type(step)](attempt, step)
        if isinstance(step, Get) or result.document is None or result.policy is not None:
            return result
        # Its sender has the version, and may read what became of the document.
        return msgspec.structs.replace(result, document=None)

    def _check(self, attempt: Attempt, step: Check) -> OpResult:
        prefix = self._collections.prefixes.get(step.collection)
        row = None if prefix is None else attempt.get(prefix + step.id.encode())
        # The whole row is read, whatever of it is looked at.
        attempt.spend(len(row or b""))
        version = None if row is None else tables.decode_document_header(row)[0]
        if step.filter is not None and step.seen != (version or 0):
            detail = "the document changed while its filter was looked at; try again"
            raise Refusal(CONFLICT, detail, version=version)
        if step.exists is False and row is not None:
            raise Refusal(PRECONDITION_FAILED, "the document exists", version=version)
        if step.version is not None and step.version != version:
            raise Refusal(PRECONDITION_FAILED, "another version is current", version=version)
        if step.exists and row is None:
            raise Refusal(NOT_FOUND, "no such document")
        if not step.holds:
            detail = "the document does not fit the filter"
            raise Refusal(PRECONDITION_FAILED, detail, version=version)
        return OpResult(200, id=step.id, version=version)


def as_sent(operation: Transact) -> Transact:
    """Return a transaction without what its gateway made up: a retry has other ids, other views."""
    steps: list[Step] = []
    for step in operation.steps:
        if isinstance(step, Create) and step.generated:
            steps.append(msgspec.structs.replace(step, id=""))
        elif isinstance(step, Check):
            steps.append(msgspec.structs.replace(step, seen=0, holds=True))
        else:
            steps.append(step)
    return msgspec.structs.replace(operation, steps=tuple(steps))


def _check_limits(steps: tuple[Step, ...]) -> None:
    if not 0 < len(steps) <= STEPS_MAX:
        raise invalid("/operations", f"1 to {STEPS_MAX} operations")
    for index, step in enumerate(steps):
        if getattr(step, "idempotency", None) or getattr(step, "stamp", None):
            raise invalid(f"/operations/{index}", "keys and stamps are for single operations")


def _check_sizes(written: int, read: int, changed: int) -> None:
    if written > WRITTEN_BYTES_MAX:
        raise Refusal(TOO_LARGE, f"a transaction writes at most {WRITTEN_BYTES_MAX} bytes")
    if read > READ_BYTES_MAX:
        raise Refusal(TOO_LARGE, f"a transaction answers at most {READ_BYTES_MAX} bytes")
    if changed > CHANGED_BYTES_MAX:
        raise Refusal(
            TOO_LARGE, f"a transaction changes and checks at most {CHANGED_BYTES_MAX} bytes"
        )


def _failed(index: int, refusal: Refusal) -> OpResult:
    """Return the result of a transaction that a step, or its size, brought down."""
    inner = OpResult(
        refusal.status,
        refusal.code,
        version=refusal.version,
        detail=refusal.detail,
        errors=refusal.errors,
        fields=refusal.fields,
    )
    # No room is not a verdict on the transaction: the same one may succeed later.
    code = refusal.code if refusal.status >= 500 else CONFLICT
    detail = f"operation {index}: {refusal.detail}"
    document = _encode(Outcome(index, (inner,)))
    return OpResult(STATUS[code], code, detail=detail, document=document)
