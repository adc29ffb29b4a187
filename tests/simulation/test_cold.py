"""Cold segments read over a network that loses, from holders of which some lie."""

import pytest

from dataplane.replication import fragments
from dataplane.simulation import cold_reading
from dataplane.simulation.planting import patched
from dataplane.simulation.sweep import run_seed
from dataplane.storage.erasure import decode

SEEDS_WITH_LIARS = (1079, 1092, 1100)


@pytest.mark.parametrize("seed", SEEDS_WITH_LIARS)
def test_segments_are_read_and_wrong_fragments_refused(seed):
    result = run_seed(seed, "documents")
    assert result.violation is None
    assert result.counters["cold_read_answered"]
    assert result.counters["wrong_fragment_refused"]


def test_a_reader_that_believes_its_holders_is_caught():
    def believed(gathering):
        record = gathering.record
        return decode(gathering.fragments, record.k, len(record.members), record.size)

    unchecked = [(fragments, "is_sound", lambda *_: True), (cold_reading, "whole", believed)]
    with patched(unchecked):
        found = [run_seed(seed, "documents").violation for seed in SEEDS_WITH_LIARS]
    assert any(violation is not None and "cold_segments" in violation for violation in found)
