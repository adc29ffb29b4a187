"""Figures of one second: rates from counters, health from silence."""

from datetime import UTC, datetime
from uuid import UUID

from msgspec import structs

from portal.monitoring.figures import NodeTrack, make_frame
from portal.monitoring.types import Latency, NodeStats, Ops

CLUSTER = UUID(int=7)
AT = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)


def stats(node, sequence=10, *, total=0, ready=True, p95=None, quorum=3):
    return NodeStats(
        node_id=node,
        sequence=sequence,
        ready=ready,
        quorum=quorum,
        ops=Ops(total=total, reads=total),
        latency_ms=Latency(p95=p95),
    )


def track(node, *answers):
    made = NodeTrack(node)
    for at, answer in answers:
        made.answered(answer, at)
    return made


def frame(tracks, now):
    made = make_frame(CLUSTER, tracks, now=now, at=AT)
    assert made is not None
    return made


def test_throughput_adds_the_nodes_up():
    tracks = [
        track(n, (0.0, stats(n, total=100)), (1.0, stats(n, total=100 + 10 * n))) for n in range(4)
    ]
    assert frame(tracks, 1.0)["throughput"]["total"] == 60


def test_a_restarted_node_counts_from_zero_and_never_negative():
    restarted = track(0, (0.0, stats(0, total=5000)), (2.0, stats(0, total=30)))
    assert frame([restarted], 2.0)["throughput"]["total"] == 15


def test_one_answer_gives_no_rate():
    assert frame([track(0, (0.0, stats(0, total=99)))], 0.5)["throughput"]["total"] == 0


def test_latency_is_that_of_the_slowest_node_and_absent_when_idle():
    tracks = [track(0, (0.0, stats(0, p95=2.0))), track(1, (0.0, stats(1, p95=9.0)))]
    assert frame(tracks, 0.1)["latency_ms"]["p95"] == 9.0
    assert frame([track(0, (0.0, stats(0)))], 0.1)["latency_ms"]["p95"] is None


def test_silence_is_stale_then_down_and_its_figures_fade():
    quiet = track(0, (0.0, stats(0, total=0)), (1.0, stats(0, total=100, p95=5.0)))
    seen = [frame([quiet], now) for now in (1.5, 4.5, 11.5)]
    assert [f["nodes"][0]["health"] for f in seen] == ["up", "stale", "down"]
    assert [f["throughput"]["total"] for f in seen] == [100, 0, 0]
    assert [f["latency_ms"]["p95"] for f in seen] == [5.0, None, None]


def test_lag_is_measured_against_the_node_that_executed_most():
    tracks = [track(0, (0.0, stats(0, 50))), track(1, (0.0, stats(1, 42)))]
    assert [node["lag"] for node in frame(tracks, 0.1)["nodes"]] == [0, 8]


def test_status_follows_the_quorum():
    def status(ready):
        tracks = [track(n, (0.0, stats(n, ready=n < ready))) for n in range(4)]
        return frame(tracks, 0.1)["status"]

    assert [status(n) for n in (4, 3, 2)] == ["ok", "degraded", "down"]


def test_nothing_is_shown_of_a_cluster_that_never_answered():
    assert make_frame(CLUSTER, [NodeTrack(0), NodeTrack(1)], now=1.0, at=AT) is None


def test_after_a_view_change_the_silent_primary_is_no_primary_any_more():
    def said(node, view, primary):
        return structs.replace(
            stats(node), view=view, primary=primary, role="primary" if node == primary else "backup"
        )

    silent = track(0, (0.0, said(0, 0, 0)))
    heard = [track(n, (11.0, said(n, 1, 1))) for n in (1, 2, 3)]
    seen = frame([silent, *heard], 11.5)
    assert (seen["view"], seen["primary"]) == (1, 1)
    roles = [node["role"] for node in seen["nodes"]]
    assert roles == ["backup", "primary", "backup", "backup"]


def test_a_learner_is_shown_and_counted_for_nothing():
    members = [track(n, (0.0, stats(n, 900))) for n in range(4)]
    learner = track(4, (0.0, stats(4, 100, ready=False)))
    learner.is_learner = True
    seen = frame([*members, learner], 0.1)
    assert (seen["status"], seen["ready_count"], seen["member_count"]) == ("ok", 4, 4)
    shown = seen["nodes"][4]
    assert (shown["health"], shown["role"], shown["lag"]) == ("learning", "learner", 800)
