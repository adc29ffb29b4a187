"""Which facts a node states, and that it states each of them once."""

import json
from pathlib import Path

import msgspec
import pytest

from dataplane.client.local import LocalCluster
from dataplane.client.spec import NodeSpec, UsageSpec, load_spec
from dataplane.documents.accounting import RATES_KEPT_MS, RATES_MAX
from dataplane.documents.commands import (
    OpenSession,
    Put,
    ReportCalls,
    decode_op,
    encode_op,
    session_id,
)
from dataplane.documents.state import StateMachine
from dataplane.documents.types import Genesis
from dataplane.documents.values import pack_document
from dataplane.gateways.calls import CallMeter
from dataplane.node.usage import UsageReporter
from dataplane.storage.engine import MemoryStore

WINDOW_MS = 60_000
START_MS = 1_700_000_040_000  # The start of a minute.
CLIENT = bytes(32)


class Call(msgspec.Struct):
    client: bytes
    session: bytes
    cseq: int
    ack: int
    ops: tuple[bytes, ...]


class World:
    """A state machine driven by hand, a clock, and reporters over them."""

    def __init__(self, directory: Path) -> None:
        self.ms = START_MS
        self.state = StateMachine(MemoryStore(), Genesis((), None, None, WINDOW_MS))
        self.session = session_id(CLIENT, b"n" * 16)
        self.cseq = 0
        cluster = LocalCluster(directory, 2, usage_window_ms=WINDOW_MS)
        self.specs = [load_spec(path) for path in cluster.specs]
        self._execute(Call(CLIENT, self.session, 0, 0, (encode_op(OpenSession(b"n" * 16)),)))

    def now_ms(self) -> int:
        return self.ms

    def _execute(self, call: Call) -> None:
        (result,) = self.state.apply(self.state.applied + 1, self.ms, [call]).requests
        assert result.status == "ok"

    def order(self, *ops: object) -> None:
        self.cseq += 1
        encoded = tuple(encode_op(op) for op in ops)
        self._execute(Call(CLIENT, self.session, self.cseq, self.cseq - 1, encoded))

    def reporter(self, spec: NodeSpec) -> UsageReporter:
        Path(spec.data_dir).mkdir(parents=True, exist_ok=True)
        return UsageReporter(spec, UsageSpec("http://127.0.0.1:9", "token"), self.state.view, self)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def outbox(reporter: UsageReporter, meter: str) -> list[dict[str, object]]:
    return [e for e in reporter._outbox if e["type"] == f"aerolith.usage.{meter}"]


def test_calls_are_told_by_the_node_that_served_them_when_the_window_is_over(world):
    mine, other = (world.reporter(spec) for spec in world.specs)
    world.order(ReportCalls(0, {"read": 3, "write": 2}))
    world.order(ReportCalls(1, {"read": 5}))
    mine.collect()
    assert outbox(mine, "api_calls") == []
    world.ms += WINDOW_MS
    world.order(ReportCalls(0, {"read": 1}))
    mine.collect()
    other.collect()
    told = {(e["data"]["class"], e["data"]["value"]) for e in outbox(mine, "api_calls")}
    assert told == {("read", 3), ("write", 2)}
    assert [e["data"]["value"] for e in outbox(other, "api_calls")] == [5]


def test_a_fact_is_told_once_also_after_a_restart(world):
    reporter = world.reporter(world.specs[0])
    world.order(ReportCalls(0, {"read": 3}))
    world.ms += WINDOW_MS
    world.order(ReportCalls(0, {"read": 4}))
    reporter.collect()
    before = list(reporter._outbox)
    again = world.reporter(world.specs[0])
    assert again._outbox == before, "what was not sent survives the restart, byte for byte"
    again.collect()
    assert json.dumps(again._outbox) == json.dumps(before)


def test_every_node_tells_the_same_of_what_is_stored(world):
    reporters = [world.reporter(spec) for spec in world.specs]
    world.order(Put("things", "one", pack_document({"text": "x" * 100})))
    for _ in range(3):
        world.ms += WINDOW_MS
        world.order(ReportCalls(0, {}))
    for reporter in reporters:
        reporter.collect()
    first, second = (outbox(reporter, "storage_bytes") for reporter in reporters)
    assert first == second
    assert len(first) == 3
    assert {e["source"] for e in first} == {f"/clusters/{world.specs[0].cluster_id}"}
    assert all(e["data"]["value"] > 100 for e in first)


def test_uptime_counts_the_seconds_of_this_life(world):
    world.ms += 15_000
    reporter = world.reporter(world.specs[0])
    world.ms += 2 * WINDOW_MS
    reporter.collect()
    assert [e["data"]["value"] for e in outbox(reporter, "node_seconds")] == [45, 60]
    reporter.collect()
    assert len(outbox(reporter, "node_seconds")) == 2


def test_ids_are_derived_from_the_fact(world):
    reporter = world.reporter(world.specs[1])
    world.ms += WINDOW_MS
    reporter.collect()
    (event,) = outbox(reporter, "node_seconds")
    cluster = world.specs[1].cluster_id
    assert event["id"] == f"{cluster}:1:node_seconds:{event['data']['window_start']}"
    assert event["data"]["window_start"].startswith("2023-11-14T22:14:00")


def test_gateways_tell_each_other_what_keys_with_a_rate_asked(world):
    view, now = world.state.view, world.ms
    world.order(ReportCalls(0, {"read": 3}, {"a": 3}))
    world.order(ReportCalls(1, {"read": 9}, {"a": 4, "b": 5}))
    assert (view.rate_elsewhere("a", 0, now), view.rate_elsewhere("a", 2, now)) == (4, 7)
    assert (view.rate_elsewhere("b", 1, now), view.rate_elsewhere("b", 0, now)) == (0, 5)
    world.order(ReportCalls(1, {"read": 1}, {}))
    assert view.rate_elsewhere("a", 0, now) == 0
    assert view.rate_elsewhere("a", 2, now + RATES_KEPT_MS) == 0, "what is old says nothing"


def test_a_report_says_rates_a_second_however_long_it_was_in_coming(world):
    meter = CallMeter(0, world.state.view)
    told = []
    for now_ms, calls in ((100_000, 4), (101_000, 4), (103_000, 5)):
        for _ in range(calls):
            meter.count("read")
            meter.count_key("a")
        report = decode_op(meter.take_report(now_ms))
        meter.reported()
        told.append(report.rates)
    assert told == [{"a": 1}, {"a": 4}, {"a": 3}]
    for now_ms in range(104_000, 164_000, 1_000):
        meter.count_key("a")
        assert meter.take_report(now_ms) is None, "calls that cost nothing are not ordered"
    meter.count("write")
    meter.count_key("a")
    assert decode_op(meter.take_report(164_000)).rates == {"a": 1}, "and do not pile up"
    meter.reported()
    for number in range(RATES_MAX + 9):
        meter.count_key(f"k{number}")
    meter.count("read")
    assert len(decode_op(meter.take_report(165_000)).rates) == RATES_MAX
