"""Queries in turns: who runs when, how many, and what is let go."""

import asyncio
import itertools
from collections.abc import Generator

import pytest

from dataplane.gateways.errors import Problem
from dataplane.gateways.turns import RUNNING_MAX, WAITING_MAX, Turns


def steps(log: list[str], name: str, count: int) -> Generator[None, None, str]:
    try:
        for number in range(count):
            log.append(f"{name}{number}")
            yield
        return name
    finally:
        log.append(f"{name} closed")


async def test_queries_and_others_take_turns() -> None:
    turns, log = Turns(), []

    async def others() -> None:
        while "b closed" not in log:
            log.append("-")
            await asyncio.sleep(0)

    async with asyncio.TaskGroup() as group:
        first = group.create_task(turns.run(steps(log, "a", 3)))
        second = group.create_task(turns.run(steps(log, "b", 3)))
        group.create_task(others())
    assert (first.result(), second.result()) == ("a", "b")
    slices = [entry for entry in log if entry[1:].isdigit()]
    assert slices == ["a0", "b0", "a1", "b1", "a2", "b2"]
    for one, following in itertools.pairwise(slices):
        assert "-" in log[log.index(one) : log.index(following)], log


async def test_only_so_many_run_and_wait() -> None:
    turns, log = Turns(), []
    tasks = [
        asyncio.ensure_future(turns.run(steps(log, f"{n}.", 2)))
        for n in range(RUNNING_MAX + WAITING_MAX)
    ]
    await asyncio.sleep(0)
    assert {entry.split(".")[0] for entry in log} <= {f"{n}" for n in range(RUNNING_MAX)}
    with pytest.raises(Problem) as caught:
        await turns.run(steps(log, "late", 1))
    assert caught.value.code == "rate_limited"
    await asyncio.wait(tasks)
    assert await turns.run(steps(log, "then", 1)) == "then"


async def test_a_query_whose_client_left_is_closed_and_gives_up_its_place() -> None:
    turns, log = Turns(), []
    tasks = [
        asyncio.ensure_future(turns.run(steps(log, f"{n}", 1_000_000))) for n in range(RUNNING_MAX)
    ]
    for _ in range(20):
        await asyncio.sleep(0)
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    assert all(f"{n} closed" in log for n in range(RUNNING_MAX))
    assert await turns.run(steps(log, "next", 2)) == "next"
