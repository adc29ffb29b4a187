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
DIRECTED_PLANTS = frozenset(SUSPICION_PLANTS) | {
    "drop_early_proposals",
    "fetched_across_epochs",
    "lowest_view_carried",
    "never_decide_again",
    "never_repeat",
    "read_across_epochs",
    "restart_forgets_checkpoint_votes",
}
"""Random runs meet these too rarely, or survive them by other means: a directed test meets each."""


@contextmanager
def planted(name: str) -> Iterator[None]:
    """Plant a bug for the time of the block."""
    with patched(PLANTS[name]()):
        yield
