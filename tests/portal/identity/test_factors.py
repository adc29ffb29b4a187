"""One's own second factors: setting them up, recovery codes, taking them away."""

import re
from datetime import timedelta

import pytest
from django.test import Client

from portal.core import clock
from portal.core.crypto import UnableToUnseal, seal, unseal
from portal.identity.models import RecoveryCode, TotpDevice
from portal.identity.selectors import factors_of, recovery_left, totp_begun
from portal.identity.services import factor_remove, totp_key
from portal.identity.totp import key_text, key_uri
from tests.portal.identity.people import app_of, code_of, sign_in

pytestmark = pytest.mark.django_db

PAGE = "/account/security/"


@pytest.fixture
def browser(alice):
    client = Client()
    sign_in(client, alice)
    return client


def codes_in(answer) -> list[str]:
    return re.findall(r"(?:[0-9a-z]{4}-){5}[0-9a-z]{4}", answer.content.decode())


def test_an_app_is_set_up_by_a_picture_and_a_code(browser, alice, letters):
    assert "No second factor yet" in browser.get(PAGE).content.decode()
    page = browser.get(f"{PAGE}totp/").content.decode()
    begun = totp_begun(alice)
    assert key_text(totp_key(begun)) in page
    assert browser.get(f"{PAGE}totp/").content.decode().count(key_text(totp_key(begun))) == 1
    assert browser.post(f"{PAGE}totp/", {"code": "000000"}).status_code == 422
    assert factors_of(alice) == []
    with letters.expected() as sent:
        answer = browser.post(f"{PAGE}totp/", {"code": code_of(begun), "name": " My  phone "})
    assert len(codes_in(answer)) == 10
    assert "no-store" in answer["Cache-Control"]
    assert "A second factor was added" in sent[0].subject
    assert [factor.name for factor in factors_of(alice)] == ["My phone"]
    page = browser.get(PAGE).content.decode()
    assert "10 of them are left" in page
    assert codes_in(browser.get(PAGE)) == []


def test_the_address_of_the_key_is_what_apps_read():
    uri = key_uri(b"12345678901234567890", email="a+b@example.com")
    assert uri == (
        "otpauth://totp/AerolithDB%20Cloud%3Aa%2Bb%40example.com?secret="
        "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ&issuer=AerolithDB%20Cloud&digits=6&period=30"
    )


def test_a_key_is_sealed_for_its_row(alice, bob):
    mine, other = app_of(alice), app_of(bob)
    assert totp_key(mine) not in bytes(mine.sealed_key)
    TotpDevice.objects.filter(pk=other.pk).update(sealed_key=mine.sealed_key)
    other.refresh_from_db()
    with pytest.raises(UnableToUnseal):
        totp_key(other)


@pytest.mark.parametrize(("made", "asked"), [(b"", b"a"), (b"a", b""), (b"a", b"b")])
def test_sealed_bytes_open_in_their_context_only(made, asked):
    assert unseal(seal(b"x", context=made), context=made) == b"x"
    with pytest.raises(UnableToUnseal):
        unseal(seal(b"x", context=made), context=asked)


def test_recovery_codes_are_stored_as_hashes_and_replaced_together(browser, alice):
    app_of(alice)
    first = set(RecoveryCode.objects.values_list("hash", flat=True))
    answer = browser.post(f"{PAGE}recovery/")
    codes = codes_in(answer)
    assert len(set(codes)) == 10
    hashes = set(RecoveryCode.objects.values_list("hash", flat=True))
    assert hashes.isdisjoint(first)
    assert hashes.isdisjoint(codes)
    assert recovery_left(alice) == 10


def test_without_a_factor_there_are_no_recovery_codes(browser):
    assert browser.post(f"{PAGE}recovery/").status_code == 404


def test_the_last_factor_takes_the_recovery_codes_along(browser, alice, letters):
    device = app_of(alice)
    with letters.expected() as sent:
        browser.post(f"{PAGE}{device.pk}/remove/")
    assert "was removed" in sent[0].subject
    assert factors_of(alice) == []
    assert not RecoveryCode.objects.filter(user=alice).exists()


def test_operators_keep_their_last_factor(client_for, olga):
    device = app_of(olga)
    answer = client_for(olga).post(f"{PAGE}{device.pk}/remove/", follow=True)
    assert "need one" in answer.content.decode()
    assert len(factors_of(olga)) == 1
    other = app_of_later(olga)
    factor_remove(olga, factor_id=device.pk)
    assert [factor.id for factor in factors_of(olga)] == [other.pk]


def app_of_later(user):
    with clock.frozen(clock.now() + timedelta(minutes=2)):
        return app_of(user)


def test_nobody_touches_a_factor_of_somebody_else(client_for, alice, charlie):
    device = app_of(alice)
    stranger = client_for(charlie)
    assert stranger.post(f"{PAGE}{device.pk}/remove/").status_code == 404
    assert stranger.post(f"{PAGE}{device.pk}/rename/", {"name": "x"}).status_code == 404
    assert len(factors_of(alice)) == 1


def test_a_factor_is_renamed_and_shown_escaped(browser, alice):
    device = app_of(alice)
    browser.post(f"{PAGE}{device.pk}/rename/", {"name": "<b>Phone</b>"})
    assert "&lt;b&gt;Phone&lt;/b&gt;" in browser.get(PAGE).content.decode()
    assert browser.post(f"{PAGE}{device.pk}/rename/", {"name": " "}).status_code == 302
    assert factors_of(alice)[0].name == "<b>Phone</b>"


def test_there_is_a_limit_of_apps(browser, alice):
    for minutes in range(5):
        with clock.frozen(clock.now() + timedelta(minutes=20 * minutes)):
            app_of(alice)
    answer = browser.get(f"{PAGE}totp/", follow=True)
    assert "One person can have 5 apps" in answer.content.decode()
