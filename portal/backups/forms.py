"""Forms of the page of backups; the services check the meaning."""

from datetime import timedelta
from typing import Any

from django import forms

from portal.backups.constants import EVERY_HOURS, KEEP_MAX, NOTE_LENGTH_MAX, WINDOW_DAYS_MAX
from portal.backups.models import BackupPolicy
from portal.clusters.constants import NAME_LENGTH_MAX

WORDS = {0: "never", 1: "every hour", 24: "every day"}


class BackupForm(forms.Form):
    """A backup on demand."""

    note = forms.CharField(
        max_length=NOTE_LENGTH_MAX,
        required=False,
        widget=forms.TextInput(
            attrs={"placeholder": "e.g. before the migration", "autocomplete": "off"}
        ),
    )
    keep_days = forms.TypedChoiceField(
        label="Keep it",
        coerce=lambda text: int(text) if text else None,
        empty_value=None,
        required=False,
        choices=[
            ("", "until it is deleted"),
            ("7", "7 days"),
            ("30", "30 days"),
            ("365", "1 year"),
        ],
    )


class PolicyForm(forms.Form):
    """The schedule, and what is kept."""

    every_hours = forms.TypedChoiceField(
        label="Back up",
        coerce=int,
        choices=[(hours, WORDS.get(hours, f"every {hours} hours")) for hours in EVERY_HOURS],
    )
    hourly = forms.IntegerField(min_value=0, max_value=KEEP_MAX["hourly"])
    daily = forms.IntegerField(min_value=0, max_value=KEEP_MAX["daily"])
    weekly = forms.IntegerField(min_value=0, max_value=KEEP_MAX["weekly"])
    monthly = forms.IntegerField(min_value=0, max_value=KEEP_MAX["monthly"])
    yearly = forms.IntegerField(min_value=0, max_value=KEEP_MAX["yearly"])
    window_days = forms.IntegerField(
        label="Restore any moment of the last",
        min_value=0,
        max_value=WINDOW_DAYS_MAX,
        help_text="Days for which everything that is decided is archived; 0 archives nothing.",
    )

    def keep(self) -> dict[str, int]:
        """Return how many of each period are kept."""
        return {name: int(self.cleaned_data[name]) for name in KEEP_MAX}


def policy_initial(policy: BackupPolicy) -> dict[str, int]:
    """Return what the form of a policy shows first."""
    keep = {name: getattr(policy, f"keep_{name}") for name in KEEP_MAX}
    return {"every_hours": policy.every_hours, "window_days": policy.window_days, **keep}


class MomentForm(forms.Form):
    """A moment: after a sequence, after the last batch of a time, or before an audit event."""

    sequence = forms.IntegerField(min_value=1, required=False)
    time = forms.DateTimeField(
        label="or UTC time",
        required=False,
        input_formats=["%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M:%S"],
        widget=forms.DateTimeInput(attrs={"type": "datetime-local", "step": "1"}),
    )
    before = forms.IntegerField(min_value=1, required=False, widget=forms.HiddenInput())


LIVES = [("", "until it is deleted"), ("1", "1 day"), ("7", "7 days"), ("30", "30 days")]


def _life(**options: Any) -> forms.TypedChoiceField:
    return forms.TypedChoiceField(
        coerce=lambda text: timedelta(days=int(text)) if text else None,
        empty_value=None,
        required=False,
        choices=LIVES,
        **options,
    )


class BranchForm(forms.Form):
    """When a branch ends, from now on."""

    life = _life(label="From now on it lives")


class RestoreForm(forms.Form):
    """Where a backup is restored."""

    where = forms.ChoiceField(
        choices=[("new", "new"), ("branch", "branch"), ("in_place", "in place")]
    )
    life = _life(label="It lives")
    name = forms.CharField(max_length=NAME_LENGTH_MAX, required=False)
    confirm = forms.CharField(max_length=NAME_LENGTH_MAX, required=False)
    form_token = forms.CharField(max_length=64, required=False)
    to_sequence = forms.IntegerField(min_value=1, required=False)
    before = forms.IntegerField(min_value=1, required=False)
