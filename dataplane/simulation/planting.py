"""How a bug is planted: a method of the real core is replaced for the time of a `with`.

The core itself has no switch for any of them.
"""

from collections.abc import Iterator
from contextlib import contextmanager

type Patch = tuple[object, str, object]
"""An owner, the name of its attribute, and what it is while the bug is planted."""


@contextmanager
def patched(patches: list[Patch]) -> Iterator[None]:
    """Apply patches for the time of the block."""
    missing = object()
    before = [
        (owner, attribute, vars(owner).get(attribute, missing)) for owner, attribute, _ in patches
    ]
    for owner, attribute, value in patches:
        setattr(owner, attribute, value)
    try:
        yield
    finally:
        for owner, attribute, value in before:
            if value is missing:
                delattr(owner, attribute)
            else:
                setattr(owner, attribute, value)
