"""Old flights for the demonstration: documents that nobody touches, so they leave the disks."""

from collections.abc import Iterator
from datetime import date, timedelta
from itertools import batched
from typing import Final

from dataplane.client import ApiError, Client
from portal.core.supervision import Json

BATCH_COUNT: Final = 500
DAYS: Final = 200
COLD: Final[dict[str, Json]] = {"cold_after_s": 60}
ARCHIVED: Final[dict[str, Json]] = {"cold_after_s": 60, "archive_after_s": 120}
# The collection, its first day, and when its documents move: the older ones further down.
YEARS: Final = (
    ("flights-2025", date(2025, 1, 1), (COLD,)),
    ("flights-2024", date(2024, 1, 1), (ARCHIVED, COLD)),
)
AIRPORTS: Final = ("EDDF", "EGLL", "KJFK", "LFPG", "OMDB", "RJTT", "SBGR", "YSSY", "ZBAA", "FACT")
AIRCRAFT: Final = ("A320", "A359", "B738", "B77W", "B789")


def flights_settle(client: Client) -> None:
    """Put the old flights there, unless they are; one that is there already is left alone.

    Raises:
        ApiError: The cluster does not take them now.
    """
    there = {str(found["name"]): int(found["documents"]) for found in client.collections()}
    for name, first, policies in YEARS:
        if there.get(name, 0) >= DAYS * len(AIRPORTS):
            continue
        _collection(client, name, policies)
        for batch in batched(flights(first), BATCH_COUNT):
            operations: list[dict[str, Json]] = [
                {"op": "create", "id": str(document.pop("_id")), "document": document}
                for document in batch
            ]
            client.bulk(name, operations)


def _collection(client: Client, name: str, policies: tuple[dict[str, Json], ...]) -> None:
    """Make the collection with the first policy that the cluster takes: it may have no archive."""
    for number, policy in enumerate(policies, 1):
        try:
            client.collection_put(name, {"tiering": policy})
        except ApiError as error:
            if error.code != "invalid" or number == len(policies):
                raise
        else:
            return


def flights(first: date) -> Iterator[dict[str, Json]]:
    """Yield one flight a day from each airport."""
    for day in range(DAYS):
        at = first + timedelta(days=day)
        for number, origin in enumerate(AIRPORTS):
            to = AIRPORTS[(number + 1 + day % (len(AIRPORTS) - 1)) % len(AIRPORTS)]
            yield {
                "_id": f"AD{100 + number}-{at:%Y%m%d}",
                "flight": f"AD{100 + number}",
                "date": at.isoformat(),
                "from": origin,
                "to": to,
                "aircraft": AIRCRAFT[(day + number) % len(AIRCRAFT)],
                "passengers": 60 + (day * 7 + number * 13) % 190,
                "minutes": 75 + (day * 11 + number * 29) % 700,
                "remarks": f"Departed {day % 4 * 5} minutes late, arrived as planned.",
            }
