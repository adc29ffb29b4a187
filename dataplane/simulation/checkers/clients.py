"""What clients were told: it stays, and one order of all requests explains it."""

from typing import TYPE_CHECKING, override

from dataplane.consensus.messages import Batch, Request
from dataplane.documents.types import RequestResult
from dataplane.simulation.checkers.checker import Checker, Executed
from dataplane.simulation.options import Options
from dataplane.storage.engine import MemoryStore

if TYPE_CHECKING:
    from dataplane.simulation.node import Node
    from dataplane.simulation.world import World

type RequestKey = tuple[bytes, bytes, int]


def _key(result: RequestResult) -> RequestKey:
    return (result.client, result.session, result.cseq)


class Acknowledged(Checker):
    """What was acknowledged is at its sequence in every later state of an honest replica."""

    name = "acknowledged"
    invariant = "I8"

    def __init__(self, options: Options) -> None:
        super().__init__(options)
        self._told: dict[int, dict[RequestKey, bytes]] = {}

    @override
    def on_acknowledged(self, node: "Node", result: RequestResult) -> None:
        known = self._told.setdefault(result.sequence, {}).setdefault(_key(result), result.digest)
        if known != result.digest:
            self.fail(f"a client got two answers for its request {result.cseq}")

    @override
    def on_execute(self, node: "Node", executed: Executed) -> None:
        told = self._told.get(executed.sequence)
        if told is None or node.kept.is_damaged:
            return
        digests = {_key(result): result.digest for result in executed.results}
        for key, digest in told.items():
            if digests.get(key) != digest:
                self.fail(f"request {key[2]}, answered at {executed.sequence}, is not at {node.id}")

    @override
    def at_end(self, world: "World") -> None:
        for node in world.honest:
            for sequence, batch in node.kept.batches().items():
                held = {request.key for request in batch.requests}
                lost = [key[2] for key in self._told.get(sequence, ()) if key not in held]
                if lost:
                    self.fail(f"node {node.id} lost {lost}, which was answered at {sequence}")


class Linearizable(Checker):
    """The agreed log is the witness: replayed alone it gives every answer that clients got.

    And if one request was answered before another was asked, it comes first in the log.
    """

    name = "linearizable"
    invariant = "I14"

    def __init__(self, options: Options) -> None:
        super().__init__(options)
        self._log: dict[int, Batch] = {}
        self._invoked: dict[RequestKey, int] = {}
        self._answers: list[tuple[int, RequestResult]] = []

    @override
    def on_invoked(self, node: "Node", request: Request) -> None:
        self._invoked.setdefault(request.key, node.world.now_ms)

    @override
    def on_execute(self, node: "Node", executed: Executed) -> None:
        self._log.setdefault(executed.sequence, executed.batch)

    @override
    def on_acknowledged(self, node: "Node", result: RequestResult) -> None:
        self._answers.append((node.world.now_ms, result))

    @override
    def at_end(self, world: "World") -> None:
        self._check_replay(world)
        self._check_real_time()

    def _check_replay(self, world: "World") -> None:
        executor = world.workload.executor(MemoryStore())
        replayed: set[tuple[RequestKey, int, bytes]] = set()
        for sequence in sorted(self._log):
            batch = self._log[sequence]
            outcome = executor.apply(sequence, batch.ts_ms, batch.requests)
            replayed.update(
                (_key(result), result.sequence, result.digest) for result in outcome.requests
            )
        for _, result in self._answers:
            if (_key(result), result.sequence, result.digest) not in replayed:
                self.fail(f"the log does not explain the answer to request {result.cseq}")

    def _check_real_time(self) -> None:
        returned = sorted((at_ms, result.sequence) for at_ms, result in self._answers)
        asked = sorted(
            (self._invoked[_key(result)], result.sequence)
            for _, result in self._answers
            if _key(result) in self._invoked
        )
        newest = position = 0
        for invoked_ms, sequence in asked:
            while position < len(returned) and returned[position][0] < invoked_ms:
                newest = max(newest, returned[position][1])
                position += 1
            if sequence <= newest:
                self.fail(f"{sequence} was asked after {newest} was answered")
