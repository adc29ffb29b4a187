"""What all operations are that a cluster orders."""

import msgspec


class Operation(
    msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, gc=False, tag=True
):
    """Base of everything that can be ordered; the tag is the class name."""
