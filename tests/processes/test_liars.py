"""A real node that lies: the data stays right, every honest node can prove it, nobody is framed."""

import subprocess
import sys
import threading
from pathlib import Path

import httpx
import msgspec
import pytest

from dataplane.client import Client, EvidenceError, verify_evidence
from dataplane.client.local import LocalCluster
from dataplane.client.spec import load_spec
from tests.processes.conftest import wait_for, wait_ready

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def with_liar(tmp_path):
    made: list[LocalCluster] = []

    def make(liar: int, behaviour: str) -> LocalCluster:
        cluster = LocalCluster(tmp_path / "cluster", 4, liars={liar: behaviour})
        made.append(cluster)
        cluster.start()
        wait_ready(cluster, *honest(cluster))
        return cluster

    yield make
    for cluster in made:
        cluster.kill()


def honest(cluster: LocalCluster) -> list[int]:
    return [index for index in range(len(cluster.members)) if index not in cluster.liars]


def proofs(cluster: LocalCluster, index: int) -> list[dict]:
    with Client([cluster.urls[index]], cluster.api_key, follow=False) as client:
        found, cursor = [], "0"
        while cursor is not None:
            page = client.evidence(cursor=cursor, limit=7)
            found += page["results"]
            cursor = page["next"]
    assert len(found) >= page["count"] - 7
    return found


def write_and_count(cluster: LocalCluster, name: str, count: int) -> None:
    """Count in one document, from several threads at once."""
    urls = [cluster.urls[index] for index in honest(cluster)]

    def run(turn: int) -> None:
        with Client(urls[turn:] + urls[:turn], cluster.api_key, timeout_s=20) as client:
            for _ in range(count):
                client.patch("counters", name, {"$inc": {"n": 1}}, operators=True)

    with Client(urls, cluster.api_key, timeout_s=20) as client:
        client.put("counters", name, {"n": 0})
    threads = [threading.Thread(target=run, args=(turn,)) for turn in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for index in honest(cluster):
        with Client([cluster.urls[index]], cluster.api_key, timeout_s=20, follow=False) as client:
            assert client.get("counters", name)["n"] == 3 * count


@pytest.mark.parametrize(
    ("liar", "behaviour", "kind"),
    [(0, "equivocating_primary", "pre_prepare"), (3, "double_voter", "commit")],
)
def test_a_liar_harms_nothing_and_every_honest_node_can_prove_it(with_liar, liar, behaviour, kind):
    cluster = with_liar(liar, behaviour)
    write_and_count(cluster, "one", 10)
    for index in honest(cluster):
        wait_for(
            lambda index=index: any(r["proof"]["kind"] == kind for r in proofs(cluster, index)),
            f"node {index} has a proof",
        )
        found = proofs(cluster, index)
        assert {record["proof"]["replica"] for record in found} == {liar}
        for record in found:
            assert verify_evidence(record["proof"], cluster.anchor).replica == liar
        framed = found[0]["proof"] | {"replica": honest(cluster)[0]}
        with pytest.raises(EvidenceError):
            verify_evidence(framed, cluster.anchor)


def test_proofs_outlive_a_crash_and_reach_a_node_that_was_away(with_liar):
    cluster = with_liar(3, "double_voter")
    write_and_count(cluster, "one", 3)
    wait_for(lambda: bool(proofs(cluster, 1)), "node 1 has a proof")
    # From here on the liar says nothing: what node 2 learns, it learns from the others' disks.
    cluster.kill(2, 3)
    (Path(load_spec(cluster.specs[2]).data_dir) / "evidence.jsonl").unlink()
    before = [record["proof"] for record in proofs(cluster, 1)]
    cluster.kill(1)
    cluster.start(1, 2)
    wait_ready(cluster, 0, 1, 2)
    after = [record["proof"] for record in proofs(cluster, 1)]
    assert after[: len(before)] == before

    def known(index: int) -> set[bytes]:
        return {msgspec.json.encode(record["proof"]) for record in proofs(cluster, index)}

    wait_for(lambda: known(2) >= {msgspec.json.encode(proof) for proof in before}, "node 2 told")
    assert {record["told_by"] for record in proofs(cluster, 2)} <= {0, 1}
    headers = {"Authorization": f"Bearer {cluster.api_key}"}
    status = httpx.get(f"{cluster.urls[2]}/api/v1/nodes/status", headers=headers).json()
    assert [bool(node["evidence"]) for node in status["nodes"]] == [False, False, False, True]
    stats = httpx.get(f"{cluster.urls[2]}/api/v1/stats", headers=headers).json()
    assert stats["evidence"] == len(proofs(cluster, 2))


def lie(spec: Path, behaviour: str) -> subprocess.CompletedProcess[str]:
    program = "dataplane.simulation.byzantine.node"
    return subprocess.run(
        [sys.executable, "-m", program, "--spec", str(spec), "--behaviour", behaviour],
        capture_output=True,
        text=True,
        timeout=30,
        cwd=ROOT,
        check=False,
    )


def test_a_node_in_production_is_never_made_to_lie(tmp_path):
    cluster = LocalCluster(tmp_path, 4)
    spec = msgspec.structs.replace(load_spec(cluster.specs[0]), profile="production")
    cluster.specs[0].write_bytes(msgspec.json.encode(spec))
    ended = lie(cluster.specs[0], "double_voter")
    assert ended.returncode == 5
    assert "of the profile production is never made to lie" in ended.stderr


def test_a_lie_nobody_knows_is_refused(tmp_path):
    cluster = LocalCluster(tmp_path, 1)
    assert lie(cluster.specs[0], "charming").returncode == 2
    assert lie(tmp_path / "none.json", "silent").returncode == 2
