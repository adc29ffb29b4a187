"""Who makes segments anew: the primary at once, the others when it leaves that undone."""

from types import SimpleNamespace

from dataplane.node.resealing import PATIENCE, Resealer
from tests.dataplane.documents.member_group import MemberGroup


class Place:
    """Where one member's resealer works: its state is real, who leads is told."""

    def __init__(self, group: MemberGroup, node_id: int, *, primary: int) -> None:
        self.status = SimpleNamespace(node_id=node_id, primary=primary, ready=True)
        cluster = SimpleNamespace(status=lambda: self.status)
        view = group.machines[node_id].state.view
        self.resealer = Resealer(SimpleNamespace(cluster=cluster), view, None)

    def looks(self, count: int) -> list[int]:
        for _ in range(count):
            self.resealer.look()
        return self.resealer.wanted()


def misplaced_group() -> MemberGroup:
    group = MemberGroup(1, 2, 3, 4)
    for name in "abcdef":
        group.fill(name)
    group.change(1, 2, 3, 5)
    return group


def test_the_primary_takes_a_few_at_a_time_and_comes_back_to_what_could_not_be_had():
    group = misplaced_group()
    numbers = [record.number for record in group.records()]
    place = Place(group, 1, primary=1)
    assert place.looks(1) == numbers[:4]
    place.resealer._failed.update(numbers[:3])
    assert place.looks(1) == numbers[3:]
    place.resealer._failed.update(numbers)
    assert place.looks(1) == []
    assert place.looks(1) == numbers[:4]
    place.status.ready = False
    assert place.looks(1) == []


def test_another_steps_in_only_where_nothing_gets_less():
    group = misplaced_group()
    place = Place(group, 2, primary=1)
    assert place.looks(PATIENCE + 4) == [], "the first look has nothing to compare with"
    assert len(place.looks(1)) == 4
    group.warm_out(group.records()[0])
    assert place.looks(1) == [], "the primary is at work"
    assert place.looks(PATIENCE + 3) == []
    assert len(place.looks(1)) == 4


def test_where_all_is_as_it_should_be_nobody_does_anything():
    group = MemberGroup(1, 2, 3, 4)
    group.fill("a")
    assert Place(group, 2, primary=1).looks(3 * PATIENCE) == []
    assert Place(group, 1, primary=1).looks(3 * PATIENCE) == []
