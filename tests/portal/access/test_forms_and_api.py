"""What a form on a page can say, the API can say: the fields of both are the same."""

import pytest

from portal.access.forms import (
    ElevationForm,
    ExplainForm,
    GrantForm,
    InviteForm,
    RoleForm,
    TeamForm,
)
from portal.api.serializers import (
    CustomRoleInput,
    ElevationInput,
    ExplainInput,
    GrantInput,
    InvitationInput,
    TeamInput,
)

# A page offers lengths of time, and confirms who it is beside its form; it names places as one.
NAMES = {"life": "expires", "where": "cluster"}
BESIDE = {"password"}


@pytest.mark.parametrize(
    ("form", "serializer"),
    [
        (ElevationForm, ElevationInput),
        (ExplainForm, ExplainInput),
        (GrantForm, GrantInput),
        (InviteForm, InvitationInput),
        (RoleForm, CustomRoleInput),
        (TeamForm, TeamInput),
    ],
)
def test_a_form_and_its_route_take_the_same(form, serializer):
    fields = {NAMES.get(name, name) for name in form.base_fields}
    assert fields == set(serializer().fields) - BESIDE
