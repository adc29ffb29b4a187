"""Objects of the archive open where they belong, under the key they were made for, and else not."""

import pytest

from dataplane.security.archive_objects import (
    HEAD_BYTES,
    OBJECT_OVERHEAD_BYTES,
    number_in,
    object_key,
    object_name,
    object_place,
    open_object,
    seal_object,
)

SECRET, OTHER = b"s" * 32, b"o" * 32
SALT = b"t" * 32
DIGEST = b"d" * 32
PLACE = object_place("c" * 32, 7, 99, DIGEST)
PLAIN = b"pangolin" * 40
KEY = object_key(SECRET, b"")
ALGORITHMS = ["aes-256-gcm", "chacha20-poly1305", "xchacha20-poly1305"]


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_an_object_opens_at_its_place_and_under_its_key_only(algorithm):
    data = seal_object(KEY, algorithm, PLAIN, PLACE)
    assert open_object(KEY, data, PLACE) == PLAIN
    assert b"pangolin" not in data
    assert len(data) == len(PLAIN) + OBJECT_OVERHEAD_BYTES
    assert data != seal_object(KEY, algorithm, PLAIN, PLACE)
    elsewhere = [
        object_place("x" * 32, 7, 99, DIGEST),
        object_place("c" * 32, 8, 99, DIGEST),
        object_place("c" * 32, 7, 98, DIGEST),
        object_place("c" * 32, 7, 99, b"e" * 32),
    ]
    assert [open_object(KEY, data, place) for place in elsewhere] == [None] * 4
    for key in (object_key(OTHER, b""), object_key(SECRET, SALT), object_key(SECRET, b"u")):
        assert open_object(key, data, PLACE) is None


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_no_byte_of_an_object_can_be_changed_and_none_left_out(algorithm):
    data = seal_object(KEY, algorithm, b"short", PLACE)
    for at in range(len(data)):
        changed = bytearray(data)
        changed[at] ^= 1
        assert open_object(KEY, bytes(changed), PLACE) is None
        assert open_object(KEY, data[:at], PLACE) is None
    assert open_object(KEY, data + b"\0", PLACE) is None
    assert open_object(KEY, data[:HEAD_BYTES], PLACE) is None


def test_the_key_of_a_salt_is_not_the_common_one_nor_that_of_another_salt():
    keys = {object_key(SECRET, salt) for salt in (b"", SALT, b"v" * 32)}
    assert len(keys) == 3


def test_a_name_tells_the_number_and_nothing_of_what_is_in_it_to_who_has_no_secret():
    name = object_name(SECRET, 99, DIGEST)
    assert number_in(name) == 99
    assert name == object_name(SECRET, 99, DIGEST)
    assert name != object_name(OTHER, 99, DIGEST)
    assert name != object_name(SECRET, 99, b"e" * 32)
    assert object_name(SECRET, 98, DIGEST).split("-")[1] == name.split("-")[1]
    for odd in ("", "x", "99-aa", name[1:], name + "0", "g" + name[1:], name.replace("-", "+")):
        assert number_in(odd) is None
