"""Where clusters of one machine listen."""

import socket
import sys
from pathlib import Path

import pytest

from dataplane.client import local
from dataplane.client.local import HOST, free_ports


def test_ports_are_distinct_and_free():
    ports = free_ports(20)
    assert len(set(ports)) == 20
    for port in ports:
        with socket.socket() as probe:
            probe.bind((HOST, port))


@pytest.mark.skipif(sys.platform != "linux", reason="where Linux says its range")
def test_no_outgoing_connection_can_take_the_port_of_a_node_that_is_down():
    first = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    assert max(free_ports(50)) < first


def test_a_machine_without_free_ports_is_told(monkeypatch):
    with socket.socket() as taken:
        taken.bind((HOST, 0))
        monkeypatch.setattr(local, "PORTS", [taken.getsockname()[1]])
        with pytest.raises(OSError, match="no 1 free ports"):
            free_ports(1)
