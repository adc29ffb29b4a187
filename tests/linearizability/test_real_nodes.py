"""What clients of real nodes see is linearizable while nodes are killed and started again."""

import pytest

from dataplane.client.local import LocalCluster
from dataplane.simulation.linearizability import Operation, first_violation
from tests.linearizability.recorder import Crowd, Recorder, RecordingClient
from tests.network_proxy import Network
from tests.processes.conftest import wait_for, wait_ready

BACKUPS = (1, 2, 3)
PRIMARIES = (0, 1, 2)
"""Of views 0, 1 and 2: each is killed while it leads, unless the view moved on before."""
ANSWERS_BETWEEN_FAULTS = 60


def wait_answers(crowd: Crowd, count: int) -> None:
    wanted = crowd.recorder.answered + count
    wait_for(lambda: crowd.recorder.answered >= wanted, f"{count} more answers")


def kinds_of(history: list[Operation]) -> dict[tuple[str, bool], int]:
    kinds: dict[tuple[str, bool], int] = {}
    for operation in history:
        if operation.returned is not None:
            kind = operation.kind, operation.accepted
            kinds[kind] = kinds.get(kind, 0) + 1
    return kinds


@pytest.mark.parametrize("victims", [BACKUPS, PRIMARIES], ids=["backups", "primaries"])
def test_a_history_is_linearizable_while_nodes_are_killed_and_started(make_cluster, victims):
    cluster: LocalCluster = make_cluster(4)
    crowd = Crowd(cluster, clients=6, keys=3)
    for victim in victims:
        wait_answers(crowd, ANSWERS_BETWEEN_FAULTS)
        cluster.kill(victim)
        wait_answers(crowd, ANSWERS_BETWEEN_FAULTS)
        cluster.start(victim)
        wait_ready(cluster, victim)
    wait_answers(crowd, ANSWERS_BETWEEN_FAULTS)
    history = crowd.stop()
    kinds = kinds_of(history)
    assert set(kinds) == {("read", True), ("write", True), ("cas", True), ("cas", False)}, kinds
    violation = first_violation(history)
    assert violation is None, str(violation)


def test_a_read_of_a_node_that_was_cut_off_makes_the_history_refused(tmp_path):
    cluster = LocalCluster(tmp_path / "cluster", 4)
    network = Network(cluster)
    try:
        cluster.start()
        wait_ready(cluster)
        recorder = Recorder()
        client = RecordingClient(cluster, recorder)
        client.write(3, "k", 1)
        network.split([0, 1, 2], [3])
        client.write(0, "k", 2)
        assert first_violation(recorder.history) is None
        client.read(3, "k", "local")
    finally:
        cluster.kill()
        network.close()
    stale = recorder.history[-1]
    assert stale.answer == (1, 1)
    violation = first_violation(recorder.history)
    assert violation is not None
    assert stale in violation.operations
