"""Ingest: each fact counts once, whatever the order, repetition and batching."""

from datetime import timedelta
from decimal import Decimal

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from usage_factories import CLUSTER, NOW, PLANE, calls, event, sender, storage, uptime

from portal.core.tenancy import tenant_context
from portal.metering.alarms.models import MeteringAlarm
from portal.metering.models import DeadLetter, UsageDay, UsageEvent, UsageHour
from portal.metering.rollups import rollups_rebuild
from portal.metering.services import usage_ingest, usage_purge

T = NOW - timedelta(hours=6)


def minutes(count):
    return T + timedelta(minutes=count)


def ingest(acme, *events):
    return usage_ingest(sender(acme.schema_name), list(events), now=NOW)


def statuses(outcomes):
    return [outcome.status for outcome in outcomes]


def snapshot(acme):
    """Everything that can be read of the roll-ups."""
    with tenant_context(acme.schema_name):
        return [
            sorted(
                model.objects.values_list(
                    "cluster_id", "meter", "call_class", "start", "quantity", "covered_seconds"
                )
            )
            for model in (UsageHour, UsageDay)
        ]


def clear(acme):
    with tenant_context(acme.schema_name):
        for model in (UsageEvent, UsageHour, UsageDay):
            model.objects.all().delete()


def hour(acme, meter, call_class=""):
    with tenant_context(acme.schema_name):
        return {
            row.start: (row.quantity, row.covered_seconds)
            for row in UsageHour.objects.filter(meter=meter, call_class=call_class)
        }


def test_the_same_event_counts_once(acme):
    first = calls(T, 5)
    assert statuses(ingest(acme, first)) == ["accepted"]
    assert statuses(ingest(acme, first, first)) == ["duplicate", "duplicate"]
    reordered = dict(reversed(list(first.items())))
    assert statuses(ingest(acme, reordered)) == ["duplicate"]
    assert hour(acme, "api_calls", "read") == {T: (5, 0)}


def test_another_payload_under_the_same_id_is_refused_and_raises_an_alarm(acme):
    ingest(acme, calls(T, 5))
    (outcome,) = ingest(acme, calls(T, 6))
    assert (outcome.status, outcome.code) == ("conflict", "usage_conflict")
    ingest(acme, calls(T, 6))
    assert hour(acme, "api_calls", "read") == {T: (5, 0)}
    alarm = MeteringAlarm.objects.get()
    assert (alarm.schema, alarm.cluster_id, alarm.seen_count) == (acme.schema_name, CLUSTER, 2)
    assert alarm.refused_payload["data"]["value"] == 6


def test_a_contradiction_inside_one_batch_keeps_the_first(acme):
    assert statuses(ingest(acme, calls(T, 1), calls(T, 2))) == ["accepted", "conflict"]
    assert hour(acme, "api_calls", "read") == {T: (1, 0)}


@pytest.mark.parametrize(
    ("made", "code"),
    [
        (calls(NOW + timedelta(minutes=5), 1), "in_future"),
        (calls(NOW - timedelta(days=36), 1), "outside_window"),
        (calls(T, 1, plane="cd" * 16), "foreign_cluster"),
        (calls(T, 1, source=f"/clusters/{PLANE}0/nodes/1"), "foreign_cluster"),
        (calls(T, 1, id="fresh-uuid"), "underived_id"),
        (calls(T, 1, type="aerolith.usage.storage_bytes"), "no_matching_meter"),
        (event("cpu", T, 1), "no_matching_meter"),
        (calls(T, -1), "invalid"),
        (calls(T, 1.5), "invalid"),
        (calls(T, 2**63), "invalid"),
        (calls(T, 1, specversion="0.3"), "invalid"),
        (calls(T, 1, time="2026-11-24T06:01:00"), "invalid"),
        (calls(T, 1, seconds=0), "invalid_window"),
        (calls(T, 1, seconds=3601), "invalid_window"),
        (calls(minutes(30), 1, seconds=1860), "invalid_window"),
        (uptime(T, 61), "invalid"),
        ("nonsense", "invalid"),
        (None, "invalid"),
    ],
)
def test_what_cannot_be_counted_is_rejected_with_its_reason(acme, made, code):
    (outcome,) = ingest(acme, made)
    assert (outcome.status, outcome.code) == ("rejected", code)
    with tenant_context(acme.schema_name):
        assert not UsageEvent.objects.exists()
        assert DeadLetter.objects.count() == (code == "outside_window")


def test_a_bad_event_does_not_hold_up_the_others(acme):
    assert statuses(ingest(acme, calls(T, 1), "x", uptime(T))) == [
        "accepted",
        "rejected",
        "accepted",
    ]


def test_edges_of_the_time_window_are_inside(acme):
    newest = calls(NOW + timedelta(minutes=4), 1)
    oldest = calls(NOW - timedelta(days=35, seconds=60), 1)
    assert statuses(ingest(acme, newest, oldest)) == ["accepted", "accepted"]


def test_a_late_event_twice_is_one_dead_letter(acme):
    late = calls(NOW - timedelta(days=40), 1)
    ingest(acme, late)
    ingest(acme, late)
    with tenant_context(acme.schema_name):
        assert DeadLetter.objects.count() == 1


@pytest.mark.parametrize("count", [1, 1000])
def test_a_batch_costs_few_statements_whatever_its_size(acme, count):
    kinds = [calls, uptime, storage]
    batch = [kinds[i % 3](minutes(-i), 10) for i in range(count)]
    ingest(acme, calls(minutes(-2000), 1))
    with CaptureQueriesContext(
        connection,
    ) as captured:
        ingest(acme, *batch)
    writing = [q for q in captured if not q["sql"].startswith(("SET", "SAVEPOINT", "RELEASE"))]
    assert len(writing) <= 10, [q["sql"][:80] for q in writing]


def test_storage_is_weighted_by_time(acme):
    ingest(acme, storage(T, 100), storage(minutes(1), 200))
    assert hour(acme, "storage_bytes") == {T: (100 * 60 + 200 * 60, 120)}


def test_a_short_hole_takes_the_last_value_and_a_long_one_stays_a_gap(acme):
    ingest(acme, storage(T, 100), storage(minutes(3), 100))
    assert hour(acme, "storage_bytes") == {T: (100 * 240, 240)}
    ingest(acme, storage(minutes(10), 100))
    assert hour(acme, "storage_bytes") == {T: (100 * 300, 300)}


def test_a_hole_over_a_full_hour_is_split_between_the_hours(acme):
    ingest(acme, storage(minutes(59), 100), storage(minutes(62), 100))
    assert hour(acme, "storage_bytes") == {
        T: (6000, 60),
        T + timedelta(hours=1): (100 * 180, 180),
    }


def test_the_last_sample_is_not_carried_into_the_unknown(acme):
    ingest(acme, storage(T, 100))
    assert hour(acme, "storage_bytes") == {T: (6000, 60)}


def test_a_purge_deletes_only_what_is_past_its_time(acme):
    ingest(acme, calls(T, 5))
    with tenant_context(acme.schema_name):
        assert usage_purge(now=NOW + timedelta(days=434)) == 0
        assert usage_purge(now=NOW + timedelta(days=436)) == 1
        assert UsageHour.objects.count() == 1


@st.composite
def facts(draw):
    """Distinct facts around two full hours, so that holes cross them."""
    chosen = draw(
        st.lists(
            st.tuples(
                st.sampled_from(["api_calls", "node_seconds", "storage_bytes"]),
                st.integers(0, 150),
                st.sampled_from(["0", "1"]),
                st.sampled_from(["read", "write"]),
            ),
            unique=True,
            max_size=25,
        )
    )
    made, seen = [], set()
    for meter, minute, node, kind in chosen:
        if (meter == "storage_bytes" and (meter, minute) in seen) or (
            meter == "node_seconds" and (meter, minute, node) in seen
        ):
            continue
        seen |= {(meter, minute), (meter, minute, node)}
        value = draw(st.integers(0, 60))
        options = {"call_class": kind} if meter == "api_calls" else {}
        made.append(event(meter, minutes(minute), value, node=node, **options))
    return made


@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(made=facts(), data=st.data())
def test_order_repetition_and_batching_change_nothing(acme, made, data):
    clear(acme)
    if made:
        ingest(acme, *made)
    expected = snapshot(acme)
    clear(acme)
    repeated = made + data.draw(st.lists(st.sampled_from(made), max_size=10)) if made else []
    shuffled = data.draw(st.permutations(repeated))
    while shuffled:
        size = data.draw(st.integers(1, len(shuffled)))
        ingest(acme, *shuffled[:size])
        shuffled = shuffled[size:]
    assert snapshot(acme) == expected
    with tenant_context(acme.schema_name):
        rollups_rebuild(CLUSTER)
    assert snapshot(acme) == expected
    total = sum(e["data"]["value"] for e in made if e["data"]["meter"] == "api_calls")
    with tenant_context(acme.schema_name):
        days = UsageDay.objects.filter(meter="api_calls").values_list("quantity", flat=True)
        assert sum(days, Decimal(0)) == total


def test_a_rebuild_repairs_roll_ups_that_were_damaged(acme):
    ingest(acme, calls(T, 5), storage(T, 7), uptime(T))
    expected = snapshot(acme)
    with tenant_context(acme.schema_name):
        UsageHour.objects.update(quantity=0)
        UsageDay.objects.filter(meter="api_calls").delete()
        rollups_rebuild(CLUSTER)
    assert snapshot(acme) == expected
