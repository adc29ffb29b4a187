"""The door of a node: shares, rates and counted calls."""

from contextlib import ExitStack
from types import SimpleNamespace

import pytest

from dataplane.documents.types import KeyRecord, QuotaRecord
from dataplane.gateways.admission import BUCKETS_MAX, BURST_S, STREAMS_PER_KEY_MAX, Admission
from dataplane.gateways.auth import Caller
from dataplane.gateways.calls import CallMeter
from dataplane.gateways.errors import Problem
from tests.dataplane.gateways.conftest import problem


class Clock:
    def __init__(self):
        self.ms = 1_000

    def now_ms(self):
        return self.ms


def key(name, rate=None):
    return Caller(KeyRecord(name, b"", name, ("documents:read",), ("*",), None, 0, rate))


def door(clock, *, rate=None, calls=None, requests_max=12, members=1, elsewhere=None):
    quota = QuotaRecord(calls, 0, 10_000, None, 0, rate)
    told = {} if elsewhere is None else elsewhere
    view = SimpleNamespace(
        quota=lambda: quota, is_restoring=False, rate_elsewhere=lambda key, *_: told.get(key, 0)
    )
    limits = SimpleNamespace(requests_max=requests_max)
    spec = SimpleNamespace(cluster_id="c", organization="o", node_id=0, limits=limits)
    return Admission(spec, view, CallMeter(0, view), clock, members=lambda: members)


def refused(admission, caller, call_class="read"):
    with pytest.raises(Problem) as caught:
        admission.enter(caller, call_class)
    return caught.value


def test_a_key_may_use_the_whole_node_until_another_comes():
    admission = door(Clock())
    for _ in range(12):
        admission.enter(key("flood"), "read")
    found = refused(admission, key("flood"))
    assert (found.code, found.fields["limit"], found.fields["used"]) == ("rate_limited", 12, 12)
    for _ in range(6):
        admission.enter(key("other"), "read")
    assert refused(admission, key("other")).fields["limit"] == 6
    for _ in range(7):
        admission.leave(key("flood"))
        found = refused(admission, key("flood")) if admission.under_way > 11 else None
    assert found is None
    admission.enter(key("flood"), "read")
    assert refused(admission, key("flood")).fields["limit"] == 6


def test_a_newcomer_gets_in_however_many_keys_are_there():
    admission = door(Clock(), requests_max=4)
    for number in range(30):
        admission.enter(key(f"k{number}"), "read")
    assert refused(admission, key("k0")).code == "rate_limited"
    for number in range(30):
        admission.leave(key(f"k{number}"))
    assert admission.under_way == 0


def test_a_rate_allows_a_burst_and_then_what_time_gives_back():
    clock = Clock()
    admission = door(clock, rate=10)
    for _ in range(10 * BURST_S):
        admission.enter(key("a"), "read")
        admission.leave(key("a"))
    found = refused(admission, key("a"))
    assert (found.code, found.status, found.retry_after_s) == ("rate_limited", 429, 1)
    assert found.fields == {"limit": 10, "used": 10, "resets": "1970-01-01T00:00:01.100000Z"}
    admission.enter(key("b"), "read")
    clock.ms += 99
    refused(admission, key("a"))
    clock.ms += 1
    admission.enter(key("a"), "read")


@pytest.mark.parametrize(
    ("own", "plan", "rate"), [(5, 7, 5), (7, 5, 5), (5, None, 5), (None, 5, 5)]
)
def test_the_lower_of_the_keys_and_the_plans_rate_holds(own, plan, rate):
    admission = door(Clock(), rate=plan, requests_max=1_000)
    for _ in range(rate * BURST_S):
        admission.enter(key("a", own), "read")
    assert refused(admission, key("a", own)).fields["limit"] == rate


def passed(admission, caller):
    count = 0
    try:
        while True:
            admission.enter(caller, "read")
            admission.leave(caller)
            count += 1
    except Problem:
        return count


def test_a_rate_holds_over_all_nodes_and_no_node_can_take_all_of_it():
    clock, told = Clock(), {}
    admission = door(clock, rate=12, members=4, elsewhere=told)
    assert passed(admission, key("a")) == 12 * BURST_S
    clock.ms += 10_000
    told["a"] = 8
    assert passed(admission, key("a")) == 4 * BURST_S
    clock.ms += 1_000
    assert passed(admission, key("a")) == 4
    told["a"] = 10**9
    clock.ms += 1_000
    assert passed(admission, key("a")) == 3, "an even part is left, whatever others say"
    assert passed(admission, key("b")) == 12 * BURST_S


def test_streams_of_a_key_and_of_a_node_are_bounded():
    admission = door(Clock(), requests_max=4 * STREAMS_PER_KEY_MAX - 20)
    with ExitStack() as held:
        for _ in range(STREAMS_PER_KEY_MAX):
            held.enter_context(admission.stream(key("a")))
        with pytest.raises(Problem) as caught, admission.stream(key("a")):
            pass
        assert caught.value.code == "rate_limited"
        assert caught.value.fields["limit"] == STREAMS_PER_KEY_MAX
        for _ in range(STREAMS_PER_KEY_MAX - 10):
            held.enter_context(admission.stream(key("b")))
        with pytest.raises(Problem, match="this node") as caught, admission.stream(key("c")):
            pass
        both = 2 * STREAMS_PER_KEY_MAX - 10
        assert (caught.value.fields["limit"], caught.value.fields["used"]) == (both, both)
    with admission.stream(key("a")):
        assert admission._streams == {"a": 1}
    assert not admission._streams


def test_a_refused_call_is_neither_counted_nor_under_way():
    admission = door(Clock(), rate=1)
    for _ in range(BURST_S):
        admission.enter(key("a"), "write")
    refused(admission, key("a"), "write")
    assert (admission.under_way, admission._meter.used) == (BURST_S, BURST_S)
    spent = door(Clock(), calls=1)
    spent.enter(key("a"), "read")
    assert refused(spent, key("a")).code == "quota_exceeded"
    spent.enter(key("a"), "delete")
    spent.enter(key("a"), "")
    assert (spent.under_way, spent._meter.used) == (3, 2)


def test_buckets_are_bounded_and_the_oldest_goes_first():
    admission = door(Clock(), rate=1, requests_max=10**6)
    for number in range(BUCKETS_MAX + 10):
        admission.enter(key(f"k{number}"), "read")
    assert len(admission._buckets) == BUCKETS_MAX
    assert "k0" not in admission._buckets


def test_a_key_with_a_rate_is_told_when_to_come_again(api, make_key):
    headers, _ = make_key("documents:read", requests_per_s=1)
    answers = (api.get("/collections", headers=headers) for _ in range(500))
    refused = next(answer for answer in answers if answer.status_code != 200)
    body = problem(refused, 429, "rate_limited")
    assert body["limit"] == 1
    assert {"used", "resets"} <= set(body)
    assert int(refused.headers["Retry-After"]) >= 1
    assert api.get("/collections").status_code == 200


@pytest.mark.parametrize("rate", [0, -1, 10**9])
def test_a_rate_out_of_range_is_invalid(api, make_key, rate):
    _, key_id = make_key("documents:read")
    body = {"name": "t", "hash": "0" * 64, "scopes": [], "requests_per_s": rate}
    problem(api.put(f"/keys/{key_id}", json=body), 422, "invalid")
    problem(api.put("/quota", json={"requests_per_s": rate}), 422, "invalid")
