"""The old flights of the demonstration: put there once, and down the tiers by themselves."""

import itertools

import pytest

from dataplane.client.errors import ApiError
from portal.commands import flights
from portal.commands.flights import flights_settle
from tests.portal.single import client, nodes

__all__ = ["client", "nodes"]


def found(client) -> dict:
    return {row["name"]: row for row in client.collections()}


def test_flights_are_put_there_once_and_get_cold(client, monkeypatch):
    cold = {"cold_after_s": 1}
    years = [(name, first, (*wanted[:-1], cold)) for name, first, wanted in flights.YEARS]
    monkeypatch.setattr(flights, "YEARS", years)
    flights_settle(client)
    counts = {name: row["documents"] for name, row in found(client).items()}
    assert counts == {"flights-2025": 2_000, "flights-2024": 2_000}
    # This cluster has no archive, so its second choice counts.
    assert found(client)["flights-2024"]["options"] == {"tiering": cold}
    for number in itertools.count():
        if found(client)["flights-2025"]["tiers"]["distributed"]["documents"] == 2_000:
            break
        client.put("searches", "one", {"number": number})
    client.collection_drop("flights-2024")
    flights_settle(client)
    assert found(client)["flights-2024"]["documents"] == 2_000
    flight = client.get("flights-2025", "AD100-20250101")
    assert (flight["from"], flight["to"], flight["_version"]) == ("EDDF", "EGLL", 1)


def test_a_policy_that_nobody_takes_is_an_error(client, monkeypatch):
    bad = ({"cold_after_s": -1}, {"cold_after_s": -2})
    first = flights.YEARS[0][1]
    monkeypatch.setattr(flights, "YEARS", [("flights-1999", first, bad)])
    with pytest.raises(ApiError, match="whole seconds"):
        flights_settle(client)
