"""Bounded and proven reads of four real nodes, with one of them gone, and with the primary gone."""

import asyncio
import subprocess
import sys
from pathlib import Path

import httpx
import msgspec
import pytest

from dataplane.client import ApiError, AsyncClient, Client
from dataplane.client.anchors import dump_anchor
from dataplane.client.local import LocalCluster
from dataplane.client.proofs import proof_of, verify_proof
from tests.processes.conftest import wait_for, wait_ready

ROOT = Path(__file__).resolve().parents[2]
CHECKPOINT = 128


def client_of(cluster: LocalCluster, index: int) -> Client:
    """Return a client of one node alone."""
    return Client([cluster.urls[index]], cluster.api_key, anchor=cluster.anchor, follow=False)


def check_reads(cluster: LocalCluster, index: int, value: int) -> None:
    """One node answers a document compared and proven, and the absence of another."""
    with Client(
        [cluster.urls[index]], cluster.api_key, anchor=cluster.anchor, follow=False
    ) as client:
        assert client.get("things", "a", consistency="bounded")["value"] == value
        document = client.get("things", "a", proof=True)
        assert document["value"] == value
        proof = proof_of(document["_proof"])
        assert verify_proof(proof, cluster.anchor).kind == "seal"
        assert len(proof.certificate.votes) == 3
        for options in ({"proof": True}, {"consistency": "bounded"}):
            with pytest.raises(ApiError) as caught:
                client.get("things", "nobody", **options)
            assert caught.value.code == "not_found"


def fill(cluster: LocalCluster, count: int) -> None:
    """Write one document after the other, so that the log grows by as many batches."""
    with Client(cluster.urls, cluster.api_key) as client:
        for number in range(count):
            client.put("filling", "x", {"number": number})


def has_checkpoint(cluster: LocalCluster, index: int) -> bool:
    with Client(
        [cluster.urls[index]], cluster.api_key, anchor=cluster.anchor, follow=False
    ) as client:
        try:
            document = client.get("things", "a", proof=True, consistency="local")
        except ApiError:
            return False
        return proof_of(document["_proof"]).certificate.kind == "checkpoint"


def test_every_node_answers_compared_and_proven_also_with_one_gone(make_cluster, tmp_path):
    cluster = make_cluster(4)
    with Client(cluster.urls, cluster.api_key) as client:
        client.put("things", "a", {"value": 1})
    for index in range(4):
        check_reads(cluster, index, 1)
    cluster.kill(3)
    with Client(cluster.urls[:3], cluster.api_key) as client:
        client.put("things", "a", {"value": 2})
    for index in range(3):
        check_reads(cluster, index, 2)
    # A node that comes back proves what it missed.
    cluster.start(3)
    wait_ready(cluster, 3)
    wait_for(lambda: _serves(cluster, 3, 2), "node 3 has caught up and proves the new version")
    check_command_line(cluster, tmp_path)


def _serves(cluster: LocalCluster, index: int, value: int) -> bool:
    with Client(
        [cluster.urls[index]], cluster.api_key, anchor=cluster.anchor, follow=False
    ) as client:
        try:
            return client.get("things", "a", proof=True)["value"] == value
        except ApiError:
            return False


def check_command_line(cluster: LocalCluster, directory: Path) -> None:
    """What a node answered is verified later, from files alone."""
    with Client(cluster.urls, cluster.api_key) as client:
        answer = client.get("things", "a", proof=True)
    file, anchor = directory / "answer.json", directory / "anchor.json"
    file.write_bytes(msgspec.json.encode(answer))
    anchor.write_bytes(dump_anchor(cluster.anchor))
    command = [sys.executable, "-m", "dataplane.client", "verify", str(file), "--anchor"]
    good = subprocess.run([*command, str(anchor)], capture_output=True, cwd=ROOT, check=False)
    assert good.returncode == 0, good.stderr
    assert b"the document things/a had version 2" in good.stdout
    other = LocalCluster(directory / "other", 4)
    anchor.write_bytes(dump_anchor(other.anchor))
    bad = subprocess.run([*command, str(anchor)], capture_output=True, cwd=ROOT, check=False)
    assert bad.returncode == 1
    assert b"NOT PROVEN. other_cluster" in bad.stdout


def test_without_the_primary_reads_are_still_compared_and_proven_as_of_the_checkpoint(
    make_cluster,
):
    cluster = make_cluster(4)
    with Client(cluster.urls, cluster.api_key) as client:
        client.put("things", "a", {"value": 1})
    fill(cluster, CHECKPOINT)
    for index in range(4):
        wait_for(lambda index=index: has_checkpoint(cluster, index), "a stable checkpoint")
    cluster.kill(0)
    for index in (1, 2, 3):
        with Client(
            [cluster.urls[index]], cluster.api_key, anchor=cluster.anchor, follow=False
        ) as client:
            assert client.get("things", "a", consistency="bounded")["value"] == 1
            document = client.get("things", "a", proof=True, consistency="local")
            assert document["value"] == 1
            assert proof_of(document["_proof"]).certificate.sequence % CHECKPOINT == 0
    wait_for(lambda: _serves(cluster, 1, 1), "a new primary orders seals")
    cluster.kill(1, 2)
    # Alone a node proves what was, and can compare with nobody.
    with client_of(cluster, 3) as client:
        assert client.get("things", "a", proof=True, consistency="local")["value"] == 1
        with pytest.raises(ApiError) as caught:
            client.get("things", "a", consistency="bounded")
        assert caught.value.code == "no_quorum"
    # Also when it has just come back, and nothing became stable in its new life.
    cluster.kill(3)
    cluster.start(3)
    wait_for(lambda: status_code(cluster, 3) != 0, "node 3 answers")
    with Client([cluster.urls[3]], cluster.api_key, anchor=cluster.anchor) as client:
        document = client.get("things", "a", proof=True, consistency="local")
        assert document["value"] == 1
        assert proof_of(document["_proof"]).certificate.sequence % CHECKPOINT == 0


def status_code(cluster: LocalCluster, index: int) -> int:
    """Return how a node answers whether it is ready, 0 when it does not answer."""
    try:
        return httpx.get(f"{cluster.urls[index]}/ready", timeout=2).status_code
    except httpx.HTTPError:
        return 0


async def test_many_proven_reads_while_others_write(make_cluster):
    cluster = make_cluster(4)
    seen: list[int] = []

    async def write(client: AsyncClient) -> None:
        for value in range(60):
            await client.put("things", "a", {"value": value})
            seen.append(value)

    async def read(url: str) -> None:
        async with AsyncClient(
            [url], cluster.api_key, anchor=cluster.anchor, follow=False
        ) as client:
            while len(seen) < 60:
                before = seen[-1]
                proven = await client.get("things", "a", proof=True)
                assert proven["value"] >= before, "a proven read is no older than what was written"
                bounded = await client.get("things", "a", consistency="bounded")
                assert 0 <= bounded["value"] < 60

    async with AsyncClient(cluster.urls, cluster.api_key) as client:
        await client.put("things", "a", {"value": 0})
        seen.append(0)
        async with asyncio.TaskGroup() as group:
            for url in cluster.urls * 2:
                group.create_task(read(url))
            group.create_task(write(client))
