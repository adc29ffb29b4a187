"""The TypeScript client: types that are current, and its own tests against a real node."""

import fcntl
import json
import os
import re
import subprocess
import tarfile
from pathlib import Path

import pytest

from dataplane.client.anchors import dump_anchor

ROOT = Path(__file__).resolve().parents[2]
PROJECT = ROOT / "clients" / "typescript"
SCRIPT = ROOT / "scripts" / "typescript"
NO_NODE = 3


def script(*arguments: str, **environment: str) -> subprocess.CompletedProcess:
    """Run a step; where there is no Node.js this fails, and says so.

    One at a time, also in tests that run beside these: each builds in the same folder.
    """
    with (PROJECT / "package.json").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = subprocess.run(
            [SCRIPT, *arguments],
            cwd=ROOT,
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode == NO_NODE:
        pytest.fail(f"the TypeScript client is NOT TESTED: {done.stderr}")
    return done


def test_its_own_tests_pass_against_a_real_node(node):
    done = script(
        "test",
        AEROLITH_URLS=" ".join(node.urls),
        AEROLITH_TOKEN=node.api_key,
        AEROLITH_ANCHOR=dump_anchor(node.anchor).decode(),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    counts = dict(re.findall(r"^# (\w+) (\d+)$", done.stdout, re.MULTILINE))
    assert int(counts["pass"]) >= 34, "the tests were not found"
    assert (counts["fail"], counts["skipped"], counts["todo"]) == ("0", "0", "0")


USE = """
import { ApiError, Client, loadAnchor, NotFoundError } from "aerolith";
const anchor = loadAnchor(process.env.AEROLITH_ANCHOR);
const urls = process.env.AEROLITH_URLS.split(" ");
const client = new Client(urls, process.env.AEROLITH_TOKEN, { anchor });
const { _version } = await client.put("packed", "a", { n: 1n });
const absent = (e) => e instanceof ApiError && e instanceof NotFoundError && e.code;
const code = await client.get("packed", "b", { proof: true }).catch(absent);
const { n } = await client.get("packed", "a", { proof: true });
console.log(JSON.stringify([typeof _version, code, n]));
"""


def test_what_is_packed_can_be_installed_and_imported(node, tmp_path):
    done = script("pack", str(tmp_path))
    assert done.returncode == 0, done.stderr
    with tarfile.open(tmp_path / "aerolith-0.1.0.tgz") as archive:
        assert not [name for name in archive.getnames() if "/test/" in name]
        archive.extractall(tmp_path / "node_modules", filter="data")
    (tmp_path / "node_modules" / "package").rename(tmp_path / "node_modules" / "aerolith")
    assert (tmp_path / "node_modules" / "aerolith" / "dist" / "index.d.ts").is_file()
    (tmp_path / "use.mjs").write_text(USE)
    said = subprocess.run(
        ["node", "use.mjs"],
        cwd=tmp_path,
        env={
            **os.environ,
            "AEROLITH_URLS": node.urls[0],
            "AEROLITH_TOKEN": node.api_key,
            "AEROLITH_ANCHOR": dump_anchor(node.anchor).decode(),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert said.returncode == 0, said.stderr
    assert json.loads(said.stdout) == ["number", "not_found", 1]


def test_its_types_are_those_that_its_document_generates(tmp_path):
    done = script("generated")
    assert done.returncode == 0, done.stderr
    committed = (PROJECT / "src" / "schema.d.ts").read_text()
    assert committed == done.stdout, "scripts/typescript generate"


def test_it_needs_nothing_at_run_time():
    package = json.loads((PROJECT / "package.json").read_text())
    assert "dependencies" not in package
    assert (PROJECT / "LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()
