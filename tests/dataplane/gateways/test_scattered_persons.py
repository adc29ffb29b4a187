"""Persons of whom documents lie cold in more segments than one question may fetch."""

from unittest.mock import AsyncMock

import pytest

from dataplane.documents.audit_commands import EraseBegin
from dataplane.documents.commands import CollectionPut, IndexPut, Maintain, Put, encode_op
from dataplane.documents.subjects import subject_hash
from dataplane.documents.values import pack_document
from dataplane.gateways.services import subjects
from dataplane.gateways.services.queries import SEGMENTS_MAX
from dataplane.query.types import QueryTooCostlyError
from dataplane.replication.errors import NotReadyError
from tests.dataplane.documents.index_checks import cold_places, tick
from tests.dataplane.gateways.test_submitting import Gateway, spec

__all__ = ["spec"]

COUNT = SEGMENTS_MAX + 12
ADA = ("c", "who", "ada")
OWN, SALT = b"e" * 16, b"s" * 16


@pytest.fixture
def gateway(spec) -> Gateway:
    """Return a gateway before documents of two persons, each in a segment of its own."""
    gateway = Gateway(spec)
    machine = gateway.machine
    options = {"tiering": {"cold_after_s": 100}, "subject": "who"}
    machine.apply(CollectionPut("c", pack_document(options)))
    machine.apply(IndexPut("c", "who", (("who", 1),)))
    tick(machine)
    for number in range(COUNT):
        body = {"who": ("ada", "bob")[number % 5 == 0], "text": "x" * 100}
        machine.apply(Put("c", f"d{number:03}", pack_document(body)))
        machine.now_ms += 1_000_000
        machine.apply(Maintain())
    assert len(cold_places(machine.state)) >= COUNT
    return gateway


async def found(gateway: Gateway) -> list[str]:
    names, cursor = [], None
    while True:
        part = await subjects._page(gateway.context, ADA, cursor)
        names += [document["_id"] for document in part.documents]
        cursor = part.next
        if cursor is None:
            return names


async def test_by_an_index_all_are_found_and_erased(gateway):
    expected = [f"d{number:03}" for number in range(COUNT) if number % 5]
    assert await found(gateway) == expected
    gateway.context.timeout_ms = 60_000
    begin = EraseBegin(OWN, subject_hash(SALT, "ada"), SALT)
    await gateway.context.submit([encode_op(begin)])
    left = await subjects._erase_collection(gateway.context, OWN, ADA, 20)
    assert left > 0
    assert await found(gateway) == []
    assert dict(gateway.machine.state.view.erasing.rows[OWN].removed) == {"c": len(expected)}


async def test_segments_that_cannot_be_had_keep_nobody_longer_than_a_request(gateway, monkeypatch):
    asked: list[int] = []

    async def fail(number: int) -> None:
        asked.append(number)
        gateway.clock.ms += 2_000
        raise NotReadyError("the archive is away")

    view = gateway.context.state.view
    monkeypatch.setattr(gateway.context.cold, "warm_out", fail)
    monkeypatch.setattr(view.erasing, "holding", lambda _: list(range(40)))
    monkeypatch.setattr(subjects, "reach", AsyncMock())
    assert not await subjects._is_gone(gateway.context, OWN)
    assert asked == [0, 1, 2]


async def test_without_an_index_it_is_said_which_would_help(gateway):
    place = ("c", "text", "nobody")
    with pytest.raises(QueryTooCostlyError, match="make an index of c on text"):
        await subjects._page(gateway.context, place, None)
