"""Forms of the cluster pages; the services check the meaning."""

from datetime import datetime, timedelta
from typing import ClassVar

from django import forms

from dataplane.client.keys import SCOPES
from portal.clusters.constants import NAME_LENGTH_MAX
from portal.clusters.keeping import ALGORITHM_DEFAULT, ALGORITHMS, PLAIN
from portal.clusters.keys import DEFAULT_SCOPES
from portal.clusters.keys import NAME_LENGTH_MAX as KEY_NAME_LENGTH_MAX
from portal.core import clock
from portal.plans.selectors import plan_list, region_list

SCOPE_WORDS: dict[str, str] = {
    "documents:read": "Read documents and query",
    "documents:write": "Write and delete documents",
    "collections:admin": "Create and drop collections",
    "cluster:read": "See figures and node status",
    "audit:read": "Read the audit log of the cluster",
    "cluster:admin": "Manage keys and limits (be sparing)",
}


class ClusterForm(forms.Form):
    """The wizard."""

    name = forms.CharField(
        max_length=NAME_LENGTH_MAX,
        widget=forms.TextInput(
            attrs={"placeholder": "e.g. orders", "autocomplete": "off", "autofocus": True}
        ),
    )
    plan = forms.ChoiceField()
    region = forms.ChoiceField()
    nodes = forms.TypedChoiceField(coerce=int)
    sandbox = forms.BooleanField(
        required=False,
        label="This is a sandbox",
        widget=forms.CheckboxInput(attrs={"class": "form-check-input"}),
        help_text="Admins may break its nodes on purpose, to watch what the others do about it.",
    )
    encryption = forms.ChoiceField(
        choices=[*((name, name.upper()) for name in ALGORITHMS), (PLAIN, "None")],
        initial=ALGORITHM_DEFAULT,
        required=False,
        label="Encryption of what the nodes store",
        help_text="Nothing on their disks can be read without the cluster's key.",
    )
    form_token = forms.CharField(max_length=64, required=False, widget=forms.HiddenInput)

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]  # passed on as they come.
        plans = plan_list()
        counts = sorted({count for plan in plans for count in plan.node_counts})
        self.fields["plan"] = forms.ChoiceField(choices=[(p.code, p.name) for p in plans])
        self.fields["region"] = forms.ChoiceField(
            choices=[(region.code, region.name) for region in region_list()]
        )
        self.fields["nodes"] = forms.TypedChoiceField(
            coerce=int, choices=[(count, str(count)) for count in counts]
        )

    def clean_encryption(self) -> str:
        """Return the algorithm; whoever says nothing gets an encrypted cluster."""
        return self.cleaned_data["encryption"] or ALGORITHM_DEFAULT


class KeyForm(forms.Form):
    """A new API key."""

    DAYS: ClassVar = [
        ("", "Never"),
        ("1", "1 day"),
        ("30", "30 days"),
        ("90", "90 days"),
        ("365", "1 year"),
    ]

    name = forms.CharField(
        max_length=KEY_NAME_LENGTH_MAX,
        widget=forms.TextInput(attrs={"placeholder": "e.g. web shop", "autocomplete": "off"}),
    )
    scopes = forms.MultipleChoiceField(
        choices=[(scope, SCOPE_WORDS[scope]) for scope in SCOPES],
        initial=list(DEFAULT_SCOPES),
        widget=forms.CheckboxSelectMultiple,
    )
    collections = forms.CharField(
        max_length=1000,
        initial="*",
        help_text="Names or patterns, separated by commas. * is all of them.",
    )
    expires = forms.ChoiceField(choices=DAYS, required=False, label="Expires after")

    def collection_list(self) -> list[str]:
        """Return the patterns typed."""
        typed: str = self.cleaned_data["collections"]
        return [part.strip() for part in typed.split(",") if part.strip()]

    def expires_at(self) -> datetime | None:
        """Return when the key is to end."""
        days: str = self.cleaned_data["expires"]
        return clock.now() + timedelta(days=int(days)) if days else None
