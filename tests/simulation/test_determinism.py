"""One seed, one run: byte for byte, whatever the order of hashes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from dataplane.simulation.sweep import run_seed

ROOT = Path(__file__).resolve().parents[2]


def _transcript(seed: int, hash_seed: str, application: str) -> bytes:
    command = [
        sys.executable,
        "-m",
        "dataplane.simulation",
        *("--seed", str(seed), "--trace", "--application", application),
    ]
    done = subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
        capture_output=True,
        check=True,
        timeout=60,
    )
    return done.stdout


@pytest.mark.slow
@pytest.mark.parametrize(("seed", "application"), [(1, "kv"), (5, "kv"), (1_001, "documents")])
def test_two_hash_seeds_give_one_transcript(seed, application):
    first = _transcript(seed, "0", application)
    assert first.count(b"\n") > 100
    assert first == _transcript(seed, "12345", application)


def test_a_seed_gives_one_trace_and_two_seeds_give_two():
    assert run_seed(3).trace_digest == run_seed(3).trace_digest
    assert run_seed(3).trace_digest != run_seed(4).trace_digest
