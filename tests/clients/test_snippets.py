"""The programs of the portal's connect page that need a client: pasted, as a reader does.

That for gRPC needs a cluster of the portal, whose nodes have certificates: it is run there.
"""

import os
import subprocess
import sys
import tarfile

import pytest

from portal.clusters.snippets import snippets
from tests.clients.packaging import PROJECT, build_wheel, fresh_environment
from tests.clients.test_typescript import script


@pytest.fixture
def paste(node, tmp_path):
    """Run a snippet with the key in its place; return what it printed."""
    found = {one.language: one.code for one in snippets(node.urls, node.api_key)}

    def run(language: str, *program, path: str = "") -> str:
        done = subprocess.run(
            list(map(str, program)),
            input=found[language],
            cwd=tmp_path,
            env={
                **os.environ,
                "AEROLITH_TOKEN": node.api_key,
                "AEROLITH_CONFIG": str(tmp_path / "config.json"),
                "PATH": f"{path}{os.pathsep}{os.environ['PATH']}",
            },
            text=True,
            capture_output=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


def test_the_python_and_the_shell_programs_work_as_they_stand(paste, tmp_path):
    wheel = build_wheel(PROJECT, tmp_path / "wheel")
    python = fresh_environment(tmp_path / "environment", wheel, "cli")
    assert paste("python", python, "-I", "-").count("hello") == 3
    assert paste("shell", "bash", "-e", path=str(python.parent)).count("hello") == 3


def test_the_typescript_program_works_as_it_stands(paste, tmp_path):
    assert script("pack", str(tmp_path)).returncode == 0
    with tarfile.open(tmp_path / "aerolith-0.1.0.tgz") as archive:
        archive.extractall(tmp_path / "node_modules", filter="data")
    (tmp_path / "node_modules" / "package").rename(tmp_path / "node_modules" / "aerolith")
    assert paste("typescript", "node", "--input-type=module", "-").count("hello") == 3


@pytest.mark.parametrize(
    ("language", "program"),
    [
        ("graphql", ("bash", "-e")),
        ("websocket", (sys.executable, "-I", "-")),
    ],
)
def test_the_programs_for_other_protocols_work_as_they_stand(paste, language, program):
    assert paste(language, *program).count("hello") == 3


def test_a_cluster_that_speaks_no_grpc_has_no_program_for_it():
    languages = {one.language for one in snippets(["https://node.example.com"])}
    assert {"graphql", "websocket"} <= languages
    assert "grpc" not in languages
    (socket,) = [s.code for s in snippets(["https://n.example.com"]) if s.language == "websocket"]
    assert 'NODE = "wss://n.example.com/api/v1/ws"' in socket


def test_there_is_nothing_to_paste_before_there_are_addresses():
    assert snippets([]) == []
