"""Frames on a byte stream: a four-byte big-endian length, then that many bytes."""

from typing import Final

from dataplane.wire.errors import FrameTooLargeError

FRAME_BYTES_MAX: Final = 32 * 1024 * 1024
HEADER_BYTES: Final = 4


def encode_frame(payload: bytes) -> bytes:
    """Return the payload with its length in front.

    Raises:
        FrameTooLargeError: The payload is larger than any peer would accept.
    """
    if len(payload) > FRAME_BYTES_MAX:
        raise FrameTooLargeError(len(payload))
    return len(payload).to_bytes(HEADER_BYTES, "big") + payload


class FrameDecoder:
    """Cuts a stream into frames; holds at most one incomplete frame."""

    def __init__(self, frame_bytes_max: int = FRAME_BYTES_MAX) -> None:
        self._buffer = bytearray()
        self._frame_bytes_max = frame_bytes_max

    def feed(self, data: bytes) -> list[bytes]:
        """Add received bytes; return every frame that is now complete.

        Raises:
            FrameTooLargeError: The peer announced a frame over the limit: drop the connection.
        """
        self._buffer += data
        frames: list[bytes] = []
        start = 0
        while len(self._buffer) - start >= HEADER_BYTES:
            size = int.from_bytes(self._buffer[start : start + HEADER_BYTES], "big")
            if size > self._frame_bytes_max:
                raise FrameTooLargeError(size)
            end = start + HEADER_BYTES + size
            if len(self._buffer) < end:
                break
            frames.append(bytes(self._buffer[start + HEADER_BYTES : end]))
            start = end
        if start:
            del self._buffer[:start]
        return frames
