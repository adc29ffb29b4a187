"""A sealed stream opens whole and unchanged, or not at all."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portal.core.streams import PART_BYTES, SealedStreamDamaged, open_stream, seal_stream

KEY, CONTEXT = b"k" * 32, b"what it is"


def sealed(data: bytes) -> bytes:
    return b"".join(seal_stream(KEY, iter([data]), CONTEXT))


def opened(data: bytes, *, key: bytes = KEY, context: bytes = CONTEXT, size: int = 1000) -> bytes:
    pieces = (data[at : at + size] for at in range(0, len(data), size))
    return b"".join(open_stream(key, pieces, context))


@given(st.integers(0, 2 * PART_BYTES + 3), st.integers(1, 10_000))
def test_what_was_sealed_opens(length, size):
    data = bytes(range(256)) * (length // 256) + bytes(length % 256)
    assert opened(sealed(data), size=size) == data


@pytest.mark.parametrize("length", [0, 5, PART_BYTES, 2 * PART_BYTES + 9])
def test_a_change_a_cut_or_another_key_is_noticed(length):
    whole = sealed(bytes(length))
    for at in {0, 9, 45, len(whole) // 2, len(whole) - 1}:
        damaged = whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :]
        with pytest.raises(SealedStreamDamaged):
            opened(damaged)
    for end in (0, 20, 40, len(whole) - 1, len(whole) - length // 2 - 1):
        with pytest.raises(SealedStreamDamaged):
            opened(whole[:end])
    for options in ({"key": b"x" * 32}, {"context": b"other"}):
        with pytest.raises(SealedStreamDamaged):
            opened(whole, **options)


def test_parts_cannot_change_places():
    whole = sealed(bytes(3 * PART_BYTES))
    size, head = PART_BYTES + 16, 40
    first, second = whole[head : head + size], whole[head + size : head + 2 * size]
    with pytest.raises(SealedStreamDamaged):
        opened(whole[:head] + second + first + whole[head + 2 * size :])
