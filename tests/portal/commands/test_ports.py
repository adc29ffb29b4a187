"""Where the servers of an installation listen."""

import socket
import sys
from pathlib import Path

import pytest

from dataplane.client import local
from portal.clusters.provisioners import process
from portal.commands import ports
from portal.commands.ports import free_ports, port_is_free


def test_ports_are_distinct_free_and_nobody_elses():
    found = free_ports(20)
    assert len(set(found)) == 20
    assert all(port_is_free(port) for port in found)
    for others in (process.PORTS, local.PORTS):
        assert not set(ports.PORTS) & set(others)


@pytest.mark.skipif(sys.platform != "linux", reason="where Linux says its range")
def test_no_outgoing_connection_can_take_the_port_of_a_server_that_is_down():
    first = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    assert max(ports.PORTS) < first


def test_a_machine_without_free_ports_is_told(monkeypatch):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        monkeypatch.setattr(ports, "PORTS", [taken.getsockname()[1]])
        with pytest.raises(OSError, match="no 1 free ports"):
            free_ports(1)
