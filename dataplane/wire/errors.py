"""What can be wrong with bytes from the network."""


class WireError(Exception):
    """The peer sent something that is not of the protocol; count it and drop the message."""


class FrameTooLargeError(WireError):
    """A frame over the limit."""

    def __init__(self, size_bytes: int) -> None:
        super().__init__(f"a frame of {size_bytes} bytes is over the limit")
        self.size_bytes = size_bytes


class MalformedMessageError(WireError):
    """Bytes that are not the encoding of any message."""
