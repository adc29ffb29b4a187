"""The linearizability checker against every order of small histories, and against known ones."""

import itertools
import random

import pytest

from dataplane.simulation import linearizability
from dataplane.simulation.linearizability import (
    ABSENT,
    Operation,
    Seen,
    TooManyConfigurationsError,
    document_step,
    documents_step,
    first_violation,
    linearization,
)


def explained_by_some_order(operations: list[Operation]) -> bool:
    """Try every order of every choice of unknown outcomes."""
    known = [o for o in operations if o.returned is not None]
    unknown = [o for o in operations if o.returned is None]
    for count in range(len(unknown) + 1):
        for happened in itertools.combinations(unknown, count):
            for order in itertools.permutations([*known, *happened]):
                if respects_time(order) and fits(order):
                    return True
    return False


def respects_time(order: tuple[Operation, ...]) -> bool:
    return all(
        later.returned is None or later.returned >= earlier.called
        for earlier, later in itertools.combinations(order, 2)
    )


def fits(order: tuple[Operation, ...]) -> bool:
    state: Seen | None = ABSENT
    for operation in order:
        state = document_step(state, operation)
        if state is None:
            return False
    return True


def random_history(draw: random.Random) -> list[Operation]:
    """Make answers that are often right: run in a random order, then spoil one now and then."""
    size = draw.randrange(1, 7)
    points = sorted(draw.sample(range(30), size))
    state = ABSENT
    history = []
    for number, point in enumerate(points):
        kind = draw.choice(["read", "write", "cas"])
        expected = draw.randrange(0, 4) if kind == "cas" else None
        value = None if kind == "read" else number
        accepted = kind != "cas" or expected == state[0]
        if kind != "read" and accepted:
            state = (state[0] + 1, value)
        answer = state if kind == "read" else (state[0], None)
        if draw.random() < 0.15:
            answer = (answer[0] + draw.choice([-1, 1]), answer[1])
        returned = None if draw.random() < 0.2 else point + draw.randrange(0, 12)
        called = point - draw.randrange(0, 12)
        history.append(Operation("k", kind, called, returned, value, expected, answer, accepted))
    draw.shuffle(history)
    return history


def test_the_checker_agrees_with_brute_force_on_thousands_of_small_histories():
    verdicts = {True: 0, False: 0}
    for seed in range(4_000):
        history = random_history(random.Random(seed))
        expected = explained_by_some_order(history)
        for step in (document_step, documents_step(history)):
            found = linearization(history, step, ABSENT)
            assert (found is not None) == expected, f"seed {seed}: {history}"
            if found is not None:
                assert respects_time(found), f"seed {seed}"
                assert fits(found), f"seed {seed}"
        verdicts[expected] += 1
    assert min(verdicts.values()) > 500, verdicts


def write(value: int, called: int, returned: int | None, version: int = 0) -> Operation:
    return Operation("k", "write", called, returned, value, None, (version, None))


def read(seen: Seen, called: int, returned: int) -> Operation:
    return Operation("k", "read", called, returned, answer=seen)


def test_a_stale_read_is_refused_and_named_with_the_shortest_history():
    history = [write(1, 0, 1, 1), write(2, 2, 3, 2), read((1, 1), 4, 5), write(3, 6, 7, 3)]
    violation = first_violation(history)
    assert violation is not None
    assert violation.key == "k"
    assert violation.operations == tuple(history[:3])
    assert "stale" not in str(violation)
    assert "not linearizable" in str(violation)


def test_a_read_that_overlaps_a_write_may_see_either_state():
    for seen in (ABSENT, (1, 1)):
        assert first_violation([write(1, 0, 10, 1), read(seen, 4, 5)]) is None


def test_a_value_seen_once_does_not_vanish_again():
    history = [write(1, 0, 100, 1), read((1, 1), 4, 5), read(ABSENT, 6, 7)]
    assert first_violation(history) is not None


def test_a_write_of_unknown_outcome_may_happen_late_or_never_but_not_early():
    unknown = write(1, 10, None)
    assert first_violation([unknown, read(ABSENT, 20, 21)]) is None
    assert first_violation([unknown, read(ABSENT, 20, 21), read((1, 1), 90, 91)]) is None
    assert first_violation([unknown, read((1, 1), 5, 6)]) is not None


def test_two_compare_and_sets_on_one_version_do_not_both_succeed():
    swaps = [Operation("k", "cas", 0, 9, value, 0, (1, None)) for value in (1, 2)]
    assert first_violation(swaps) is not None
    refused = Operation("k", "cas", 0, 9, 2, 0, (1, None), accepted=False)
    assert first_violation([swaps[0], refused]) is None


def test_keys_are_independent():
    other = Operation("other", "write", 2, 3, 2, None, (1, None))
    assert first_violation([write(1, 0, 1, 1), other]) is None


def test_many_operations_of_a_sequential_client_are_checked_at_once():
    history = [write(n, 2 * n, 2 * n + 1, n + 1) for n in range(3_000)]
    assert first_violation(history) is None


@pytest.mark.parametrize("lost", [(), (33,)], ids=["whole", "one write lost"])
def test_many_unknown_outcomes_are_told_apart_by_what_was_read_since(lost):
    """As after kills: of the outcomes that nobody was told, every third took effect."""
    history: list[Operation] = []
    version = 0
    for n in range(180):
        at = 10 * n
        if n % 4 == 1:
            history.append(write(n, at, None))
            happened = n % 3 == 0
        else:
            happened = True
            history.append(write(n, at, at + 5, version + 1))
        if happened:
            version += n not in lost
            history.append(read((version, n), at + 6, at + 7))
    violation = first_violation(history)
    assert (violation is None) == (not lost)


def test_a_search_without_end_is_given_up(monkeypatch):
    monkeypatch.setattr(linearizability, "CONFIGURATIONS_MAX", 1_000)
    history = [write(n, 0, None) for n in range(20)] + [read((99, 99), 1, 2)]
    with pytest.raises(TooManyConfigurationsError):
        first_violation(history)
