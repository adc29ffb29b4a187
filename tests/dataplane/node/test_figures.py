"""The node's own measurements."""

import pytest

from dataplane.node.figures import BUCKET_COUNT, NodeFigures, bucket_of, bucket_seconds
from dataplane.replication.metrics import ReplicationMetrics


class Hand:
    """A clock moved by the test."""

    def __init__(self) -> None:
        self.ms = 1_000_000

    def now_ms(self) -> int:
        return self.ms


def test_a_bucket_holds_what_its_bounds_say():
    for index in range(1, BUCKET_COUNT - 1):
        inside = (bucket_seconds(index - 1) * 3 + bucket_seconds(index)) / 4
        assert bucket_of(inside) == index
    assert bucket_of(0) == 0
    assert bucket_of(1e9) == BUCKET_COUNT - 1


def test_percentiles_are_of_the_last_ten_seconds():
    clock = Hand()
    figures = NodeFigures(clock)
    for _ in range(100):
        figures.observe("write", 200, 2.0)
    clock.ms += 11_000
    for number in range(100):
        figures.observe("read", 200, 0.001 if number < 94 else 0.1)
    p50, p95, p99 = figures.percentiles(0.50, 0.95, 0.99)
    assert p50 == pytest.approx(1, rel=0.1)
    assert p95 == pytest.approx(100, rel=0.1)
    assert p99 == pytest.approx(100, rel=0.1)
    clock.ms += 11_000
    assert figures.percentiles(0.5) == [None]


def test_memory_does_not_grow_with_time():
    clock = Hand()
    figures = NodeFigures(clock)
    for _ in range(500):
        figures.observe("write", 200, 0.001)
        clock.ms += 1_000
    assert len(figures._seconds) <= 11


def test_classes_and_errors_are_counted_apart():
    figures = NodeFigures(Hand())
    for call_class, status in (("read", 200), ("query", 404), ("write", 503), ("delete", 204)):
        figures.observe(call_class, status, 0.01)
    figures.observe("admin", 500, 0.01)
    assert figures.ops == {"total": 4, "reads": 2, "writes": 2, "errors": 1}


def test_the_page_is_prometheus_text():
    figures = NodeFigures(Hand())
    figures.replication = ReplicationMetrics(batches_executed=7, alarms={"clock_skew": 2})
    figures.gauges = {"log_bytes": lambda: 42}
    figures.observe("read", 200, 0.01)
    lines = figures.prometheus().splitlines()
    assert "aerolith_batches_executed_total 7" in lines
    assert 'aerolith_alarms_total{code="clock_skew"} 2' in lines
    assert "aerolith_log_bytes 42" in lines
    names = [line.split("{")[0].split()[0] for line in lines if not line.startswith("#")]
    typed = {line.split()[2] for line in lines if line.startswith("# TYPE")}
    assert set(names) == typed
