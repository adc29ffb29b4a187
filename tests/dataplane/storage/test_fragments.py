"""Fragments on disk and on the wire: what was packed comes back, and nothing else."""

import tracemalloc

import zstandard
from hypothesis import given
from hypothesis import strategies as st

from dataplane.storage.engine import RocksStore
from dataplane.storage.fragments import (
    fragment_key,
    fragment_keys,
    fragment_prefix,
    pack,
    segment_of,
    unpack,
)


@given(st.binary(max_size=300))
def test_a_fragment_comes_back_as_it_was_packed(fragment):
    assert unpack(pack(fragment), len(fragment)) == fragment


def test_what_repeats_itself_takes_less_room_and_what_does_not_takes_one_byte_more():
    assert len(pack(b"aerolith" * 1000)) < 200
    assert len(pack(bytes(range(256)))) == 257


@given(st.binary(max_size=60), st.integers(0, 80))
def test_bytes_that_were_not_packed_never_raise_and_never_give_another_length(packed, length):
    fragment = unpack(packed, length)

    assert fragment is None or len(fragment) == length


def test_a_small_frame_that_grows_without_end_is_refused_before_it_grows():
    bomb = b"\1" + zstandard.ZstdCompressor().compress(bytes(64 * 1024 * 1024))

    assert len(bomb) < 10_000
    tracemalloc.start()
    try:
        assert unpack(bomb, 1000) is None
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 1024 * 1024


def test_a_frame_that_lies_about_its_length_or_has_more_behind_it_is_refused():
    frame = zstandard.ZstdCompressor(write_content_size=False).compress(b"a" * 100)

    assert unpack(b"\1" + frame, 100) is None
    assert unpack(pack(b"a" * 100) + b"more", 100) is None


def test_keys_tell_the_segment_and_begin_like_the_collection(tmp_path):
    store = RocksStore(tmp_path / "state")
    keys = [fragment_key(7, 3), fragment_key(7, 260), fragment_key(8, 1)]
    store.write(dict.fromkeys(keys, b"x") | {b"h": b"", b"f": b""})

    assert list(fragment_keys(store)) == keys
    assert list(fragment_keys(store, keys[1])) == keys[1:]
    assert [segment_of(key) for key in keys] == [3, 260, 1]
    assert keys[0].startswith(fragment_prefix(7))
    store.close()
