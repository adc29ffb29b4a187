"""The engine's promises: bounded in time, one at a time, cancellable, resumable."""

import threading
from dataclasses import replace
from datetime import timedelta

import pytest
from django.db import IntegrityError, connection, transaction

from portal.clusters import services, tasks
from portal.clusters.models import Cluster, Operation, OperationStep
from portal.clusters.operations import engine
from portal.clusters.provisioners.process import ProcessDriver
from portal.core import clock
from portal.core.tenancy import tenant_context


@pytest.fixture(autouse=True)
def _short_turns(monkeypatch):
    monkeypatch.setattr(engine, "TURN", timedelta(seconds=0.3))


@pytest.fixture
def lonely(tmp_path):
    """A driver on a machine without a supervisor: starting never works."""
    return ProcessDriver(tmp_path)


@pytest.fixture
def made(alice, access_of, in_acme):
    access = access_of(alice)
    cluster, operation = services.cluster_create(
        access, name="Orders", plan="starter", region="local-1", nodes=4
    )
    return access, cluster, operation


def advance_until_it_waits(operation: Operation, driver) -> OperationStep:
    """Let it work until a step waits for something."""
    for _ in range(100):
        engine.operation_advance(operation.pk, driver=driver)
        waiting = operation.steps.filter(status="running").exclude(waiting_for="").first()
        if waiting is not None:
            return waiting
    raise AssertionError("no step waits")


def stuck(operation: Operation, lonely) -> Operation:
    """Let the operation run into the deadline of its step."""
    running = advance_until_it_waits(operation, lonely)
    assert "no supervisor" in running.waiting_for
    OperationStep.objects.filter(pk=running.pk).update(deadline_at=clock.now())
    assert engine.operation_advance(operation.pk, driver=lonely) is False
    operation.refresh_from_db()
    return operation


class EndingDriver(ProcessDriver):
    """Sees no node, and its worker is told to end while it looks."""

    def observe(self, cluster):
        tasks.worker_ends()
        return super().observe(cluster)


def test_an_ending_worker_leaves_its_operation_to_the_next_one(made, tmp_path, monkeypatch):
    _, _, operation = made
    monkeypatch.setattr(engine, "_ending", threading.Event())
    monkeypatch.setattr(engine, "TURN", timedelta(minutes=10))
    monkeypatch.setattr(engine, "POLL_INTERVAL_S", 600)
    assert engine.operation_advance(operation.pk, driver=EndingDriver(tmp_path)) is True
    operation.refresh_from_db()
    assert operation.state == "running"
    assert "no supervisor" in operation.steps.get(status="running").waiting_for


def test_a_step_that_never_comes_about_ends_in_words(made, lonely):
    _, cluster, operation = made
    stuck(operation, lonely)
    assert operation.state == "needs_operator"
    assert "“Start the nodes” did not come about in time; it waited for" in operation.error
    assert operation.next_action
    assert Cluster.objects.get(pk=cluster.pk).status == "needs_operator"


def test_the_deadline_of_the_operation_counts_as_well(made, lonely):
    _, _, operation = made
    engine.operation_advance(operation.pk, driver=lonely)
    Operation.objects.filter(pk=operation.pk).update(deadline_at=clock.now())
    assert engine.operation_advance(operation.pk, driver=lonely) is False
    operation.refresh_from_db()
    assert operation.state == "needs_operator"


def test_a_retry_goes_on_at_the_step_that_stopped(made, lonely):
    access, cluster, operation = made
    stuck(operation, lonely)
    services.operation_retry(access, operation)
    assert Cluster.objects.get(pk=cluster.pk).status == "provisioning"
    advance_until_it_waits(operation, lonely)
    operation.refresh_from_db()
    assert (operation.state, operation.attempt, operation.error) == ("running", 2, "")
    assert operation.steps.get(name="place").status == "succeeded"
    assert operation.steps.get(name="start").status == "running"


@pytest.mark.parametrize("when", ["queued", "running", "stopped"])
def test_cancelling_works_in_every_state_that_is_not_final(made, supervisor, lonely, when):
    access, cluster, operation = made
    match when:
        case "running":
            engine.operation_advance(operation.pk, driver=lonely)
        case "stopped":
            stuck(operation, lonely)
    services.operation_cancel(access, operation)
    while engine.operation_advance(operation.pk):
        pass
    operation.refresh_from_db()
    assert operation.state == "cancelled"
    cluster.refresh_from_db()
    assert cluster.purged_at is not None
    assert bytes(cluster.admin_key) == b""


def test_an_undo_that_stops_is_retried_as_an_undo(made, supervisor, lonely):
    access, _, operation = made
    services.operation_cancel(access, operation)
    stuck(operation, lonely)
    assert operation.state == "needs_operator"
    services.operation_retry(access, operation)
    while engine.operation_advance(operation.pk):
        pass
    operation.refresh_from_db()
    assert operation.state == "cancelled"


def test_the_database_allows_one_active_operation_a_cluster(made):
    _, cluster, _ = made
    Operation.objects.update(state="running")
    with pytest.raises(IntegrityError), transaction.atomic():
        Operation.objects.create(
            cluster=cluster,
            kind="delete",
            state="running",
            deadline_at=clock.now(),
            created_at=clock.now(),
            requested_by="x",
        )


def test_another_operation_waits_for_the_one_at_work(made, lonely):
    _, cluster, first = made
    engine.operation_advance(first.pk, driver=lonely)
    second = Operation.objects.create(
        cluster=cluster,
        kind="delete",
        deadline_at=clock.now() + timedelta(hours=1),
        created_at=clock.now(),
        requested_by="x",
    )
    assert engine.operation_advance(second.pk, driver=lonely) is True
    second.refresh_from_db()
    assert second.state == "queued"


def test_operations_of_a_cluster_begin_in_the_order_in_which_they_were_asked_for(made, lonely):
    _, cluster, first = made
    second = Operation.objects.create(
        cluster=cluster,
        kind="restore_backup",
        deadline_at=clock.now() + timedelta(hours=1),
        created_at=clock.now(),
        requested_by="x",
    )
    assert engine.operation_advance(second.pk, driver=lonely) is True
    second.refresh_from_db()
    assert second.state == "queued", "a worker that died may have had the first one's message"
    engine.operation_advance(first.pk, driver=lonely)
    first.refresh_from_db()
    assert first.state == "running"


@pytest.mark.django_db(transaction=True)
def test_a_worker_leaves_alone_what_another_process_works_on(acme, alice, access_of, lonely):
    with tenant_context(acme.schema_name):
        _, operation = services.cluster_create(
            access_of(alice), name="Orders", plan="starter", region="local-1", nodes=4
        )
    held, release = threading.Event(), threading.Event()

    def other() -> None:
        with tenant_context(acme.schema_name), engine.cluster_lock(operation.cluster_id) as mine:
            assert mine
            held.set()
            release.wait(20)
        connection.close()

    thread = threading.Thread(target=other)
    thread.start()
    try:
        assert held.wait(10)
        with tenant_context(acme.schema_name):
            assert engine.operation_advance(operation.pk, driver=lonely) is True
            operation.refresh_from_db()
            assert operation.state == "queued"
    finally:
        release.set()
        thread.join()


def test_a_defect_in_a_step_becomes_words_and_not_an_endless_run(made, lonely, monkeypatch):
    _, _, operation = made

    def reserve(*_args, **_kwargs):
        raise RuntimeError("boom")

    monkeypatch.setattr(lonely, "reserve", reserve)
    step = advance_until_it_waits(operation, lonely)
    assert "unexpected RuntimeError" in step.waiting_for
    OperationStep.objects.filter(pk=step.pk).update(deadline_at=clock.now())
    engine.operation_advance(operation.pk, driver=lonely)
    operation.refresh_from_db()
    assert operation.state == "needs_operator"


def test_ports_are_remembered_and_never_given_twice(lonely):
    first, second = lonely.reserve("a", range(4)), lonely.reserve("b", range(7))
    assert lonely.reserve("a", range(4)) == first
    both = (*first.values(), *second.values())
    assert len({port for found in both for port in (found.peer_port, found.http_port)}) == 22
    lonely.release("a")
    assert lonely.reserve("b", range(7)) == second


def test_an_added_node_gets_ports_beside_those_that_are_kept(lonely):
    first = lonely.reserve("a", [0, 1, 2])
    added = lonely.reserve("a", [3])
    assert added[3] not in first.values()
    assert lonely.reserve("a", [0, 1, 2]) == first


def test_ports_reserved_by_an_older_version_are_kept(lonely, tmp_path):
    (tmp_path / "clusters").mkdir()
    (tmp_path / "clusters" / "ports.json").write_text('{"a": [20001, 20002, 20003, 20004]}')
    found = lonely.reserve("a", [0, 1, 2])
    assert (found[1].peer_port, found[1].http_port) == (20003, 20004)
    assert found[2].http_port not in {20001, 20002, 20003, 20004}


def test_a_step_says_how_far_it_is_while_one_call_is_at_work(made, lonely, monkeypatch):
    _, _, operation = made
    seen = []

    def works(context):
        for number in range(3):
            context.tell(f"row {number}")
            seen.append(context.operation.steps.get(status="running").waiting_for)

    first, *others = engine.STEPS["create"]
    monkeypatch.setitem(engine.STEPS, "create", (replace(first, run=works), *others))
    monkeypatch.setattr(engine, "TELL_EVERY", timedelta(0))
    engine.operation_advance(operation.pk, driver=lonely)
    assert seen[:3] == ["row 0", "row 1", "row 2"]
    assert operation.steps.get(name=first.name).waiting_for == "", "it is over"
    monkeypatch.setattr(engine, "TELL_EVERY", timedelta(hours=1))
    step = operation.steps.get(name=first.name)
    engine._teller(operation, step)("row 4")
    assert step.waiting_for == "", "not for every row a statement"
