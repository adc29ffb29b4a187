"""Nodes that move segments to an archive of files: whoever does what, and whoever stops where."""

import asyncio
from types import SimpleNamespace

import pytest

from dataplane.client.archive_store import ArchiveStore
from dataplane.client.errors import ArchiveRefusedError, ArchiveUnavailableError
from dataplane.client.spec import ArchiveSpec
from dataplane.documents.archive_commands import ArchiveSeen
from dataplane.documents.commands import (
    CollectionDrop,
    Delete,
    Maintain,
    decode_op,
    encode_result,
)
from dataplane.node.archived_segments import Archive
from dataplane.node.archiving import OFF_LOOKS, PATIENCE, Archiver
from dataplane.ports import SystemClock
from dataplane.replication.errors import NotReadyError
from dataplane.security.archive_objects import object_name
from dataplane.storage import erasure
from dataplane.storage.fragments import fragment_key, unpack
from tests.dataplane.documents.test_archiving import Members

SECRET = b"s" * 32
CLUSTER = "c" * 32
LONG_MS = 10_000


class Store(ArchiveStore):
    """Files in a directory, until it breaks."""

    broken: type[Exception] | None = None
    undeletable = False
    calls: list[str]

    def _open(self):
        if self.broken is not None:
            raise self.broken("the store is broken")
        return super()._open()

    async def put(self, name, data):
        self.calls.append("put")
        await super().put(name, data)

    async def get(self, name, size_max, **options):
        self.calls.append("get")
        return await super().get(name, size_max, **options)

    async def delete(self, names):
        self.calls.append("delete")
        if self.undeletable:
            raise ArchiveRefusedError("a rule forbids it")
        await super().delete(names)


class Cluster:
    """Replicas that execute at once what any of them orders, and the workers beside them."""

    def __init__(self, directory, count: int, **policy: object) -> None:
        self.members = Members(count)
        self.primary = 1
        self.gathered: list[int] = []
        self.says: dict[int, int] = {}
        """Whose key a node signs with, if not with its own."""
        self.spec = ArchiveSpec(directory.as_uri(), "archive")
        self.stores = {number: self._store() for number in self.members.stores}
        self.workers = {number: self._worker(number) for number in self.members.stores}
        self.number = self.members.leave("a", "b", **policy)

    def _store(self) -> Store:
        store = Store(self.spec, CLUSTER)
        store.calls = []
        return store

    def _worker(self, number: int) -> Archiver:
        view = self.members.states[number].view
        keys = SimpleNamespace(archive_keys=("aes-256-gcm", SECRET))
        archive = Archive(self.stores[number], view, keys, cluster_id=CLUSTER)
        status = SimpleNamespace(
            members=[SimpleNamespace(id=member) for member in self.members.stores],
        )

        def now() -> SimpleNamespace:
            status.primary = self.primary
            return status

        async def submit(operations) -> SimpleNamespace:
            results = self.members.apply(
                *map(decode_op, operations), by=self.says.get(number, number)
            )
            return SimpleNamespace(results=list(map(encode_result, results)))

        context = SimpleNamespace(
            spec=SimpleNamespace(node_id=number),
            cluster=SimpleNamespace(status=now, is_sound=True),
            submit=submit,
        )
        return Archiver(context, view, archive=archive, gather=self.gather, clock=SystemClock())

    async def gather(self, record, *, timeout_ms):
        self.gathered.append(record.number)
        held = {}
        length = erasure.fragment_bytes(record.size, record.k)
        for place, member in enumerate(record.members):
            packed = self.members.stores[member].get(fragment_key(record.collection, record.number))
            fragment = None if packed is None else unpack(packed, length)
            if fragment is not None and len(held) < record.k:
                held[place] = fragment
        if len(held) < record.k:
            raise NotReadyError("too few fragments")
        return erasure.decode(held, record.k, len(record.members), record.size)

    def restart(self, number: int) -> None:
        """Begin anew with what is in the state."""
        self.stores[number] = self._store()
        self.workers[number] = self._worker(number)

    def look(self, *numbers: int) -> None:
        for number in numbers or tuple(self.workers):
            asyncio.run(self.workers[number].look())

    def calls(self) -> list[list[str]]:
        return [store.calls for store in self.stores.values()]

    def objects(self) -> list[str]:
        async def listed() -> list[str]:
            return [name async for part in self._store().names() for name in part]

        return sorted(asyncio.run(listed()))

    def read(self, number: int) -> bytes | None:
        record = self.members.states[number].tiers.segment(self.number)
        assert record is not None
        archive = self.workers[number]._archive
        return asyncio.run(archive.read(record, timeout_ms=LONG_MS))


@pytest.fixture
def cluster(tmp_path) -> Cluster:
    return Cluster(tmp_path, 4)


def test_the_primary_uploads_and_the_next_reads_it_back_before_fragments_go(cluster):
    cluster.look(2, 3, 4)
    assert cluster.calls() == [[]] * 4, "it is the turn of the primary"
    cluster.look(1)
    assert cluster.stores[1].calls == ["get", "put", "get"]
    assert cluster.members.tier(cluster.number) == "distributed"
    cluster.look(3, 4)
    cluster.look(2)
    assert cluster.members.tier(cluster.number) == "distributed", "each waits a look for the other"
    cluster.look(2)
    assert cluster.members.tier(cluster.number) == "archive"
    assert cluster.calls()[1:] == [["get"], [], []]
    assert cluster.members.fragments() == [0] * 4
    assert cluster.objects() == [
        object_name(
            SECRET, cluster.number, cluster.members.state.tiers.segment(cluster.number).digest
        )
    ]
    for number in cluster.workers:
        segment = cluster.read(number)
        assert segment is not None
        assert b"xxxx" in segment


def test_a_worker_that_ends_at_any_call_of_the_store_is_followed_by_another_life(cluster):
    """Everything is done again from the state, by itself as by the next."""
    for ends_after in range(4):
        store = cluster.stores[1]
        cluster.restart(1)
        store = cluster.stores[1]

        class Ended(BaseException):
            pass

        def counted(store=store, left=ends_after):
            seen = {"left": left}
            opened = ArchiveStore._open

            def open_or_end():
                if seen["left"] == 0:
                    raise Ended
                seen["left"] -= 1
                return opened(store)

            return open_or_end

        store._open = counted()
        try:
            cluster.look(1)
        except Ended:
            assert ends_after < 3
        else:
            assert ends_after == 3
    cluster.look(2)
    cluster.look(2)
    assert cluster.members.tier(cluster.number) == "archive"
    assert len(cluster.objects()) == 1


def test_the_others_take_over_when_the_primary_does_nothing(cluster):
    for _ in range(PATIENCE):
        cluster.look(2, 3, 4)
    assert cluster.objects() == []
    cluster.look(2, 3, 4)
    assert [("put" in calls) for calls in cluster.calls()] == [False, True, False, False]
    cluster.look(3)
    cluster.look(3)
    cluster.look(3)
    assert cluster.members.tier(cluster.number) == "archive"


def test_who_believes_nobody_uploads_what_a_liar_only_told_of(cluster):
    cluster.members.apply(ArchiveSeen((cluster.number,)), by=1)
    assert cluster.objects() == []
    cluster.look(2)
    cluster.look(2)
    assert cluster.stores[2].calls == ["get", "put", "get"]
    assert cluster.members.tier(cluster.number) == "archive"
    assert cluster.read(3) is not None


def test_garbage_under_the_name_of_an_object_is_not_told_of_but_replaced(cluster):
    record = cluster.members.state.tiers.segment(cluster.number)
    name = object_name(SECRET, record.number, record.digest)
    asyncio.run(cluster._store().put(name, b"AEROARC1\0" + b"x" * 100))
    cluster.look(1)
    assert cluster.stores[1].calls == ["get", "put", "get"]
    assert cluster.read(1) is not None


def test_what_cannot_be_gathered_is_put_off_and_blocks_nothing(tmp_path):
    cluster = Cluster(tmp_path, 1)
    other = cluster.members.leave("c")
    record = cluster.members.state.tiers.segment(cluster.number)
    packed = fragment_key(record.collection, cluster.number)
    kept = cluster.members.stores[1].get(packed)
    cluster.members.stores[1].write({packed: None})
    cluster.look()
    assert cluster.members.tier(other) == "archive"
    assert cluster.members.tier(cluster.number) == "distributed"
    cluster.members.stores[1].write({packed: kept})
    for _ in range(OFF_LOOKS):
        cluster.look()
    assert cluster.members.tier(cluster.number) == "archive"


def test_a_store_that_is_away_is_told_and_changes_nothing(cluster):
    cluster.stores[1].broken = ArchiveUnavailableError
    with pytest.raises(ArchiveUnavailableError):
        cluster.look(1)
    assert cluster.members.tier(cluster.number) == "distributed"
    cluster.stores[1].broken = None
    for _ in range(OFF_LOOKS):
        cluster.look(1)
    cluster.look(2)
    cluster.look(2)
    assert cluster.members.tier(cluster.number) == "archive"
    cluster.stores[1].broken = ArchiveUnavailableError
    with pytest.raises(NotReadyError, match="cannot be read"):
        cluster.read(1)
    assert cluster.read(2) is not None


def test_whose_word_does_not_count_rests_instead_of_reading_for_ever(cluster):
    cluster.says[1] = 0
    for _ in range(3):
        cluster.look(1)
    assert cluster.stores[1].calls == ["get", "put", "get"]
    assert cluster.members.state.tiers.segment(cluster.number).attested == ()


def test_one_object_that_cannot_be_read_does_not_stop_the_others(tmp_path):
    cluster = Cluster(tmp_path, 1)
    other = cluster.members.leave("c")
    store = cluster.stores[1]
    get = store.get

    async def broken_get(name, size_max, **options):
        if name.startswith(f"{cluster.number:016x}"):
            raise ArchiveUnavailableError("an error of its own")
        return await get(name, size_max, **options)

    store.get = broken_get
    with pytest.raises(ArchiveUnavailableError):
        cluster.look()
    cluster.look()
    assert cluster.members.tier(other) == "archive"
    assert cluster.members.tier(cluster.number) == "distributed"


def archived(cluster: Cluster) -> None:
    cluster.look(1)
    cluster.look(2)
    cluster.look(2)
    assert cluster.members.tier(cluster.number) == "archive"


def test_objects_of_dead_segments_are_removed_and_forgotten_when_two_saw_it(cluster):
    archived(cluster)
    cluster.members.apply(Delete("c", "a"), Delete("c", "b"))
    cluster.look(2, 3, 4)
    assert len(cluster.objects()) == 1
    cluster.look(1)
    assert cluster.objects() == []
    assert cluster.members.left() == [cluster.number]
    cluster.look(2)
    cluster.look(2)
    assert cluster.members.left() == []


def test_a_store_that_lets_nothing_go_keeps_it_queued_and_stops_nothing_else(cluster):
    archived(cluster)
    cluster.members.apply(CollectionDrop("c"))
    cluster.members.apply(Maintain())
    for store in cluster.stores.values():
        store.undeletable = True
    cluster.look(1)
    cluster.look(1)
    assert cluster.stores[1].calls.count("delete") == 1, "it is left alone for a while"
    assert cluster.workers[1].refused == 1
    assert cluster.members.left() == [cluster.number]
    later = cluster.members.leave("later")
    cluster.look(1)
    cluster.look(2)
    cluster.look(2)
    assert cluster.members.tier(later) == "archive"
    for store in cluster.stores.values():
        store.undeletable = False
    for _ in range(OFF_LOOKS):
        cluster.look()
    assert cluster.members.left() == []


def test_what_no_segment_and_no_queue_knows_is_cleared_and_nothing_else_is(cluster):
    archived(cluster)
    (kept,) = cluster.objects()
    dead = cluster.members.leave("z")
    cluster.members.apply(Delete("c", "z"))
    future = cluster.members.state.applied + 1
    names = [object_name(SECRET, number, b"d" * 32) for number in (3, dead, future)]
    store = cluster._store()
    for name in (*names, "of-somebody-else"):
        asyncio.run(store.put(name, b"x"))
    assert asyncio.run(cluster.workers[2].clear()) == 1
    assert cluster.objects() == sorted([kept, *names[1:], "of-somebody-else"])


def test_a_collection_with_a_key_of_its_own_gets_a_salt_and_loses_it_with_the_drop(tmp_path):
    cluster = Cluster(tmp_path, 4, shreddable=True)
    archived(cluster)
    collection = cluster.members.state.tiers.segment(cluster.number).collection
    salt = cluster.members.state.view.archiving.salt_of(collection)
    assert salt is not None
    assert len(salt) == 32
    assert cluster.read(4) is not None
    record = cluster.members.state.tiers.segment(cluster.number)
    cluster.members.apply(CollectionDrop("c"))
    with pytest.raises(NotReadyError, match="no key"):
        asyncio.run(cluster.workers[1]._archive.read(record, timeout_ms=LONG_MS))
    cluster.members.apply(Maintain())
    cluster.look(1)
    cluster.look(2)
    cluster.look(2)
    assert cluster.objects() == []
    assert cluster.members.left() == []
