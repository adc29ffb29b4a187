"""What the measurements make of what they saw; the measuring itself is not tested here."""

from itertools import islice

import pytest

from benchmarks import cold, growth, idle
from benchmarks.__main__ import parse
from benchmarks.beside import words
from benchmarks.dataset import ROWS, flights
from benchmarks.load import Result
from benchmarks.recovery import Kept, Load, Round, faults
from benchmarks.report import Pair, summary


@pytest.mark.parametrize(
    ("given", "nodes"), [([], [4]), (["--nodes", "1"], [1]), (["--nodes", "1,4,7"], [1, 4, 7])]
)
def test_one_or_several_sizes_are_measured(given, nodes):
    assert parse(given).nodes == nodes


@pytest.mark.parametrize(
    "given",
    [
        ["--nodes", "0"],
        ["--nodes", "2"],
        ["--nodes", "4,"],
        ["--nodes", "32"],
        ["--op", "recovery", "--nodes", "1,4"],
        ["--op", "query", "--etcd"],
    ],
)
def test_what_cannot_be_measured_is_refused_before_anything_starts(given):
    with pytest.raises(SystemExit):
        parse(given)


@pytest.mark.parametrize("sizes", ["", "0", "10,10", "100,10", "ten"])
def test_data_grows(sizes):
    with pytest.raises((SystemExit, ValueError)):
        growth.parse(["--sizes", sizes])


@pytest.mark.parametrize("given", [["--documents", "100"], ["--size", "10"], ["--nodes", "2"]])
def test_cold_documents_fill_segments_and_are_longer_than_their_stubs(given):
    with pytest.raises(SystemExit):
        cold.parse(given)


def test_writes_beside_other_work_are_told_in_words():
    took = [float(number) for number in range(1, 102)]
    assert words(took) == "101 writes p50 51.0  p95 96.0  p99 100.0  longest 101.0 ms"
    assert words([]) == "no writes"


def test_documents_wait_for_each_tier_in_turn():
    assert cold.COLD.policy(1) == {"cold_after_s": 1}
    assert cold.ARCHIVED.policy(1) == {"cold_after_s": 1, "archive_after_s": 2}


def test_documents_that_become_cold_have_the_size_that_was_asked_for():
    found = list(cold.rows(3, 1_000))
    assert [key for key, _ in found] == ["0000000", "0000001", "0000002"]
    assert {len(body["text"]) for _, body in found} == {1_000}
    assert list(cold.rows(3, 1_000)) == found


def test_what_is_grown_is_counted_on_its_way():
    rows = growth.Counted(iter([("a", {"n": 1}), ("bc", {})]))
    assert list(rows) == [("a", {"n": 1}), ("bc", {})]
    assert (rows.count, rows.size_bytes) == (2, len('a{"n":1}bc{}'))


@pytest.mark.parametrize("given", [["--ways", "carrier-pigeon"], ["--connections", "0"]])
def test_connections_of_a_known_kind_wait(given):
    with pytest.raises(SystemExit):
        idle.parse(given)


def test_there_are_as_many_flights_as_wanted_each_under_its_own_id():
    first, *_, last = list(flights(5))
    assert first[0] == "0000000"
    assert first[1]["dest"] == "IAH"
    assert first[1]["dep_delay"] == 2
    assert last[0] == "0000004"
    (again,) = islice(flights(ROWS + 1), ROWS, None)
    assert again == (f"{ROWS:07}", first[1])


def pair(nodes: int, ours: int, peer: int) -> Pair:
    made = [
        Result(operations=count, seconds=2.0, server_cpu_us=cpu)
        for count, cpu in ((ours, 300.0), (peer, 200.0))
    ]
    return Pair(nodes, *made)


def test_pairs_are_compared_by_the_ratio_of_each_and_not_of_their_averages():
    pairs = [pair(4, 100, 200), pair(7, 30, 100), pair(4, 900, 1000), pair(4, 30, 100)]
    assert pairs[0].line() == "ratio n=4: of rates 0.50, of CPU 1.50"
    cpu = "of CPU min 1.50 / median 1.50 / max 1.50"
    assert summary(pairs) == [
        f"n=4, pairs: 3; of rates min 0.30 / median 0.50 / max 0.90; {cpu}",
        f"n=7, pairs: 1; of rates min 0.30 / median 0.30 / max 0.30; {cpu}",
    ]
    assert summary([]) == []


def document(version: int, value: str) -> dict[str, object]:
    return {"_version": version, "value": value}


def test_a_lost_and_a_repeated_write_are_found():
    acknowledged = {
        "good": Kept(3, "19"),
        "gone": Kept(1, "1"),
        "older": Kept(3, "19"),
        "other": Kept(3, "19"),
        "twice": Kept(3, "19"),
    }
    stored = {
        "good": document(3, "19"),
        "older": document(2, "3"),
        "other": document(3, "3"),
        "twice": document(4, "19"),
    }
    assert faults(acknowledged, stored) == (["gone", "older", "other"], ["twice"])


async def test_only_a_write_in_a_later_view_ends_an_outage():
    load = Load([("127.0.0.1", 1)], {}, 1)
    load.took(1)
    load.round = Round(primary=1, view=1)
    load.took(1)
    assert not load.accepted.is_set()
    load.took(2)
    assert load.accepted.is_set()
    first = load.round.accepted_ms
    load.took(2)
    assert load.round.accepted_ms == first
