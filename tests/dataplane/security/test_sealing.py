"""What is sealed opens at its place only, under its key only, and no nonce is used twice."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataplane.client.spec import Algorithm
from dataplane.security import aead
from dataplane.security.aead import HALF_BYTES, OVERHEAD_BYTES, Sealer, number_of
from dataplane.security.errors import SealedStreamError
from dataplane.security.streams import HEAD_BYTES, PART_BYTES, open_stream, seal_stream

KEY, OTHER_KEY = bytes(range(32)), bytes(32)
ALGORITHMS: tuple[Algorithm, ...] = ("aes-256-gcm", "chacha20-poly1305", "xchacha20-poly1305")
each_algorithm = pytest.mark.parametrize("algorithm", ALGORITHMS)


@each_algorithm
@given(plain=st.binary(max_size=300), place=st.binary(max_size=40))
def test_what_is_sealed_opens_in_another_life(
    algorithm: Algorithm, plain: bytes, place: bytes
) -> None:
    sealed = Sealer(algorithm, KEY, 7).seal(plain, place)
    assert number_of(sealed) == 7
    assert len(sealed) == len(plain) + OVERHEAD_BYTES
    assert Sealer(algorithm, KEY, 7).open(sealed, place) == plain


@each_algorithm
def test_a_flipped_bit_anywhere_is_noticed(algorithm: Algorithm) -> None:
    sealer = Sealer(algorithm, KEY, 1)
    sealed = sealer.seal(b"document", b"here")
    for at in range(8 * len(sealed)):
        changed = bytearray(sealed)
        changed[at // 8] ^= 1 << at % 8
        assert sealer.open(bytes(changed), b"here") is None
    for size in range(len(sealed)):
        assert sealer.open(sealed[:size], b"here") is None


@each_algorithm
def test_another_place_or_key_does_not_open_it(algorithm: Algorithm) -> None:
    sealed = Sealer(algorithm, KEY, 1).seal(b"document", b"here")
    assert Sealer(algorithm, KEY, 1).open(sealed, b"there") is None
    assert Sealer(algorithm, OTHER_KEY, 1).open(sealed, b"here") is None
    assert Sealer(algorithm, KEY, 2).open(sealed, b"here") is None


@each_algorithm
def test_no_nonce_is_used_twice(algorithm: Algorithm, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aead, "MESSAGES_MAX", 50)
    lives = [Sealer(algorithm, KEY, 1) for _ in range(3)]
    sealed = [life.seal(b"same", b"place") for _ in range(200) for life in lives]
    assert len({message[: 2 + 2 * HALF_BYTES] for message in sealed}) == len(sealed)
    assert len({message[2 : 2 + HALF_BYTES] for message in sealed}) == 3 * 4
    assert all(lives[0].open(message, b"place") == b"same" for message in sealed)


def test_names_are_keyed_and_say_nothing_of_what_they_stand_for() -> None:
    mine, other = Sealer("aes-256-gcm", KEY, 1), Sealer("aes-256-gcm", OTHER_KEY, 1)
    assert mine.name(b"id-1") == Sealer("chacha20-poly1305", KEY, 2).name(b"id-1")
    assert mine.name(b"id-1") != other.name(b"id-1")
    assert mine.name(b"id-1") != mine.name(b"id-2")


def chunked(data: bytes, size: int) -> list[bytes]:
    return [data[at : at + size] for at in range(0, len(data), size)]


@pytest.mark.parametrize("size", [0, 1, PART_BYTES - 1, PART_BYTES, PART_BYTES + 1, 200_000])
@pytest.mark.parametrize("chunk", [1_000, 70_000])
def test_a_stream_comes_back_whole(size: int, chunk: int) -> None:
    data = bytes(at % 251 for at in range(size))
    sealed = b"".join(seal_stream(KEY, chunked(data, chunk), b"snapshot 1"))
    assert b"".join(open_stream(KEY, chunked(sealed, chunk), b"snapshot 1")) == data


def test_a_changed_cut_or_misplaced_stream_is_refused() -> None:
    data = bytes(3 * PART_BYTES)
    sealed = b"".join(seal_stream(KEY, [data], b"snapshot 1"))
    part = PART_BYTES + 16
    swapped = sealed[:HEAD_BYTES] + sealed[HEAD_BYTES + part : HEAD_BYTES + 2 * part]
    swapped += sealed[HEAD_BYTES : HEAD_BYTES + part] + sealed[HEAD_BYTES + 2 * part :]
    bad = [
        b"",
        sealed[:10],
        sealed[:HEAD_BYTES],
        sealed[: HEAD_BYTES + part],
        sealed[:-1],
        swapped,
        sealed + b"x",
        b"\x00" + sealed[1:],
        sealed[:9] + b"\x00" + sealed[10:],
    ]
    for changed in bad:
        with pytest.raises(SealedStreamError):
            list(open_stream(KEY, [changed], b"snapshot 1"))
    for key, context in ((OTHER_KEY, b"snapshot 1"), (KEY, b"snapshot 2"), (b"short", b"")):
        with pytest.raises(SealedStreamError):
            list(open_stream(key, [sealed], context))
