"""Links between nodes over real TLS on loopback."""

import asyncio
import datetime as dt
from pathlib import Path

import msgspec
import pytest

from dataplane.client.local import LocalCluster
from dataplane.client.provisioning import create_authority, create_node_material, write_private
from dataplane.client.spec import NodeSpec, load_spec
from dataplane.replication import transport as module
from dataplane.replication.metrics import ReplicationMetrics
from dataplane.replication.transport import PeerTransport
from dataplane.security.tls import client_context
from dataplane.wire.framing import FRAME_BYTES_MAX, encode_frame


class Node:
    """A transport and what it received."""

    def __init__(self, spec: NodeSpec, incarnation: int = 1) -> None:
        self.received: list[tuple[int, bytes]] = []
        self.metrics = ReplicationMetrics()
        self.transport = PeerTransport(spec, incarnation, self.metrics, self._on_frames)

    def _on_frames(self, sender: int, frames: list[bytes]) -> None:
        self.received.extend((sender, frame) for frame in frames)


async def until(condition, within_s: float = 10.0) -> None:
    async with asyncio.timeout(within_s):
        while not condition():  # noqa: ASYNC110 - state of several objects
            await asyncio.sleep(0.01)


@pytest.fixture
def specs(tmp_path: Path) -> list[NodeSpec]:
    return [load_spec(path) for path in LocalCluster(tmp_path, 2).specs]


@pytest.fixture
async def start():
    running: list[PeerTransport] = []

    async def start(spec: NodeSpec, incarnation: int = 1) -> Node:
        node = Node(spec, incarnation)
        running.append(node.transport)
        await node.transport.start()
        return node

    yield start
    for transport in running:
        await transport.stop()


async def linked(start, specs: list[NodeSpec]) -> tuple[Node, Node]:
    low, high = await start(specs[0]), await start(specs[1])
    await until(lambda: low.transport.reachable(1) and high.transport.reachable(0))
    return low, high


async def test_messages_arrive_in_order_with_the_name_the_certificate_proves(start, specs):
    low, high = await linked(start, specs)
    for number in range(500):
        low.transport.send(1, b"%d" % number)
    high.transport.broadcast(b"x" * 3_000_000)
    await until(lambda: len(high.received) == 500 and low.received)
    assert high.received == [(0, b"%d" % number) for number in range(500)]
    assert low.received == [(1, b"x" * 3_000_000)]
    assert low.metrics.messages_sent == 500


async def test_a_message_to_an_absent_peer_is_dropped_and_counted(start, specs):
    low = await start(specs[0])
    low.transport.send(1, b"hello")
    assert low.metrics.messages_dropped == 1
    assert not low.transport.reachable(1)


async def test_a_link_comes_back_by_itself_after_the_peer_restarts(start, specs):
    low, high = await linked(start, specs)
    await low.transport.stop()
    await until(lambda: not high.transport.reachable(0))
    again = await start(specs[0], incarnation=2)
    await until(lambda: high.transport.reachable(0) and again.transport.reachable(1))
    again.transport.send(1, b"back")
    await until(lambda: high.received == [(0, b"back")])


async def test_the_newest_life_of_a_node_keeps_the_link(start, specs):
    low, _ = await linked(start, specs)
    newer = Node(specs[1], incarnation=5)
    loop = asyncio.get_running_loop()
    for node, stays in ((newer, True), (Node(specs[1], incarnation=3), False)):
        _, connection = await loop.create_connection(
            lambda node=node: module.PeerConnection(node.transport, loop),
            specs[0].me.host,
            specs[0].me.peer_port,
            ssl=client_context(specs[1].tls),
            server_hostname="",
        )
        if stays:
            await until(lambda: newer.transport.reachable(0))
        else:
            await asyncio.wait_for(connection.closed, 10)
    low.transport.send(1, b"for the newest")
    await until(lambda: newer.received == [(0, b"for the newest")])
    await newer.transport.stop()


async def test_a_removed_member_is_refused(start, specs):
    alone = (specs[0].members[0], msgspec.structs.replace(specs[0].members[1], id=4))
    low = await start(msgspec.structs.replace(specs[0], members=alone))
    high = await start(specs[1])
    with pytest.raises(TimeoutError):
        await until(lambda: low.transport.reachable(1) or high.transport.reachable(0), 0.7)


async def test_a_peer_of_another_epoch_is_heard(start, specs):
    low = await start(msgspec.structs.replace(specs[0], epoch=9))
    high = await start(specs[1])
    await until(lambda: low.transport.reachable(1) and high.transport.reachable(0))


async def test_a_certificate_of_a_foreign_authority_is_refused(start, specs):
    now = dt.datetime.now(dt.UTC)
    foreign = create_authority(specs[1].cluster_id, now)
    material = create_node_material(foreign, specs[1].cluster_id, 1, "127.0.0.1", now)
    write_private(Path(specs[1].tls.cert_file), material.certificate_pem)
    write_private(Path(specs[1].tls.key_file), material.key_pem)
    low, high = await start(specs[0]), await start(specs[1])
    with pytest.raises(TimeoutError):
        await until(lambda: low.transport.reachable(1) or high.transport.reachable(0), 0.7)


async def test_plain_text_and_clients_without_a_certificate_get_nothing(start, specs):
    low = await start(specs[0])
    reader, writer = await asyncio.open_connection(specs[0].me.host, specs[0].me.peer_port)
    writer.write(encode_frame(b"let me in"))
    received = await asyncio.wait_for(reader.read(), 10)
    assert b"cluster" not in received
    writer.close()
    assert low.received == []


async def test_an_oversized_frame_ends_the_link_and_is_a_fault(start, specs):
    low, high = await linked(start, specs)
    link = high.transport._peers[0]
    link.send((FRAME_BYTES_MAX + 1).to_bytes(4, "big"))
    await until(lambda: low.metrics.faults_by_replica == {1: 1})
    await asyncio.wait_for(link.closed, 10)
    await until(lambda: high.transport.reachable(0))


async def test_a_peer_that_reads_nothing_costs_bounded_memory(start, specs, monkeypatch):
    monkeypatch.setattr(module, "QUEUE_BYTES_MAX", 1_000_000)
    low, high = await linked(start, specs)
    high.transport._peers[0]._transport.pause_reading()
    for _ in range(100):
        low.transport.send(1, b"x" * 200_000)
        await asyncio.sleep(0)
    assert low.metrics.messages_dropped > 0
    assert low.transport.queued_bytes < 2_000_000
    high.transport._peers[0]._transport.resume_reading()
    await until(lambda: len(high.received) == low.metrics.messages_sent)


async def test_a_silent_peer_is_given_up(start, specs, monkeypatch):
    monkeypatch.setattr(module, "WATCH_S", 0.1)
    monkeypatch.setattr(module, "SILENCE_S", 0.3)
    low, _ = await linked(start, specs)
    link = low.transport._peers[1]
    await asyncio.wait_for(link.closed, 10)
