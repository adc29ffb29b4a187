"""Work of one collection that stands still, or never ends, and that of the others beside it."""

from dataplane.documents.commands import CollectionPut, IndexPut, Maintain, Put
from dataplane.documents.values import pack_document
from tests.dataplane.documents.index_checks import Machine, check_clean, cold_places, tick

COLD_S = 100
TTL_S = 1_000
LONG = "x" * 100
TURNS = 30
"""Steps in which each of a few has its turn."""


def options(collection: str, **more: object) -> CollectionPut:
    return CollectionPut(collection, pack_document(more))


def put(collection: str, document_id: str, n: int = 0) -> Put:
    return Put(collection, document_id, pack_document({"text": LONG, "n": n}))


def stuck_machine() -> Machine:
    """Return one with 600 cold documents past their time, whose bodies nobody brings."""
    machine = Machine()
    machine.apply(options("c", tiering={"cold_after_s": COLD_S}, ttl=TTL_S))
    machine.apply(IndexPut("c", "i", (("n", 1),)))
    for start in range(0, 600, 100):
        machine.apply(*[put("c", f"d{n:03}", n) for n in range(start, start + 100)])
    machine.now_ms += 1000 * COLD_S + 10_000
    tick(machine)
    assert len(cold_places(machine.state)) == 600
    return machine


def test_documents_expire_beside_others_whose_bodies_cannot_be_had():
    machine = stuck_machine()
    machine.apply(options("o", ttl=TTL_S))
    machine.apply(put("o", "plain"))
    machine.now_ms += 1_000 * TTL_S + 1
    for _ in range(TURNS):
        machine.apply(Maintain())
    assert machine.state.view.row("o", "plain") is None
    assert len(cold_places(machine.state)) == 600


def test_an_index_is_built_beside_one_that_waits_for_bodies():
    machine = stuck_machine()
    machine.apply(IndexPut("c", "waits", (("text", 1),)))
    machine.apply(put("q", "plain"))
    machine.apply(IndexPut("q", "i", (("n", 1),)))
    for _ in range(TURNS):
        machine.apply(Maintain())
    built, waiting = machine.index("q", "i"), machine.index("c", "waits")
    assert built is not None
    assert waiting is not None
    assert (built.state, waiting.state) == ("ready", "building")
    check_clean(machine.store)


def test_a_collection_that_fills_segments_all_the_time_keeps_no_other_from_it():
    machine = Machine()
    machine.apply(options("busy", tiering={"cold_after_s": COLD_S}))
    machine.apply(options("calm", tiering={"cold_after_s": COLD_S}))
    machine.apply(put("calm", "a"))
    for start in range(0, 6_000, 300):
        machine.apply(*[put("busy", f"d{n}") for n in range(start, start + 300)])
    machine.now_ms += 1000 * COLD_S + 10_000
    for _ in range(15):
        machine.apply(Maintain())
    places = cold_places(machine.state)
    assert ("calm", "a") in places
    assert len(places) < 6_000, "the other one has not come to its end"
