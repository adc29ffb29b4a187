"""What a node says when it cannot start, and whom it refuses to talk to."""

import datetime as dt
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from dataplane.client.local import LocalCluster
from dataplane.client.provisioning import create_authority, create_node_material, write_private
from dataplane.client.spec import load_spec
from tests.processes.conftest import wait_for

ROOT = Path(__file__).resolve().parents[2]


def run_node(spec: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *flags, "-m", "dataplane.node", "--spec", str(spec)],
        capture_output=True,
        text=True,
        timeout=30,
        cwd=ROOT,
        check=False,
    )


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"version": 9}, "version 9 is not known"),
        ({"cluster_id": "xyz"}, "cluster_id must be 32"),
        ({"node_id": 7}, "node_id 7 is neither a member nor the learner"),
        ({"surprise": 1}, "unknown field"),
    ],
)
def test_a_wrong_specification_is_named_and_ends_the_node(tmp_path, change, words):
    cluster = LocalCluster(tmp_path, 1)
    spec = msgspec.json.decode(cluster.specs[0].read_bytes())
    cluster.specs[0].write_bytes(msgspec.json.encode({**spec, **change}))
    ended = run_node(cluster.specs[0])
    assert ended.returncode == 2
    assert words in ended.stderr


def test_a_missing_specification_is_named(tmp_path):
    ended = run_node(tmp_path / "nothing.json")
    assert ended.returncode == 2
    assert "cannot read nothing.json" in ended.stderr


def test_optimized_python_is_refused(tmp_path):
    cluster = LocalCluster(tmp_path, 1)
    assert run_node(cluster.specs[0], "-O").returncode == 2


def test_a_key_that_others_can_read_is_refused(tmp_path):
    cluster = LocalCluster(tmp_path, 1)
    Path(load_spec(cluster.specs[0]).signing_key_file).chmod(0o644)
    ended = run_node(cluster.specs[0])
    assert ended.returncode == 4
    assert "readable by others" in ended.stderr


def test_a_data_directory_belongs_to_one_process(make_cluster):
    cluster = make_cluster(1)
    ended = run_node(cluster.specs[0])
    assert ended.returncode == 4
    assert "cannot_run" in ended.stderr


def test_a_certificate_of_another_authority_is_refused(tmp_path):
    cluster = LocalCluster(tmp_path, 4)
    spec = load_spec(cluster.specs[3])
    stranger = create_authority(cluster.cluster_id, dt.datetime.now(dt.UTC))
    material = create_node_material(
        stranger, cluster.cluster_id, 3, "127.0.0.1", dt.datetime.now(dt.UTC)
    )
    write_private(Path(spec.tls.cert_file), material.certificate_pem)
    write_private(Path(spec.tls.key_file), material.key_pem)
    cluster.start()
    try:
        wait_for(lambda: cluster.is_ready(0), "the others make a quorum without node 3")
        wait_for(lambda: "node.started" in cluster.log(3), "node 3 runs")
        assert not cluster.is_ready(3)
        assert '"peer": 3' not in cluster.log(0)
    finally:
        cluster.kill()
