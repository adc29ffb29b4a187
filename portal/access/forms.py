"""Forms of the pages about people and what they may do."""

from datetime import timedelta
from typing import Any, Final
from uuid import UUID

from django import forms

from portal.access.bindings import GRANTABLE, REASON_LENGTH_MAX, Principal
from portal.access.permissions import PERMISSION_WORDS
from portal.access.roles import CUSTOM_PERMISSIONS, DESCRIPTION_LENGTH_MAX
from portal.access.roles import NAME_LENGTH_MAX as ROLE_NAME_LENGTH_MAX
from portal.access.teams import NAME_LENGTH_MAX
from portal.access.types import CLUSTER, EVERYWHERE, LABEL, Scope
from portal.core import clock
from portal.organizations.models import Role

LIVES: Final = {
    "": "until it is revoked",
    "3600": "for an hour",
    "28800": "for 8 hours",
    "86400": "for a day",
    "604800": "for a week",
    "2592000": "for 30 days",
}

INVITATION_LIVES: Final = {
    "": "for a week",
    "3600": "for an hour",
    "86400": "for a day",
    "259200": "for 3 days",
    "2592000": "for 30 days",
}

type Choices = list[tuple[str, str]]
type Groups = list[tuple[str, Choices]]


class InviteForm(forms.Form):
    """Whom to ask, as what, into which teams, and how long the link works."""

    email = forms.EmailField(
        label="E-mail",
        max_length=254,
        widget=forms.EmailInput(attrs={"autocomplete": "off"}),
        error_messages={"invalid": "This is not an e-mail address."},
    )
    role = forms.ChoiceField(
        label="Role",
        choices=Role.choices,
        initial=Role.DEVELOPER,
        error_messages={"invalid_choice": f"Use one of {', '.join(Role.values)}."},
    )
    life = forms.ChoiceField(
        label="The link works", choices=list(INVITATION_LIVES.items()), required=False
    )
    teams = forms.MultipleChoiceField(
        label="Into teams",
        required=False,
        widget=forms.CheckboxSelectMultiple,
        error_messages={"invalid_choice": "There is no such team."},
    )

    def __init__(self, *args: Any, teams: Choices) -> None:
        super().__init__(*args)
        _choose(self.fields["teams"], teams)

    def wanted(self) -> dict[str, Any]:
        """Return what the service takes."""
        life = self.cleaned_data["life"]
        return {
            "email": self.cleaned_data["email"],
            "role": self.cleaned_data["role"],
            "teams": [UUID(key) for key in self.cleaned_data["teams"]],
            "expires": clock.now() + timedelta(seconds=int(life)) if life else None,
        }


class TeamForm(forms.Form):
    """The name of a team."""

    name = forms.CharField(label="Name", max_length=NAME_LENGTH_MAX)


class GrantForm(forms.Form):
    """To whom, what, where, how long, and why."""

    principal = forms.ChoiceField(label="Who")
    role = forms.ChoiceField(label="Role", initial=Role.VIEWER)
    scope = forms.ChoiceField(label="Where")
    life = forms.ChoiceField(label="How long", choices=list(LIVES.items()), required=False)
    reason = forms.CharField(label="Why", max_length=REASON_LENGTH_MAX, required=False)

    def __init__(
        self,
        *args: Any,
        people: Choices,
        teams: Choices,
        roles: Choices,
        clusters: Choices,
        labels: Choices,
    ) -> None:
        super().__init__(*args)
        who: Groups = [("People", people), ("Teams", teams)]
        _choose(self.fields["role"], role_choices(roles))
        _choose(self.fields["principal"], [group for group in who if group[1]])
        _choose(self.fields["scope"], place_choices(clusters, labels))

    def wanted(self) -> dict[str, Any]:
        """Return what the service takes."""
        kind, _, key = self.cleaned_data["principal"].partition(":")
        where, _, value = self.cleaned_data["scope"].partition(":")
        life = self.cleaned_data["life"]
        return {
            "principal": Principal(**{f"{kind}_id": UUID(key)}),
            "role": self.cleaned_data["role"],
            "scope": Scope(where, value),
            "expires_at": clock.now() + timedelta(seconds=int(life)) if life else None,
            "reason": self.cleaned_data["reason"],
        }


class ElevationForm(forms.Form):
    """What one asks for, where, how long and why."""

    role = forms.ChoiceField(label="Role", initial=Role.DEVELOPER)
    scope = forms.ChoiceField(label="Where")
    minutes = forms.TypedChoiceField(
        label="How long",
        coerce=int,
        initial=60,
        choices=[
            (15, "15 minutes"),
            (60, "an hour"),
            (240, "4 hours"),
            (480, "8 hours"),
            (1440, "a day"),
        ],
    )
    reason = forms.CharField(label="Why", max_length=REASON_LENGTH_MAX)

    def __init__(self, *args: Any, roles: Choices, clusters: Choices, labels: Choices) -> None:
        super().__init__(*args)
        _choose(self.fields["role"], role_choices(roles))
        _choose(self.fields["scope"], place_choices(clusters, labels))

    def wanted(self) -> dict[str, Any]:
        """Return what the service takes."""
        where, _, value = self.cleaned_data["scope"].partition(":")
        return self.cleaned_data | {"scope": Scope(where, value)}


class RoleForm(forms.Form):
    """A role of the organization's own; the page draws a box for each permission."""

    name = forms.CharField(label="Name", max_length=ROLE_NAME_LENGTH_MAX)
    description = forms.CharField(
        label="What it is for", max_length=DESCRIPTION_LENGTH_MAX, required=False
    )
    permissions = forms.MultipleChoiceField(
        choices=[(code, code) for code in CUSTOM_PERMISSIONS], required=False
    )

    def chosen(self) -> set[str]:
        """Return the permissions whose boxes are ticked."""
        value = self["permissions"].value()
        return set(value or [])


class ExplainForm(forms.Form):
    """Who, what, where."""

    user = forms.ChoiceField(label="Who")
    permission = forms.ChoiceField(
        label="May",
        choices=[(code, f"{words} ({code})") for code, words in PERMISSION_WORDS.items()],
    )
    where = forms.ChoiceField(label="Where")

    def __init__(self, *args: Any, people: Choices, clusters: Choices) -> None:
        super().__init__(*args)
        _choose(self.fields["user"], people)
        groups: Groups = [("Clusters", clusters)] if clusters else []
        _choose(self.fields["where"], [(EVERYWHERE, "The whole organization"), *groups])

    def wanted(self) -> dict[str, Any]:
        """Return what the service takes."""
        _, _, cluster = self.cleaned_data["where"].partition(":")
        return {
            "user_id": UUID(self.cleaned_data["user"]),
            "permission": self.cleaned_data["permission"],
            "cluster_id": UUID(cluster) if cluster else None,
        }


def role_choices(roles: Choices) -> list[Any]:
    """Return the roles that can be granted, the organization's own ones apart."""
    built_in: Choices = [(role.value, role.label) for role in GRANTABLE]
    own: Groups = [("Your own roles", roles)] if roles else []
    return [*built_in, *own]


def place_choices(clusters: Choices, labels: Choices) -> list[Any]:
    """Return the places of a grant."""
    where: Groups = [("Clusters", clusters), ("Labels", labels)]
    return [(EVERYWHERE, "The whole organization"), *(group for group in where if group[1])]


def cluster_choices(names: dict[UUID, str]) -> Choices:
    """Return the clusters as places of a grant."""
    return [(f"{CLUSTER}:{key}", name) for key, name in names.items()]


def label_choices(labels: list[str]) -> Choices:
    """Return the labels as places of a grant."""
    return [(f"{LABEL}:{label}", label) for label in labels]


def _choose(field: forms.Field, choices: list[Any]) -> None:
    assert isinstance(field, forms.ChoiceField)
    field.choices = choices
