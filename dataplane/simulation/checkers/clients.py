"""What clients were told: it stays, and one order of all requests explains it."""

from dataclasses import replace
from typing import TYPE_CHECKING, override

from dataplane.consensus.messages import Batch, Request
from dataplane.documents.types import Executor, RequestResult
from dataplane.simulation.checkers.checker import Checker, Executed, Read
from dataplane.simulation.options import Options
from dataplane.storage.engine import MemoryStore
from dataplane.wire.quorum import reply_quorum

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
        self._reads: list[tuple[int, Read]] = []
        self._placed: dict[Read, int] = {}
        """Of each read, the last state it may have seen."""

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
    def on_read(self, node: "Node", read: Read) -> None:
        if self._may_be_deceived(node):
            return
        if node.kept.is_damaged:
            # A false row can be what others hold at another moment, and is then a true answer.
            decided = max(other.executor.applied for other in node.world.honest)
            read = replace(read, told=replace(read.told, sequence=decided))
        self._reads.append((node.world.now_ms, read))

    def _may_be_deceived(self, node: "Node") -> bool:
        """Whether as many lie as must agree with a node whose own rows are damaged.

        Such a node is faulty itself, so that is more than the protocol bears.
        """
        members = {member.replica_id for member in node.config.members}
        liars = self.options.liars.intersection(members)
        return node.kept.is_damaged and len(liars) >= reply_quorum(len(members)) - 1

    @override
    def at_end(self, world: "World") -> None:
        self._check_replay(world)
        self._check_real_time()

    def _check_replay(self, world: "World") -> None:
        executor = world.workload.executor(MemoryStore())
        replayed: set[tuple[RequestKey, int, bytes]] = set()
        reads = [read for _, read in self._reads]
        self._place_reads(world, executor, reads)
        for sequence in sorted(self._log):
            batch = self._log[sequence]
            outcome = executor.apply(sequence, batch.ts_ms, batch.requests)
            replayed.update(
                (_key(result), result.sequence, result.digest) for result in outcome.requests
            )
            self._place_reads(world, executor, reads)
        for _, result in self._answers:
            if (_key(result), result.sequence, result.digest) not in replayed:
                self.fail(f"the log does not explain the answer to request {result.cseq}")
        for read in reads:
            if read not in self._placed:
                told = read.told
                self.fail(f"no state from {told.index} to {told.sequence} explains {read.place}")

    def _place_reads(self, world: "World", executor: Executor, reads: list[Read]) -> None:
        """Note of reads that may have seen this state, and answered what it holds, that they did.

        The last such state counts.
        """
        for read in reads:
            told = read.told
            may_have_seen = told.index <= executor.applied <= told.sequence
            if may_have_seen and world.workload.row(executor, read.place) == told.row:
                self._placed[read] = executor.applied

    def _check_real_time(self) -> None:
        """Requests come after all that was answered before, reads may come right behind it."""
        returned = sorted(
            [(at_ms, result.sequence) for at_ms, result in self._answers]
            + [(at_ms, self._placed[read]) for at_ms, read in self._reads]
        )
        asked = sorted(
            [
                (self._invoked[_key(result)], result.sequence - 1)
                for _, result in self._answers
                if _key(result) in self._invoked
            ]
            + [(read.asked_ms, self._placed[read]) for _, read in self._reads]
        )
        newest = position = 0
        for invoked_ms, newest_allowed in asked:
            while position < len(returned) and returned[position][0] < invoked_ms:
                newest = max(newest, returned[position][1])
                position += 1
            if newest_allowed < newest:
                self.fail(f"{newest_allowed} was asked after {newest} was answered")
