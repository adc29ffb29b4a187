"""Rebuilding fragments in the background: whatever can be had is, and the rest is tried again."""

import asyncio
from typing import override

import pytest

from dataplane.documents.cold import ColdReader
from dataplane.node import healing
from dataplane.node.healing import Healer
from dataplane.replication.errors import NotReadyError
from tests.dataplane.documents.member_group import MemberGroup, fragment_of, write_fragment


class Holders(ColdReader):
    """Reads from the other members of a group, in this process."""

    def __init__(self, group: MemberGroup, *holders: int) -> None:
        self.group, self.holders = group, set(holders)
        self.asked: list[int] = []
        self.lost: set[int] = set()

    @override
    def known(self, number: int) -> bytes | None:
        return None

    @override
    async def fetch(self, number: int, *, timeout_ms: int) -> bytes | None:
        self.asked.append(number)
        await asyncio.sleep(0)
        if number in self.lost:
            raise NotReadyError("too few holders")
        record = self.group.first.state.tiers.segment(number)
        return None if record is None else self.group.segment(record, self.holders)


class StoppedClock:
    def now_ms(self) -> int:
        return 0


@pytest.fixture
def group(monkeypatch) -> MemberGroup:
    monkeypatch.setattr(healing, "REST_S", 0.0)
    made = MemberGroup(1, 2, 3, 4)
    for name in "abcdef":
        made.fill(name)
    return made


def lose(group: MemberGroup, number: int) -> list[bytes | None]:
    """Remove all fragments of a member; return them."""
    machine = group.machines[number]
    lost = [fragment_of(machine, record) for record in group.records()]
    for record in group.records():
        write_fragment(machine, record, None)
    machine.mending.look()
    return lost


def test_all_that_is_missing_is_rebuilt_from_k_others(group):
    machine = group.machines[2]
    lost = lose(group, 2)
    healer = Healer(Holders(group, 1, 4), machine.mending, StoppedClock())
    assert asyncio.run(healer.heal())
    assert [fragment_of(machine, record) for record in group.records()] == lost
    assert machine.mending.wanted == ()


def test_what_cannot_be_had_is_tried_again_after_the_others(group):
    machine = group.machines[2]
    lost = lose(group, 2)
    numbers = [record.number for record in group.records()]
    holders = Holders(group, 1, 4)
    holders.lost = set(numbers[:2])
    healer = Healer(holders, machine.mending, StoppedClock())
    assert asyncio.run(healer.heal())
    assert machine.mending.wanted == tuple(numbers[:2])
    assert [fragment_of(machine, record) for record in group.records()][2:] == lost[2:]
    holders.lost.clear()
    assert asyncio.run(healer.heal())
    assert [fragment_of(machine, record) for record in group.records()] == lost


def test_holders_that_have_nothing_are_left_alone_for_a_while(group):
    machine = group.machines[2]
    lose(group, 2)
    holders = Holders(group, 1, 4)
    holders.lost = {record.number for record in group.records()}
    healer = Healer(holders, machine.mending, StoppedClock())
    assert not asyncio.run(healer.heal())
    assert len(holders.asked) == healing.FAILURES_MAX
    assert len(machine.mending.wanted) == 6
