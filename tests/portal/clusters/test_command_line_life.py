"""The life of a cluster from the shell: real nodes, operations watched to their end."""

import json

import pytest

from aerolith_cli import exits, operations
from portal.clusters.models import Experiment, Operation
from portal.clusters.operations.engine import operation_advance
from portal.core.tenancy import public_context, tenant_context
from portal.plans.models import Plan
from portal.plans.selectors import catalogue_forget
from tests.clients.conftest import cli, home
from tests.conftest import PASSWORD
from tests.portal.command_line import sign_in

__all__ = ["cli", "home"]

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]


@pytest.fixture
def shell(cli, acme, alice, monkeypatch, tidy_nodes):
    """The command line of Acme's owner; a worker goes a step on with each request."""
    with public_context():
        # No plan of the price list spans one and three nodes; an operator may offer one that does.
        Plan.objects.filter(code="starter").update(node_counts=[1, 3])
    catalogue_forget()

    def work() -> None:
        with tenant_context(acme.schema_name):
            for found in Operation.objects.filter(finished_at=None):
                operation_advance(found.pk)

    sign_in(monkeypatch, alice, between=work)
    monkeypatch.setattr(operations, "POLL_S", 0.05)
    yield cli
    catalogue_forget()


def test_a_sandbox_grows_changes_its_keys_is_broken_and_mended(shell, home, acme):
    create = ("clusters", "create", "Sand", "--plan", "starter", "--nodes", "1", "--sandbox")
    made = json.loads(shell.ok(*create, "--yes", "--json"))
    assert made["cluster"]["status"] == "running"
    assert "succeeded  create" in shell.err
    shell.ok("clusters", "use", "Sand")
    shell.ok("put", "animals", "first", '{"name": "pangolin"}')

    shell.ok("nodes", "scale", "3", "--yes")
    assert "succeeded  scale" in shell.err
    listed = json.loads(shell.ok("nodes", "list", "--json"))
    assert [row["id"] for row in listed] == [0, 1, 2]
    before = json.loads(shell.ok("encryption", "status", "--json"))
    assert {row["algorithm"] for row in before} == {"aes-256-gcm"}
    shell.ok("encryption", "rotate", "--algorithm", "xchacha20-poly1305", "--yes")
    assert "succeeded  rotate_keys" in shell.err
    after = json.loads(shell.ok("encryption", "status", "--json"))
    assert [row["node_id"] for row in after] == [0, 1, 2]
    assert {row["algorithm"] for row in after} == {"xchacha20-poly1305"}
    assert all(new["key"] > old["key"] for new, old in zip(after, before, strict=True))

    (home / "password").write_text(PASSWORD + "\n")
    shell.ok("chaos", "start", "2=crash", "--beyond-f", "--yes", "--password-file", "password")
    assert "running" in shell.ok("chaos", "status")
    assert shell("nodes", "replace", "2", "--yes") == exits.CONFLICT
    assert "chaos stop" in shell.err
    assert json.loads(shell.ok("get", "animals", "first"))["name"] == "pangolin"
    shell.ok("chaos", "stop")
    told = json.loads(shell.ok("chaos", "status", "--json"))
    assert (told["status"], told["reason"]) == ("over", "manual")
    assert shell("chaos", "stop") == exits.CONFLICT
    with tenant_context(acme.schema_name):
        assert Experiment.objects.count() == 1

    shell.ok("nodes", "replace", "2", "--yes")
    assert "succeeded  replace" in shell.err
    assert [row["id"] for row in json.loads(shell.ok("nodes", "list", "--json"))] == [0, 1, 3]
    assert json.loads(shell.ok("get", "animals", "first"))["name"] == "pangolin"
    assert shell.ok("nodes", "log", "3", "--lines", "5").count("\n") == 5
