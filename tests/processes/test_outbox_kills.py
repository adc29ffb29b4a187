"""An outbox whose process is killed at every step loses nothing and does nothing twice."""

import json
import signal
import subprocess
import sys
from pathlib import Path

from dataplane.client import Client, Outbox
from tests.processes import outbox_victim

STEPS_MAX = 60
ROOT = Path(__file__).resolve().parents[2]


def run_victim(spec: dict) -> int:
    command = [sys.executable, "-m", "tests.processes.outbox_victim", json.dumps(spec)]
    done = subprocess.run(command, check=False, cwd=ROOT, capture_output=True, timeout=60)
    assert done.returncode in (0, -signal.SIGKILL), done.stderr.decode()
    return done.returncode


def check(client: Client, collection: str, path: Path) -> None:
    document = client.get(collection, "x")
    assert (document["n"], document["seen"], document["patched"]) == (1, [1], True)
    assert document["_version"] == 3
    (conflict,) = client.conflicts(collection)
    assert (conflict["mine"], conflict["theirs"]) == ({"mine": True}, {"theirs": True})
    assert client.get(collection, "taken")["theirs"]
    with Outbox(path) as outbox:
        assert outbox.waiting() == outbox.failures() == []


def test_a_kill_at_any_step_loses_nothing_and_does_nothing_twice(make_cluster, tmp_path):
    cluster = make_cluster(3)
    killed = 0
    with Client(cluster.urls, cluster.api_key) as client:
        for steps in range(STEPS_MAX):
            collection = f"c{steps}"
            client.put(collection, "taken", {"theirs": True})
            path = tmp_path / f"outbox-{steps}.sqlite"
            # The second life talks to another gateway first.
            urls = cluster.urls[steps % 3 :] + cluster.urls[: steps % 3]
            spec = {
                "path": str(path),
                "urls": urls,
                "key": cluster.api_key,
                "collection": collection,
                "steps": steps,
            }
            code = run_victim(spec)
            outbox_victim.run({**spec, "urls": urls[::-1], "steps": None})
            check(client, collection, path)
            if code == 0:
                break
            killed += 1
    assert code == 0, "the last life ran through: every step was tried"
    assert killed > 25
