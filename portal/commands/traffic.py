"""A trickle of calls to the demonstration's cluster.

The plan allows a million calls a month, one each 2.6 s. One call each 6 s and a burst of six a
minute are 0.27 calls/s, about 700 thousand a month.
"""

import logging
from collections.abc import Iterator
from itertools import count
from threading import Event

from dataplane.client import ApiError, Client
from portal.commands.flights import flights_settle
from portal.core.supervision import Json

logger = logging.getLogger(__name__)

COLLECTION = "airports"
SEARCHES = "searches"
CALL_PAUSE_S = 6.0
BURST_EACH = 10
BURST_COUNT = 6
BURST_PAUSE_S = 0.2
# Later writes replace earlier ones: the demonstration does not grow.
SEARCHES_COUNT_MAX = 200
CODES = ("EDDF", "EGLL", "KJFK", "LFPG", "OMDB", "RJTT", "SBGR", "YSSY", "ZBAA", "FACT")
COUNTRIES = ("DE", "BR", "JP", "KE", "CL", "IS", "NZ", "CA", "IN", "NO")


def client_of(demo: dict[str, Json]) -> Client:
    """Return a client of the demonstration's cluster."""
    cluster = demo["cluster"]
    assert isinstance(cluster, dict), "written by demo_seed"
    nodes = cluster["nodes"]
    assert isinstance(nodes, list), "written by demo_seed"
    urls = [str(node["url"]) for node in nodes if isinstance(node, dict)]
    return Client(urls, str(cluster["api_key"]))


class Traffic:
    """Calls in a fixed rotation: searches, reads, and a note of each search."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def run(self, ending: Event) -> None:
        """Call until told to end; a cluster in trouble is left to recover."""
        has_flights = False
        for number in count():
            has_flights = has_flights or self._settle()
            for _ in self._calls(number):
                if ending.wait(BURST_PAUSE_S):
                    return
            if ending.wait(CALL_PAUSE_S):
                return

    def _settle(self) -> bool:
        """Put the old flights there, here and not at the start: nobody has to wait for them."""
        try:
            flights_settle(self._client)
        except ApiError as error:
            logger.warning("demo.flights_failed", extra={"code": error.code})
            return False
        return True

    def _calls(self, number: int) -> Iterator[None]:
        repeats = BURST_COUNT if number % BURST_EACH == 0 else 1
        for repeat in range(repeats):
            try:
                self._call(number * BURST_COUNT + repeat)
            except ApiError as error:
                logger.warning("demo.call_failed", extra={"code": error.code})
            yield

    def _call(self, step: int) -> None:
        match step % 4:
            case 0:
                self._search(COUNTRIES[step // 4 % len(COUNTRIES)])
            case 1:
                high = {"elevation": {"$gte": 100 * (step % 80)}}
                self._client.query(COLLECTION, filter=high, sort={"elevation": -1}, limit=5)
            case 2:
                self._client.get(COLLECTION, CODES[step // 4 % len(CODES)])
            case _:
                document = {"country": COUNTRIES[step // 4 % len(COUNTRIES)], "step": step}
                self._client.put(SEARCHES, f"search-{step // 4 % SEARCHES_COUNT_MAX}", document)

    def _search(self, country: str) -> None:
        self._client.query(
            COLLECTION,
            filter={"country": country, "iata": {"$exists": True}},
            sort={"name": 1},
            limit=20,
        )
