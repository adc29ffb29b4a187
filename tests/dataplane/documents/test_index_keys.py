"""The bytes of a value sort as the value does, whole and cut."""

from hypothesis import given
from hypothesis import strategies as st

from dataplane.documents.index_entries import moment_ms
from dataplane.documents.index_keys import PART_BYTES, encode_value, part_of
from dataplane.documents.ordering import sort_key

NUMBERS = st.one_of(
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False, allow_infinity=False).map(lambda value: value + 0.0),
    st.sampled_from([2**53, 2**53 + 1, 2.0**53, 2**62, 2**62 + 1, 2.0**62, 2**63 - 1, 0, 0.0, 1.0]),
)
TEXTS = st.one_of(
    st.text(alphabet="ab\x00\x01é\U0001f600\uffff", max_size=4),
    st.builds(lambda head, tail: head * 130 + tail, st.sampled_from("ab\x00"), st.text("ab\x00")),
)
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), NUMBERS, TEXTS),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["", "a", "b", "\x00", "aa"]), inner, max_size=3)
    ),
    max_leaves=6,
)


@given(VALUES, VALUES)
def test_encodings_sort_as_values_do_and_none_begins_another(left, right):
    one, other = encode_value(left, 10**6), encode_value(right, 10**6)
    assert (one < other) == (sort_key(left) < sort_key(right))
    assert (one == other) == (sort_key(left) == sort_key(right))
    if one != other:
        assert not other.startswith(one)


@given(VALUES, VALUES)
def test_parts_of_keys_never_sort_against_their_values_in_either_direction(left, right):
    for direction, (low, high) in ((1, (left, right)), (-1, (right, left))):
        if sort_key(left) <= sort_key(right):
            one, other = part_of(low, direction), part_of(high, direction)
            assert one.data + b"\x00" <= other.data + b"\x00\xff"
            assert len(one.data) <= PART_BYTES


@given(VALUES, VALUES)
def test_exact_parts_are_equal_only_for_equal_values(left, right):
    one, other = part_of(left, 1, exact=True), part_of(right, -1, exact=True)
    same = part_of(right, 1, exact=True)
    assert (one.data == same.data) == (sort_key(left) == sort_key(right))
    assert one.is_cut == (len(one.data) > PART_BYTES)
    assert other.is_cut == same.is_cut


def test_dates_are_understood_in_seconds_or_as_text():
    assert moment_ms(1_700_000_000) == moment_ms(1_700_000_000.0) == 1_700_000_000_000
    assert moment_ms("2023-11-14T22:13:20Z") == 1_700_000_000_000
    assert moment_ms("2023-11-14T23:13:20.5+01:00") == 1_700_000_000_500
    assert moment_ms("2023-11-14T20:43:20.1239-01:30") == 1_700_000_000_123
    assert moment_ms("2023-11-14") == 1_699_920_000_000
    for no_date in (
        *(None, True, -1, 2.0**60, "", "soon", [], {}),
        *("2023-02-29", "2023-11-14T24:00:00Z", "2023-11-14T22:13:20", "1969-12-31T23:59:59Z"),
    ):
        assert moment_ms(no_date) is None
