"""What tests of the portal's pages share: people's mail."""

import pytest

from tests.portal.letters import Letters


@pytest.fixture
def letters(db, mailoutbox, django_capture_on_commit_callbacks) -> Letters:
    """What the portal sends while the test looks."""
    return Letters(mailoutbox, django_capture_on_commit_callbacks)
