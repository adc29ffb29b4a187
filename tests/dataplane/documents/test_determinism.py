"""One log, executed in many surroundings, has one root and one set of answers."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from dataplane.documents.determinism import run_log

ROOT = Path(__file__).resolve().parents[3]
BATCHES = 300
HASH_SEEDS = ("0", "1", "4242")
SECOND_PYTHON = os.environ.get("AEROLITH_SECOND_PYTHON") or str(ROOT / ".venv-second/bin/python")


def run(python: str, hash_seed: str, order: int, seed: int = 6) -> dict:
    command = [python, "-m", "dataplane.documents.determinism"]
    command += [f"--seed={seed}", f"--batches={BATCHES}", f"--order={order}"]
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr.decode()
    return json.loads(done.stdout)


def effect(outcome: dict) -> tuple[str, str]:
    return outcome["root"], outcome["results"]


@pytest.fixture(scope="module")
def here() -> dict:
    return run_log(6, BATCHES, 0)


def test_the_log_is_worth_executing(here):
    common = ("200", "201", "204", "404", "409", "412", "422")
    assert min(here["statuses"].get(status, 0) for status in common) > 20
    assert here["sealed"] > 3, "documents became cold"
    other = run_log(2, BATCHES, 0)
    assert effect(other) != effect(here)
    assert min(here["restored"], other["restored"], other["shredded"]) > 0
    assert other["revision"] > 2, "modes went on and off"
    assert other["archived"] > 3, "and what was cold was archived"
    assert min(here["held"], other["held"]) > 0, "and dead segments were kept for a while"
    assert here["statuses"]["503"] > 0, "and somebody wrote while a restore was under way"


@pytest.mark.parametrize("hash_seed", HASH_SEEDS)
@pytest.mark.parametrize("order", [0, 7])
def test_neither_hash_seeds_nor_the_order_of_names_matter(here, hash_seed, order):
    assert effect(run(sys.executable, hash_seed, order)) == effect(here)


@pytest.mark.parametrize("seed", range(3, 9))
def test_other_logs_agree_too(seed):
    assert effect(run_log(seed, 120, 0)) == effect(run_log(seed, 120, seed))


@pytest.mark.parametrize("hash_seed", HASH_SEEDS)
def test_another_version_of_python_computes_the_same(here, hash_seed):
    if not Path(SECOND_PYTHON).exists():
        pytest.skip("NO SECOND PYTHON: scripts/second-python makes one where it can")
    outcome = run(SECOND_PYTHON, hash_seed, int(hash_seed))
    assert outcome["python"].split(".")[:2] != sys.version.split()[0].split(".")[:2]
    assert effect(outcome) == effect(here)
