"""Fragments: any k of n give the segment back, and a wrong one is told by its digest."""

import subprocess
import sys
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataplane.storage import erasure

SEGMENTS = st.binary(max_size=600)


@st.composite
def codes(draw) -> tuple[int, int]:
    n = draw(st.integers(1, 16))
    return draw(st.integers(1, n)), n


@given(SEGMENTS, codes(), st.data())
def test_any_k_of_n_fragments_give_the_segment_back(segment, code, data):
    k, n = code
    fragments = erasure.encode(segment, k, n)
    places = data.draw(st.permutations(range(n)))[: data.draw(st.integers(k, n))]

    held = {place: fragments[place] for place in places}

    assert erasure.decode(held, k, n, len(segment)) == segment


@pytest.mark.parametrize("n", range(1, 11))
def test_every_choice_of_holders_of_a_cluster_suffices(n):
    k = erasure.needed(n)
    segment = bytes(range(251)) * 4
    fragments = erasure.encode(segment, k, n)

    for places in combinations(range(n), k):
        held = {place: fragments[place] for place in places}
        assert erasure.decode(held, k, n, len(segment)) == segment


@given(SEGMENTS, codes())
def test_fragments_are_equally_long_and_the_first_are_the_segment_itself(segment, code):
    k, n = code

    fragments = erasure.encode(segment, k, n)

    assert len(fragments) == n
    assert {len(f) for f in fragments} == {erasure.fragment_bytes(len(segment), k)}
    assert b"".join(fragments[:k])[: len(segment)] == segment


@given(SEGMENTS.filter(bool), codes(), st.data())
def test_a_flipped_bit_a_wrong_place_or_a_cut_end_is_told_by_the_digest(segment, code, data):
    k, n = code
    fragments = erasure.encode(segment, k, n)
    digests = tuple(erasure.digest(fragment) for fragment in fragments)
    place = data.draw(st.integers(0, n - 1))
    bit = data.draw(st.integers(0, len(fragments[place]) * 8 - 1))
    flipped = bytearray(fragments[place])
    flipped[bit // 8] ^= 1 << bit % 8

    assert erasure.is_sound(fragments[place], place, digests)
    assert not erasure.is_sound(bytes(flipped), place, digests)
    assert not erasure.is_sound(fragments[place][:-1], place, digests)
    assert not erasure.is_sound(fragments[place], n, digests)
    assert not erasure.is_sound(fragments[place], -1, digests)


@given(SEGMENTS, codes(), st.data())
def test_one_fragment_is_made_again_as_it_was(segment, code, data):
    k, n = code
    place = data.draw(st.integers(0, n - 1))

    assert erasure.rebuild(segment, k, n, place) == erasure.encode(segment, k, n)[place]


def test_the_code_is_the_same_on_every_machine_and_in_every_version():
    fragments = erasure.encode(bytes(range(100)), 2, 4)

    whole = erasure.digest(b"".join(fragments)).hex()

    assert whole == "f8e35e6dca7204c6e6c130b40ed7edeadf751611eb1745d3474de076278392f6"


def test_too_few_fragments_are_refused_before_they_are_decoded():
    fragments = erasure.encode(b"some documents", 2, 4)

    with pytest.raises(AssertionError, match="fewer fragments"):
        erasure.decode({1: fragments[1]}, 2, 4, 14)


@pytest.mark.parametrize(
    ("n", "k"), [(1, 1), (2, 1), (3, 2), (4, 2), (5, 3), (6, 4), (7, 3), (10, 4), (13, 5)]
)
def test_liars_and_absent_members_are_allowed_for_and_one_lost_disk_always(n, k):
    assert erasure.needed(n) == k


def test_a_node_imports_the_coder_only_where_several_fragments_make_a_segment():
    program = (
        "import sys, dataplane.node.app\n"
        "from dataplane.storage.erasure import decode, encode\n"
        "assert decode({1: encode(b'whole', 1, 2)[1]}, 1, 2, 5) == b'whole'\n"
        "assert 'zfec' not in sys.modules\n"
        "encode(b'whole', 2, 4)\n"
        "assert 'zfec' in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
