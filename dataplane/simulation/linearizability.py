"""Is there an order of a history's operations that explains every answer: linearizability.

Wing and Gong, "Testing and verifying concurrent objects" (1993), with Lowe's memoization: a set of
operations done and the state it led to is tried once. Keys are independent, so each is checked
alone, which keeps the search small. Nothing here knows of sequences or replicas: the check believes
only what clients saw.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal, override

CONFIGURATIONS_MAX: Final = 2_000_000

type Seen = tuple[int, int | None]
"""What is known of a document: (version, value); version 0 is an absent one."""

ABSENT: Final[Seen] = (0, None)


@dataclass(frozen=True, slots=True)
class Operation:
    """What one client asked for and was told; times are of one clock for all clients.

    `value` is what a write or a compare-and-set stores, `expected` the version a compare-and-set
    asks for. `answer` is what a read saw, or the version that a write made or a refused
    compare-and-set met. Without `returned` the outcome is unknown: it may have taken effect at any
    time after `called`, or never.
    """

    key: str
    kind: Literal["read", "write", "cas"]
    called: int
    returned: int | None = None
    value: int | None = None
    expected: int | None = None
    answer: Seen | None = None
    accepted: bool = True


class TooManyConfigurationsError(Exception):
    """The search was given up: there are too many unknown outcomes at once."""


type Step[S] = Callable[[S, Operation], S | None]
"""(state, operation) -> the state after it; None when the answer does not fit the state."""


def document_step(state: Seen, operation: Operation) -> Seen | None:
    """Apply an operation to one document that is never deleted."""
    version = state[0]
    told = operation.returned is not None
    if operation.kind == "read":
        return state if not told or operation.answer == state else None
    matches = operation.kind == "write" or operation.expected == version
    if told and matches != operation.accepted:
        return None
    if matches:
        after = (version + 1, operation.value)
        return after if not told or _made(operation) == after[0] else None
    return state if not told or _made(operation) == version else None


def documents_step(operations: Iterable[Operation]) -> Step[Seen]:
    """Return `document_step` without the steps of unknown outcomes that no order can hold.

    A document's versions rise by one, so what was told of a version names the only write that can
    have made it: an unknown write is tried only where its version is left over, its value is the
    one that was read, and a told answer is still to come. Without this each unknown outcome
    doubles the search, and a node that is killed leaves one for every client.
    """
    told = [o for o in operations if o.returned is not None and o.answer is not None]
    made = {o.answer[0] for o in told if o.answer and o.kind != "read" and o.accepted}
    read = {o.answer[0]: o.answer[1] for o in told if o.answer and o.kind == "read"}
    newest = max((o.answer[0] for o in told if o.answer), default=0)

    def step(state: Seen, operation: Operation) -> Seen | None:
        after = document_step(state, operation)
        if operation.returned is not None or after is None:
            return after
        version, value = after
        possible = version > state[0] and version <= newest and version not in made
        return after if possible and read.get(version, value) == value else None

    return step


def _made(operation: Operation) -> int | None:
    return None if operation.answer is None else operation.answer[0]


def linearization[S](
    operations: Sequence[Operation], step: Step[S], initial: S
) -> tuple[Operation, ...] | None:
    """Return an order that explains every answer and respects real time, None if there is none.

    Raises:
        TooManyConfigurationsError: More than `CONFIGURATIONS_MAX` were tried.
    """
    ordered = sorted(operations, key=lambda operation: operation.called)
    needed = sum(1 << i for i, operation in enumerate(ordered) if operation.returned is not None)
    order: list[int] = []
    tried = {(0, initial)}
    stack: list[tuple[int, S, Iterator[int]]] = [(0, initial, _next(ordered, 0))]
    while stack:
        done, state, candidates = stack[-1]
        if done & needed == needed:
            return tuple(ordered[i] for i in order)
        for index in candidates:
            after = step(state, ordered[index])
            configuration = (done | 1 << index, after)
            if after is None or configuration in tried:
                continue
            if len(tried) >= CONFIGURATIONS_MAX:
                raise TooManyConfigurationsError(f"{len(ordered)} operations of one key")
            tried.add((configuration[0], after))
            order.append(index)
            stack.append((configuration[0], after, _next(ordered, configuration[0])))
            break
        else:
            stack.pop()
            if order:
                order.pop()
    return None


def _next(ordered: Sequence[Operation], done: int) -> Iterator[int]:
    """Yield what may come next: nothing else that is not done returned before it was called."""
    waiting: list[int] = []
    earliest: float = float("inf")
    for index, operation in enumerate(ordered):
        if done >> index & 1:
            continue
        if operation.called > earliest:
            break
        waiting.append(index)
        if operation.returned is not None:
            earliest = min(earliest, operation.returned)
    return (index for index in waiting if ordered[index].called <= earliest)


@dataclass(frozen=True, slots=True)
class Violation:
    """A key whose history no order explains."""

    key: str
    operations: tuple[Operation, ...]
    """The shortest prefix, by return, that is not linearizable."""

    @override
    def __str__(self) -> str:
        lines = "\n".join(f"  {operation}" for operation in self.operations)
        return f"{self.key} is not linearizable:\n{lines}"


def first_violation(history: Iterable[Operation]) -> Violation | None:
    """Return what is wrong with a history of documents, None when it is linearizable.

    Raises:
        TooManyConfigurationsError: See `linearization`.
    """
    by_key: dict[str, list[Operation]] = {}
    for operation in history:
        if operation.returned is not None or operation.kind != "read":
            by_key.setdefault(operation.key, []).append(operation)
    for key, operations in sorted(by_key.items()):
        if _explained(operations) is None:
            return Violation(key, _shortest(operations))
    return None


def _explained(operations: Sequence[Operation]) -> tuple[Operation, ...] | None:
    return linearization(operations, documents_step(operations), ABSENT)


def _shortest(operations: Sequence[Operation]) -> tuple[Operation, ...]:
    """Return the operations called by the first return at which the history is already wrong."""
    returns = sorted(o.returned for o in operations if o.returned is not None)
    low, high = 0, len(returns) - 1
    while low < high:
        middle = (low + high) // 2
        if _explained(_until(operations, returns[middle])) is None:
            high = middle
        else:
            low = middle + 1
    return tuple(_until(operations, returns[low]))


def _until(operations: Sequence[Operation], at: int) -> list[Operation]:
    """Return the history as it was known at a time: later returns have not happened yet."""
    known = []
    for operation in operations:
        if operation.called > at:
            continue
        late = operation.returned is not None and operation.returned > at
        if late and operation.kind == "read":
            continue
        known.append(_open(operation) if late else operation)
    return known


def _open(operation: Operation) -> Operation:
    return Operation(
        operation.key,
        operation.kind,
        operation.called,
        value=operation.value,
        expected=operation.expected,
    )
