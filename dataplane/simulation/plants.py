"""Bugs planted on purpose, to prove that the checkers catch them."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from dataplane.simulation.planting import Patch, patched
from dataplane.simulation.plants_members import MEMBER_PLANTS
from dataplane.simulation.plants_normal import NORMAL_PLANTS
from dataplane.simulation.plants_reads import READ_PLANTS
from dataplane.simulation.plants_suspicion import SUSPICION_PLANTS
from dataplane.simulation.plants_transfer import TRANSFER_PLANTS
from dataplane.simulation.plants_views import VIEW_PLANTS

PLANTS: dict[str, Callable[[], list[Patch]]] = {
    **NORMAL_PLANTS,
    **MEMBER_PLANTS,
    **TRANSFER_PLANTS,
    **VIEW_PLANTS,
    **SUSPICION_PLANTS,
    **READ_PLANTS,
}


@contextmanager
def planted(name: str) -> Iterator[None]:
    """Plant a bug for the time of the block."""
    with patched(PLANTS[name]()):
        yield
