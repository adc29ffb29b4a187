"""From which tiers the documents of a question came, for whoever asks how it was answered."""

from collections.abc import Mapping

from dataplane.documents.view import StateView


def tiers_of(view: StateView, examined: int, cold: Mapping[int, int]) -> dict[str, int]:
    """Return how many documents that were looked at came from where; `cold` is by segment."""
    found = {"ssd": examined - sum(cold.values()), "distributed": 0, "archive": 0}
    for number, count in cold.items():
        record = view.tiers.segment(number)
        # One that is no more was put back, or died, since its documents were read.
        found["distributed" if record is None else record.tier] += count
    return found
