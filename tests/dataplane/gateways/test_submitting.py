"""What a gateway does about a request that was not done at once, and how long it tries."""

import asyncio
from collections.abc import Sequence
from typing import cast

import pytest

from dataplane.client.local import LocalCluster
from dataplane.client.spec import NodeSpec, load_spec
from dataplane.documents.cold import ColdReader
from dataplane.documents.commands import (
    CollectionPut,
    Maintain,
    OpResult,
    Patch,
    Put,
    decode_op,
    decode_result,
    encode_op,
)
from dataplane.documents.execution import NOT_DONE
from dataplane.documents.stubs import COLD_RESULT
from dataplane.documents.values import pack_document
from dataplane.gateways.context import Context
from dataplane.gateways.ports import Cluster, Encryption, Reads
from dataplane.node.figures import NodeFigures
from dataplane.replication.errors import NotReadyError
from dataplane.replication.submissions import Submitted
from dataplane.storage.fragments import fragment_key, unpack
from tests.dataplane.documents.index_checks import Machine, cold_places

PATCH = pack_document({"m": 1})


class Clock:
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self.ms = 1_700_000_000_000

    def now_ms(self) -> int:
        return self.ms


class Alone:
    """Orders at once what a gateway submits; each turn takes its time."""

    def __init__(self, machine: Machine, clock: Clock) -> None:
        self.machine, self.clock = machine, clock
        self.takes_ms = 0
        self.full = 0
        """Turns that find their batch full."""
        self.timeouts: list[int] = []

    async def submit(self, ops: Sequence[bytes], *, timeout_ms: int) -> Submitted:
        self.timeouts.append(timeout_ms)
        self.clock.ms += self.takes_ms
        if self.full:
            self.full -= 1
            return Submitted((NOT_DONE,) * len(ops), 0)
        results = self.machine.apply(*map(decode_op, ops))
        return Submitted(tuple(map(encode_op, results)), self.machine.state.applied)


class Segments(ColdReader):
    """Whole segments; those of `lost` nobody gives, and `stuck` never come."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self.lost: set[int] = set()
        self.is_stuck = False

    def known(self, number: int) -> bytes | None:
        return None

    async def fetch(self, number: int, *, timeout_ms: int) -> bytes | None:
        if self.is_stuck:
            await asyncio.Event().wait()
        if number in self.lost:
            raise NotReadyError(f"segment {number} is lost")
        record = self._machine.state.tiers.segment(number)
        assert record is not None
        packed = self._machine.store.get(fragment_key(record.collection, number))
        return unpack(packed or b"", record.size)


@pytest.fixture(scope="module")
def spec(tmp_path_factory) -> NodeSpec:
    return load_spec(LocalCluster(tmp_path_factory.mktemp("alone") / "cluster", 1).specs[0])


class Gateway:
    """A gateway before a state in which documents are cold, in two segments."""

    def __init__(self, spec: NodeSpec) -> None:
        self.machine, self.clock = Machine(), Clock()
        self.machine.apply(CollectionPut("c", pack_document({"tiering": {"cold_after_s": 100}})))
        for name in "ab":
            self.machine.apply(Put("c", name, pack_document({"text": "x" * 100})))
            self.machine.now_ms += 1_000_000
            self.machine.apply(Maintain())
        assert len(cold_places(self.machine.state)) == 2
        self.alone, self.segments = Alone(self.machine, self.clock), Segments(self.machine)
        self.context = Context(
            spec=spec,
            cluster=cast("Cluster", self.alone),
            reads=cast("Reads", self.alone),
            state=self.machine.state,
            figures=NodeFigures(self.clock),
            clock=self.clock,
            random_bytes=bytes,
            sign=bytes,
            encryption=cast("Encryption", None),
            cold=self.segments,
        )
        assert self.context.timeout_ms == 5_000

    async def submit(self, *ops: object) -> list[OpResult]:
        ids = [op.id for op in ops]
        submitted = await self.context.submit(list(map(encode_op, ops)), ids)
        return list(map(decode_result, submitted.results))


@pytest.fixture
def gateway(spec) -> Gateway:
    return Gateway(spec)


async def test_all_turns_of_a_request_share_its_time(gateway):
    gateway.alone.takes_ms, gateway.alone.full = 2_000, 2
    (result,) = await gateway.submit(Put("c", "new", b"\x80"))
    assert result.status == 201
    assert gateway.alone.timeouts == [5_000, 3_000, 1_000]


async def test_a_request_that_has_had_its_time_is_not_ordered_again(gateway):
    gateway.alone.takes_ms, gateway.alone.full = 3_000, 9
    (result,) = await gateway.submit(Put("c", "new", b"\x80"))
    assert result.status == 503
    assert gateway.alone.timeouts == [5_000, 2_000]


async def test_putting_documents_back_takes_of_the_time_of_the_request(gateway):
    gateway.alone.takes_ms = 1_500
    (result,) = await gateway.submit(Patch("c", "a", PATCH))
    assert (result.status, result.version) == (200, 2)
    assert gateway.alone.timeouts == [5_000, 3_500]


async def test_what_is_read_while_another_is_put_back_is_put_back_too(gateway, monkeypatch):
    cold, state, submit = gateway.context.cold, gateway.machine.state, gateway.alone.submit
    began, goes_on, are_back = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def slow(ops: Sequence[bytes], *, timeout_ms: int) -> Submitted:
        began.set()
        await goes_on.wait()
        submitted = await submit(ops, timeout_ms=timeout_ms)
        if not cold_places(state):
            are_back.set()
        return submitted

    monkeypatch.setattr(gateway.alone, "submit", slow)
    running = asyncio.create_task(cold.run())
    await cold.whole(("c", "a"), state.view.row("c", "a"))
    await began.wait()
    await cold.whole(("c", "b"), state.view.row("c", "b"))
    goes_on.set()
    async with asyncio.timeout(5):
        await are_back.wait()
    running.cancel()


async def test_a_segment_that_never_comes_ends_the_request_in_its_time(gateway):
    gateway.segments.is_stuck = True
    gateway.context.timeout_ms = 20
    with pytest.raises(NotReadyError, match="put back in time"):
        await gateway.submit(Patch("c", "a", PATCH))
    assert gateway.alone.timeouts == []


async def test_what_was_done_of_a_request_is_told_though_a_document_of_it_cannot_be_had(gateway):
    gateway.machine.apply(
        CollectionPut(
            "c", pack_document({"tiering": {"cold_after_s": 100}, "conflict_policy": "merge_patch"})
        )
    )
    record = gateway.machine.state.tiers.segments(0, 1)[0]
    gateway.segments.lost = {record.number}
    merged = Put("c", "a", PATCH, if_version=9, base=b"\x80")
    done, lost = await gateway.submit(Put("c", "new", b"\x80"), merged)
    assert (done.status, lost) == (201, COLD_RESULT)
    with pytest.raises(NotReadyError, match="is lost"):
        await gateway.submit(merged)
