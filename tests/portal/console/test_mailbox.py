"""The kept mail: links for new passwords are for nobody who came over the network."""

import pytest
from django.test import Client

pytestmark = pytest.mark.django_db

PATH = "/mailbox/"
LINK = b'href="/mailbox/"'


def test_whoever_sits_at_the_machine_reads_the_mail(alice, client_for):
    for address in ("127.0.0.1", "::1"):
        assert Client(REMOTE_ADDR=address).get(PATH).status_code == 200
        assert LINK in client_for(alice, REMOTE_ADDR=address).get("/account/").content


@pytest.mark.parametrize(
    ("address", "headers"),
    [
        ("192.0.2.7", {}),
        ("10.0.0.5", {}),
        ("", {}),
        ("127.0.0.1", {"X-Forwarded-For": "192.0.2.7"}),
        ("127.0.0.1", {"X-Forwarded-For": "127.0.0.1"}),
        ("127.0.0.1", {"X-Real-IP": "192.0.2.7"}),
        ("127.0.0.1", {"Forwarded": "for=192.0.2.7"}),
    ],
)
def test_nobody_else_does_or_learns_that_it_is_there(alice, client_for, address, headers):
    assert Client(REMOTE_ADDR=address, headers=headers).get(PATH).status_code == 404
    client = client_for(alice, REMOTE_ADDR=address, headers=headers)
    assert client.get(PATH).status_code == 404
    assert LINK not in client.get("/account/").content


def test_a_proxy_that_is_ours_makes_nobody_local(settings):
    settings.TRUSTED_PROXY_COUNT = 1
    assert Client(REMOTE_ADDR="127.0.0.1").get(PATH).status_code == 404


def test_operators_read_it_from_anywhere_and_customers_do_not(alice, olga, client_for):
    assert client_for(olga, REMOTE_ADDR="192.0.2.7").get(PATH).status_code == 200
    assert client_for(alice, REMOTE_ADDR="192.0.2.7").get(PATH).status_code == 404


def test_with_a_mail_server_there_is_no_mailbox(settings, olga, client_for):
    settings.MAILBOX_ENABLED = False
    assert client_for(olga).get(PATH).status_code == 404
