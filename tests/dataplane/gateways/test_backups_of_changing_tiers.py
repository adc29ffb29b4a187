"""A backup that takes its time while the documents that were cold at its moment are changed."""

import contextlib
import io
import os
import socket
from base64 import b64encode

import httpx
import pytest

from dataplane.client.backups import verify_backup
from dataplane.client.errors import BackupError
from tests.dataplane.gateways.test_tiering import until_cold

COUNT = 16
BODY_BYTES = 700_000
"""Nothing that compresses: more of it than is on the way while nobody reads."""
SMALL = [(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * 1024)]
PATH = "/collections/c"


@pytest.fixture
def changing(make_node):
    """Return a node, and a client of it, with a collection of large documents that are cold."""
    node = make_node()
    headers = {"Authorization": f"Bearer {node.api_key}"}
    url = f"{node.urls[0]}/api/v1"
    transport = httpx.HTTPTransport(socket_options=SMALL)
    with httpx.Client(base_url=url, headers=headers, transport=transport, timeout=30) as api:
        policy = {"tiering": {"cold_after_s": 1}, "subject": "who"}
        assert api.put(PATH, json=policy).status_code == 201
        for n in range(COUNT):
            body = {"who": f"p{n}", "text": b64encode(os.urandom(BODY_BYTES)).decode()}
            assert api.put(f"{PATH}/documents/d{n}", json=body).is_success
        until_cold(api, PATH, COUNT)
        yield node, api


def read_while(api: httpx.Client, act) -> bytes:
    """Do something when the first of a backup has come; return what comes of it in all."""
    with api.stream("GET", "/backup") as answer:
        assert answer.status_code == 200
        parts = answer.iter_raw(1024)
        file = [next(parts)]
        act()
        with contextlib.suppress(httpx.RemoteProtocolError):
            file += parts
    return b"".join(file)


def test_a_backup_is_whole_though_all_that_was_cold_is_changed_meanwhile(changing):
    node, api = changing

    def change() -> None:
        for n in range(COUNT):
            assert api.put(f"{PATH}/documents/d{n}", json={"who": "q", "n": n}).is_success
        assert api.get("/stats").json()["segments"]["held"] == COUNT

    file = read_while(api, change)
    assert len(file) > COUNT * BODY_BYTES
    verified = verify_backup([io.BytesIO(file)], node.anchor)
    assert verified.is_whole


def test_a_backup_brings_nothing_back_that_was_erased_meanwhile_and_the_next_one_is_whole(
    changing,
):
    node, api = changing

    def erase() -> None:
        for n in range(COUNT):
            asked = {"subject": f"p{n}"}
            answer = api.post("/subjects/erase", json=asked)
            while answer.status_code == 202:
                asked["erasure"] = answer.json()["erasure"]
                answer = api.post("/subjects/erase", json=asked)
            assert answer.json()["removed"] == {"c": 1}, answer.text

    file = read_while(api, erase)
    assert api.get("/stats").json()["segments"]["held"] == 0
    with pytest.raises(BackupError) as broken:
        verify_backup([io.BytesIO(file)], node.anchor)
    assert broken.value.code == "truncated"
    again = read_while(api, lambda: None)
    assert verify_backup([io.BytesIO(again)], node.anchor).is_whole
