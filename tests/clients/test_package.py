"""The package `aerolith`: what is in it, and that it works where the repository is not."""

import ast
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile

import pytest
from packaging.requirements import Requirement

from dataplane.client.anchors import dump_anchor
from tests.clients.packaging import (
    PROJECT,
    ROOT,
    build_hook,
    build_sdist,
    build_wheel,
    fresh_environment,
    run,
)

USE = """
import asyncio, importlib.util, json, sys
from pathlib import Path
from aerolith import ApiError, AsyncClient, Client, Outbox, verify_answer
from aerolith.anchors import load_anchor_file

urls, token, folder = json.loads(sys.argv[1])
assert importlib.util.find_spec("dataplane") is None
anchor = load_anchor_file(Path(folder, "anchor.json"))

async def as_others_do():
    async with AsyncClient(urls, token) as client:
        rows = [{"_id": f"n{n}", "n": n} for n in range(3)]
        results = [r["status"] async for r in client.import_documents("package", rows)]
        total = {"$group": {"_id": None, "total": {"$sum": "$n"}}}
        return results, await client.aggregate("package", [total])

with Client(urls, token, anchor=anchor) as client:
    results, answer = asyncio.run(as_others_do())
    with Outbox(Path(folder, "outbox.sqlite")) as outbox:
        outbox.put("package", "queued", {"n": 9})
        flushed = outbox.flush(client).done
    proven = client.get("package", "n1", proof=True)
    Path(folder, "answer.json").write_text(json.dumps(proven))
    try:
        client.put("package", "n1", {}, if_match=7)
    except ApiError as refused:
        code = refused.code
    pages = [d["_id"] for d in client.iterate("package", limit=1, sort={"n": -1})]
said = verify_answer(Path(folder, "answer.json").read_bytes(), anchor).version
print(json.dumps([results, answer["documents"], flushed, code, pages, said]))
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    return build_wheel(PROJECT, tmp_path_factory.mktemp("wheel"))


def contents(wheel) -> dict[str, bytes]:
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist() if "/RECORD" not in name}


def test_a_wheel_works_in_an_empty_environment_against_a_real_node(wheel, node, tmp_path):
    python = fresh_environment(tmp_path / "environment", wheel)
    (tmp_path / "anchor.json").write_bytes(dump_anchor(node.anchor))
    arguments = json.dumps([node.urls, node.api_key, str(tmp_path)])
    said = run(python, "-I", "-c", USE, arguments, cwd=tmp_path)
    total = [{"_id": None, "total": 3}]
    ids = ["queued", "n2", "n1", "n0"]
    assert json.loads(said) == [[201] * 3, total, 1, "precondition_failed", ids, 1]


def test_the_wheel_is_typed_and_has_no_word_of_where_it_came_from(wheel):
    files = contents(wheel)
    assert "aerolith/py.typed" in files
    assert files["aerolith-0.1.0.dist-info/licenses/LICENSE"] == (ROOT / "LICENSE").read_bytes()
    assert {name.split("/")[0] for name in files} == {"aerolith", "aerolith-0.1.0.dist-info"}
    assert [n for n, data in files.items() if b"import dataplane" in data] == []
    assert [n for n, data in files.items() if b"from dataplane" in data] == []


PROGRAM = """
import asyncio
from aerolith import AsyncClient, Client, ImportReport, NotFoundError, TrustAnchor
from aerolith.anchors import load_anchor

def told(report: ImportReport) -> None:
    print(report.done, report.stored, [refused.code for refused in report.refusals])

def main(urls: list[str], key: str, anchor: TrustAnchor) -> int:
    with Client(urls, key, anchor=anchor) as client:
        stored = client.put("a", "b", {"n": 1}, if_match=None)
        version: int = stored["_version"]
        report = client.import_all("a", ({"n": n} for n in range(9)), progress=told)
        try:
            client.get("a", "c", proof=True)
        except NotFoundError as error:
            print(error.advice, error.retry_after_s)
        for change in client.changes(after="0", collections=["a"]):
            print(change["place"])
        return version + report.stored

async def others(urls: list[str], key: str) -> ImportReport:
    async with AsyncClient(urls, key) as client:
        async for row in client.iterate("a", filter={"n": 1}):
            print(row["_id"])
        return await client.import_all("a", [{"n": 1}], idempotency_key="once")

main(["http://127.0.0.1:7001"], "adk_...", load_anchor(b"{}"))
asyncio.run(others(["http://127.0.0.1:7001"], "adk_..."))
"""
WRONG = """
from aerolith import Client, InvalidError
with Client("http://127.0.0.1:7001", 7) as client:
    client.put("a", 1, {})
    client.delete("a", "b", if_match="1")
    client.import_all("a", [], progress="x")
    client.gett("a", "b")
"""


def test_a_users_program_is_checked_strictly_by_what_the_wheel_says(wheel, tmp_path):
    python = fresh_environment(tmp_path / "environment", wheel)
    (tmp_path / "program.py").write_text(PROGRAM)
    (tmp_path / "wrong.py").write_text(WRONG)

    def checked(name: str) -> str:
        done = subprocess.run(
            [
                *(sys.executable, "-m", "mypy", "--strict", "--python-executable", python, name),
                *("--cache-dir", tmp_path / "cache", "--config-file", os.devnull),
            ],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        return done.stdout + done.stderr

    assert "Success: no issues found" in checked("program.py")
    found = checked("wrong.py")
    lines = {int(line.split(":")[1]) for line in found.splitlines() if line.startswith("wrong.py")}
    assert lines == {3, 4, 5, 6, 7}, found


def test_a_source_distribution_gives_the_same_wheel_without_the_repository(wheel, tmp_path):
    packed = build_sdist(PROJECT, tmp_path / "sdist")
    with tarfile.open(packed) as archive:
        archive.extractall(tmp_path / "unpacked", filter="data")
    (project,) = (tmp_path / "unpacked").iterdir()
    again = build_wheel(project, tmp_path / "again")
    assert contents(again) == contents(wheel)


def test_the_package_declares_all_that_it_imports():
    declared = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    groups = [declared["dependencies"], *declared["optional-dependencies"].values()]
    known = {Requirement(text).name for group in groups for text in group}
    imported = {
        name.split(".")[0]
        for path in build_hook().modules(PROJECT).values()
        for node in ast.walk(ast.parse(path.read_text()))
        for name in names_of(node)
    }
    ours = {"dataplane", "aerolith_cli"}
    names = {"nacl": "PyNaCl"}
    foreign = {names.get(name, name) for name in imported - sys.stdlib_module_names - ours}
    assert foreign == known


def names_of(node: ast.AST) -> list[str]:
    if isinstance(node, ast.ImportFrom):
        return [node.module or ""]
    return [alias.name for alias in node.names] if isinstance(node, ast.Import) else []


def test_a_client_that_imports_more_of_the_data_plane_is_not_packaged(tmp_path):
    hook = build_hook()
    copy = tmp_path / "clients" / "python"
    shutil.copytree(PROJECT / "src", copy / "src")
    for package in ("client", "consensus", "wire", "storage"):
        shutil.copytree(ROOT / "dataplane" / package, tmp_path / "dataplane" / package)
    shutil.copy(ROOT / "dataplane" / "ports.py", tmp_path / "dataplane")
    assert hook.modules(copy).keys() == hook.modules(PROJECT).keys()
    with (tmp_path / "dataplane" / "client" / "quorum.py").open("a") as file:
        file.write("from dataplane.storage import engine\n")
    with pytest.raises(hook.VendoringError, match=r"dataplane\.storage"):
        hook.modules(copy)
