"""Frames on a byte stream, however the stream is cut."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataplane.wire.errors import FrameTooLargeError
from dataplane.wire.framing import FRAME_BYTES_MAX, FrameDecoder, encode_frame


@given(st.lists(st.binary(max_size=40), max_size=8), st.lists(st.integers(1, 50), max_size=20))
def test_frames_come_out_as_they_went_in_however_they_are_cut(payloads, cuts):
    stream = b"".join(encode_frame(payload) for payload in payloads)
    decoder, out, at = FrameDecoder(), [], 0
    for cut in [*cuts, len(stream)]:
        out += decoder.feed(stream[at : at + cut])
        at += cut
    assert out == payloads


def test_a_frame_over_the_limit_is_refused_before_its_bytes_come():
    with pytest.raises(FrameTooLargeError) as caught:
        FrameDecoder().feed((FRAME_BYTES_MAX + 1).to_bytes(4, "big"))
    assert caught.value.size_bytes == FRAME_BYTES_MAX + 1


def test_no_peer_is_sent_what_it_would_refuse():
    with pytest.raises(FrameTooLargeError):
        encode_frame(bytes(FRAME_BYTES_MAX + 1))


@given(st.binary(max_size=200))
def test_garbage_never_makes_more_than_it_holds(data):
    decoder = FrameDecoder(frame_bytes_max=100)
    try:
        frames = decoder.feed(data)
    except FrameTooLargeError:
        return
    assert sum(len(frame) + 4 for frame in frames) <= len(data)
