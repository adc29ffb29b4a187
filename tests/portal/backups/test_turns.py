"""Turns of heavy work: a few for all, fewer for one organization, and who waits says so."""

from contextvars import ContextVar
from datetime import timedelta
from queue import SimpleQueue
from threading import Event, Thread

import pytest
from django.db import connection

from portal.backups import turns
from portal.backups.constants import TURNS_AT_ONCE, TURNS_PER_ORGANIZATION
from portal.backups.drilling import drill_run
from portal.backups.models import Drill
from portal.backups.moments import Point
from portal.backups.previewing import preview_request, preview_run, previews_give_up
from portal.backups.requests import restore_in_place
from portal.backups.turns import heavy_turn
from portal.clusters.operations import engine
from portal.clusters.operations.engine import operation_advance
from portal.core import clock
from portal.core.tenancy import current_schema
from tests.portal.backups.test_taking import take

pytestmark = pytest.mark.django_db

_schema: ContextVar[str] = ContextVar("schema")


@pytest.fixture
def others(monkeypatch):
    """A function by which other workers, each with a connection of its own, take a turn."""
    monkeypatch.setattr(turns, "current_schema", lambda: _schema.get(None) or current_schema())
    ends, threads = Event(), []

    def work(schema: str, answers: SimpleQueue) -> None:
        _schema.set(schema)
        with heavy_turn() as is_ours:
            answers.put(is_ours)
            ends.wait()
        connection.close()

    def take_turn(schema: str) -> bool:
        answers = SimpleQueue()
        threads.append(Thread(target=work, args=(schema, answers)))
        threads[-1].start()
        return answers.get(timeout=20)

    def leave() -> None:
        ends.set()
        for thread in threads:
            thread.join()

    take_turn.leave = leave
    yield take_turn
    leave()


def test_there_are_a_few_turns_for_all_and_fewer_for_one_organization(db, others):
    assert all(others("a") for _ in range(TURNS_PER_ORGANIZATION))
    assert not others("a")
    assert all(others(f"b{number}") for number in range(TURNS_AT_ONCE - TURNS_PER_ORGANIZATION))
    assert not others("c"), "all turns are taken"
    others.leave()
    _schema.set("c")
    with heavy_turn() as is_ours, heavy_turn() as inner:
        assert is_ours
        assert inner, "who has a turn may ask again"
    _schema.set("")


def test_a_preview_and_a_rehearsal_wait_for_their_turn(
    access, cluster, client, directory_store, others
):
    backup = take(access, cluster)
    preview = preview_request(access, Point(backup))
    for _ in range(TURNS_PER_ORGANIZATION):
        assert others(current_schema())
    preview_run(preview.pk)
    assert drill_run(cluster.pk) is None
    assert not Drill.objects.exists()
    preview.refresh_from_db()
    assert (preview.state, preview.stage) == ("running", turns.WAITS)
    previews_give_up(now=clock.now() + timedelta(minutes=61))
    preview.refresh_from_db()
    assert preview.state == "failed"
    assert "others were first" in preview.problem
    others.leave()
    preview = preview_request(access, Point(backup))
    preview_run(preview.pk)
    preview.refresh_from_db()
    assert (preview.state, preview.problem) == ("done", "")


def test_a_restore_that_waits_for_its_turn_leaves_its_thread_to_others(
    access, cluster, client, directory_store, others, monkeypatch
):
    backup = take(access, cluster)
    _, operation = restore_in_place(access, cluster, backup, confirm=cluster.name)
    for _ in range(TURNS_PER_ORGANIZATION):
        assert others(current_schema())
    step = operation.steps.filter(name="fetch")
    polled: list[str] = []
    wait = engine._ending.wait

    def poll(seconds: float) -> None:
        polled.extend(step.values_list("waiting_for", flat=True))
        wait(seconds)

    monkeypatch.setattr(engine._ending, "wait", poll)
    assert operation_advance(operation.pk), "the sweep asks again"
    assert step.get().waiting_for == turns.WAITS
    assert turns.WAITS not in polled
    others.leave()
    operation_advance(operation.pk)
    operation.refresh_from_db()
    assert operation.state == "succeeded"
