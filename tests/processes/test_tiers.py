"""Cold documents in clusters of several: any k honest holders give them, and one liar is nobody."""

import io
import json
import random
import threading
from pathlib import Path

import grpc
import httpx
import pytest
from websockets.sync.client import connect

from dataplane.client import Client
from dataplane.client.backups import verify_backup
from dataplane.client.local import LocalCluster
from dataplane.client.spec import load_spec
from dataplane.gateways.rpc.pb import aerolith_pb2 as pb
from dataplane.gateways.rpc.pb import aerolith_pb2_grpc as stubs
from dataplane.simulation.byzantine.reads import flipped_fragment
from dataplane.storage.engine import RocksStore
from dataplane.storage.fragments import FRAGMENT, packed_length
from dataplane.wire.stubs import is_stub
from tests.processes.conftest import wait_for, wait_ready

COUNT = 12
BODY_CHARS = 3_000
STAY_S = 3_600


def text_of(collection: str, number: int) -> str:
    """Return what no compressor makes smaller than it has to be."""
    rng = random.Random(f"{collection} {number}")
    return "".join(chr(rng.randrange(0x20, 0x2000)) for _ in range(BODY_CHARS // 3))


def api_of(cluster: LocalCluster, index: int) -> httpx.Client:
    headers = {"Authorization": f"Bearer {cluster.api_key}"}
    url = f"{cluster.urls[index]}/api/v1"
    return httpx.Client(base_url=url, headers=headers, trust_env=False, timeout=30)


def make_cold(cluster: LocalCluster, *names: str) -> None:
    """Fill collections and wait until all of them is cold; what is read then stays on the disks."""
    with api_of(cluster, 0) as api:
        for name in names:
            path = f"/collections/{name}"
            assert api.put(path, json={"tiering": {"cold_after_s": 1}}).status_code == 201
            operations = [
                {"op": "put", "id": f"d{n}", "document": {"n": n, "text": text_of(name, n)}}
                for n in range(COUNT)
            ]
            assert api.post(f"{path}/bulk", json={"operations": operations}).status_code == 200
        wait_for(lambda: cold_count(api, names) == COUNT * len(names), "all of it is cold")
        for name in names:
            answer = api.put(f"/collections/{name}", json={"tiering": {"cold_after_s": STAY_S}})
            assert answer.status_code == 200


def cold_count(api: httpx.Client, names: tuple[str, ...]) -> int:
    found = api.get("/collections").json()["collections"]
    return sum(c["tiers"]["distributed"]["documents"] for c in found if c["name"] in names)


def stored(cluster: LocalCluster, index: int) -> tuple[int, int]:
    """Return the bytes of the fragments of a node that is down, and of bodies in its documents."""
    store = RocksStore(Path(load_spec(cluster.specs[index]).data_dir) / "state")
    fragments = sum(packed_length(packed) for _, packed in store.iterate(FRAGMENT))
    bodies = sum(len(row) for _, row in store.iterate(b"D") if not is_stub(row))
    store.close()
    return fragments, bodies


def flip(cluster: LocalCluster, index: int) -> None:
    """Turn a bit in each fragment of a node that is down, below everything that would notice."""
    store = RocksStore(Path(load_spec(cluster.specs[index]).data_dir) / "state")
    rows = dict(store.iterate(FRAGMENT))
    assert rows
    store.write({key: flipped_fragment(packed) for key, packed in rows.items()})
    store.close()


def test_every_gateway_has_cold_documents_and_each_disk_about_half_of_them(make_cluster):
    cluster = make_cluster(4, grpc=True)
    make_cold(cluster, "rest", "rpc", "graph", "socket", "many", "left")
    with api_of(cluster, 1) as api:
        url = "/collections/rest/documents/d3"
        assert api.get(url).json()["text"] == text_of("rest", 3)
        change = {"Content-Type": "application/vnd.aerolith.update+json"}
        patched = api.patch(url, content=b'{"$inc": {"n": 40}}', headers=change)
        assert (patched.status_code, patched.json()["n"]) == (200, 43)
        found = api.post(
            "/collections/many/query", json={"filter": {"n": {"$gte": 9}}, "sort": {"n": 1}}
        ).json()
        assert [d["text"] for d in found["documents"]] == [text_of("many", n) for n in (9, 10, 11)]
        pipeline = [{"$group": {"_id": None, "sum": {"$sum": "$n"}}}]
        total = api.post("/collections/many/aggregate", json={"pipeline": pipeline}).json()
        assert total["documents"][0]["sum"] == sum(range(COUNT))
        proven = api.get("/collections/many/documents/d1", params={"proof": "true"}).json()
        assert (proven["text"], "_proof" in proven) == (text_of("many", 1), True)
    rpc(cluster, 2)
    graph(cluster, 3)
    over_socket(cluster, 2)
    with api_of(cluster, 3) as api:
        backup = api.get("/backup")
        assert verify_backup([io.BytesIO(backup.content)], cluster.anchor).is_whole
        assert cold_count(api, ("left",)) == COUNT
    cluster.kill()
    for index in range(4):
        fragments, bodies = stored(cluster, index)
        whole = 6 * COUNT * len(text_of("left", 0).encode())
        assert 0.5 * whole < fragments < 0.6 * whole
        assert bodies < 0.2 * whole


def rpc(cluster: LocalCluster, index: int) -> None:
    metadata = (("authorization", f"Bearer {cluster.api_key}"),)
    with grpc.insecure_channel(f"127.0.0.1:{cluster.grpc_ports[index]}") as channel:
        data = stubs.DataServiceStub(channel)
        get = pb.GetRequest(collection="rpc", id="d5")
        read = data.Get(get, metadata=metadata, timeout=30)
        assert json.loads(read.json)["text"] == text_of("rpc", 5)


def graph(cluster: LocalCluster, index: int) -> None:
    query = 'mutation { patch(collection: "graph", id: "d6", patch: {m: 1}) { data } }'
    headers = {"Authorization": f"Bearer {cluster.api_key}"}
    answer = httpx.post(
        f"{cluster.urls[index]}/graphql",
        json={"query": query},
        headers=headers,
        trust_env=False,
        timeout=30,
    ).json()
    assert answer["data"]["patch"]["data"] == {"n": 6, "text": text_of("graph", 6), "m": 1}


def over_socket(cluster: LocalCluster, index: int) -> None:
    url = cluster.urls[index].replace("http://", "ws://") + "/api/v1/ws"
    headers = {"Authorization": f"Bearer {cluster.api_key}"}
    with connect(url, additional_headers=headers, proxy=None, open_timeout=30) as socket:
        asked = {"id": "q", "type": "get", "collection": "socket", "document_id": "d7"}
        socket.send(json.dumps(asked))
        answer = json.loads(socket.recv(timeout=30))
        assert answer["body"]["text"] == text_of("socket", 7)


def texts(api: httpx.Client, name: str) -> list[str] | None:
    """Return what a query reads, None while it is refused."""
    found = api.post(f"/collections/{name}/query", json={"sort": {"n": 1}}).json()
    return [document["text"] for document in found["documents"]] if "documents" in found else None


def test_a_holder_that_is_killed_is_not_missed_and_has_its_fragments_when_it_is_back(make_cluster):
    cluster = make_cluster(4)
    make_cold(cluster, "before")
    stop, failures, reads = threading.Event(), list[str](), list[int]()

    def read() -> None:
        with api_of(cluster, 0) as api:
            while not stop.is_set():
                try:
                    found = api.post("/collections/before/query", json={"sort": {"n": 1}})
                except httpx.HTTPError as error:
                    failures.append(repr(error))
                    return
                if found.status_code != 200:
                    failures.append(found.text)
                reads.append(len(found.json().get("documents", ())))

    reader = threading.Thread(target=read)
    reader.start()
    cluster.kill(2)
    # What becomes cold meanwhile has a holder that knows nothing of it.
    make_cold(cluster, "meanwhile")
    stop.set()
    reader.join()
    assert not failures
    assert set(reads) == {COUNT}
    cluster.start(2)
    wait_ready(cluster)
    cluster.kill(1)
    with api_of(cluster, 2) as api:
        for name in ("before", "meanwhile"):
            expected = [text_of(name, n) for n in range(COUNT)]
            # It may have met only one of the others since it is back: then there is no quorum yet.
            wait_for(lambda name=name: texts(api, name), f"{name} is read")
            assert texts(api, name) == expected
    # Two of four are k: a node that sees no quorum reads its own state whole.
    cluster.kill(3)
    with api_of(cluster, 0) as api:
        url = "/collections/meanwhile/documents/d1"
        local = api.get(url, params={"consistency": "local"})
        assert local.json()["text"] == text_of("meanwhile", 1)
    cluster.kill()
    fragments = [stored(cluster, index)[0] for index in range(4)]
    assert len(set(fragments)) == 1, "each holder has a fragment of everything"


@pytest.fixture
def with_liar(tmp_path):
    cluster = LocalCluster(tmp_path / "cluster", 4, liars={3: "forged_fragments"})
    cluster.start()
    wait_ready(cluster)
    yield cluster
    cluster.kill()


def test_a_lie_a_flipped_bit_and_a_dead_holder_are_told_apart_and_stop_nothing_else(with_liar):
    cluster = with_liar
    names = [f"c{number}" for number in range(4)]
    make_cold(cluster, *names, "last")
    with api_of(cluster, 0) as api:
        for name in names:
            found = api.post(f"/collections/{name}/query", json={"sort": {"n": 1}}).json()
            assert [d["text"] for d in found["documents"]] == [text_of(name, n) for n in range(12)]
    cluster.kill(1, 2)
    flip(cluster, 1)
    cluster.start(1)
    wait_ready(cluster, 0, 1)
    with api_of(cluster, 0) as api:
        url = "/collections/last/documents/d1"
        refused = api.get(url)
        assert (refused.status_code, refused.json()["code"]) == (503, "not_ready")
        told = refused.json()["detail"]
        assert "1 of 2 fragments" in told
        assert "node 1 has no honest fragment" in told
        assert "node 2 is not reachable" in told
        assert "node 3 gave a wrong fragment" in told
        status = api.get("/nodes/status").json()
        assert [bool(node["faults"]) for node in status["nodes"]] == [False, False, False, True]
        metrics = httpx.get(f"{cluster.urls[0]}/metrics", trust_env=False).text
        assert 'aerolith_alarms_total{code="wrong_fragment"}' in metrics
        assert "cold.wrong_fragment" in cluster.log(0)
        refused = api.patch(url, json={"n": 1})
        assert (refused.status_code, refused.json()["code"]) == (503, "not_ready")
        # Whatever needs no body from elsewhere goes on.
        assert api.put("/collections/hot/documents/a", json={"n": 1}).status_code == 201
        assert api.get("/collections/hot/documents/a").json()["n"] == 1
        assert api.put("/collections/last/documents/d2", json={"n": 2}).status_code == 200
        assert api.get("/collections/last/documents/d2").json()["n"] == 2
    cluster.start(2)
    wait_ready(cluster, 0, 1, 2)
    with api_of(cluster, 0) as api, Client([cluster.urls[1]], cluster.api_key) as client:
        assert api.get(url).json()["text"] == text_of("last", 1)
        # Whose own fragment is damaged reads with two others'.
        assert client.get("last", "d3")["text"] == text_of("last", 3)
