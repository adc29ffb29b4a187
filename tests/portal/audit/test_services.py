import pytest
from django.db import DatabaseError, transaction

from portal.audit.models import AuditEvent
from portal.audit.services import audit_record, chain_verify

pytestmark = pytest.mark.django_db


def record(number):
    return audit_record(
        access_or_actor="test",
        action="thing.done",
        target_type="thing",
        target_id=number,
        target_label=f"thing {number}",
        after={"number": number},
    )


def test_each_row_covers_the_row_before(in_acme):
    first, second = record(1), record(2)
    assert second.prev_hash == first.hash
    assert chain_verify() is None


def test_trail_can_only_be_appended_to(in_acme):
    event = record(1)
    for change in (
        lambda: AuditEvent.objects.filter(pk=event.pk).update(actor_label="nobody"),
        lambda: AuditEvent.objects.filter(pk=event.pk).delete(),
    ):
        with pytest.raises(DatabaseError), transaction.atomic():
            change()


def test_chain_verify_finds_a_row_that_was_changed_by_the_owner_of_the_tables(acme, in_acme):
    from portal.core.tenancy import as_owner

    event = record(1)
    record(2)
    with as_owner():
        AuditEvent.objects.filter(pk=event.pk).update(actor_label="nobody")
    assert chain_verify() == event.pk
