"""A real node for the clients that users install, and their command line in this process."""

import re
from pathlib import Path

import pytest

from aerolith_cli.entry import main
from dataplane.client.client import Client
from dataplane.client.local import LocalCluster
from tests.processes.conftest import wait_ready

SNAPSHOTS = Path(__file__).with_name("snapshots")


@pytest.fixture(scope="module")
def node(tmp_path_factory):
    cluster = LocalCluster(tmp_path_factory.mktemp("node"), 1, grpc=True)
    cluster.start()
    wait_ready(cluster)
    yield cluster
    cluster.kill()


@pytest.fixture
def client(node):
    with Client(node.urls, node.api_key) as made:
        yield made


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A user's own folders, and a terminal of eighty columns without colours."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AEROLITH_CONFIG", str(tmp_path / "config" / "config.json"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("NO_COLOR", "1")
    for name in ("PROFILE", "ORG", "CLUSTER", "PORTAL", "PORTAL_TOKEN", "URLS", "TOKEN"):
        monkeypatch.delenv(f"AEROLITH_{name}", raising=False)
    return tmp_path


class CommandLine:
    """Runs commands; keeps what was said for a transcript."""

    def __init__(self, capsys) -> None:
        self._capsys = capsys
        self.out = self.err = ""
        self.transcript: list[str] = []

    def __call__(self, *arguments: str, shown: str = "") -> int:
        code = main([str(argument) for argument in arguments])
        self.out, self.err = self._capsys.readouterr()
        shown = shown or " ".join(map(quoted, arguments))
        parts = [f"$ aerolith {shown}", *(f"  {line}" for line in self.out.splitlines())]
        parts += [f"! {line}" for line in self.err.splitlines()]
        self.transcript += [*(part.rstrip() for part in parts), f"= {code}", ""]
        return code

    def ok(self, *arguments: str) -> str:
        assert self(*arguments) == 0, self.err
        return self.out


def quoted(argument) -> str:
    text = str(argument)
    return text if re.fullmatch(r"[\w./:=@-]+", text) else f"'{text}'"


@pytest.fixture
def cli(home, capsys):
    return CommandLine(capsys)


@pytest.fixture
def at_node(cli, node, monkeypatch):
    """The command line with the address and the key of the node in its environment."""
    monkeypatch.setenv("AEROLITH_URLS", node.urls[0])
    monkeypatch.setenv("AEROLITH_TOKEN", node.api_key)
    return cli


@pytest.fixture
def snapshot(request):
    """Compare text with a file that is reviewed as a diff."""

    def compare(name: str, text: str) -> None:
        golden = SNAPSHOTS / f"{name}.txt"
        if request.config.getoption("--rewrite"):
            golden.parent.mkdir(exist_ok=True)
            golden.write_text(text)
        assert golden.read_text() == text, "if it is meant: pytest tests/clients --rewrite"

    return compare
