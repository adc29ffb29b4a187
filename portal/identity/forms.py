"""Forms of codes, of confirming it again, and of setting up a second factor."""

from django import forms

from portal.identity.constants import CODE_LENGTH_MAX, NAME_LENGTH_MAX, PASSWORD_LENGTH_MAX


def _code(label: str, *, hint: str) -> forms.CharField:
    attributes = {
        "autocomplete": "one-time-code",
        "autocapitalize": "none",
        "spellcheck": "false",
        "autofocus": True,
    }
    return forms.CharField(
        label=label,
        max_length=CODE_LENGTH_MAX,
        help_text=hint,
        widget=forms.TextInput(attrs=attributes),
    )


class CodeForm(forms.Form):
    """A code of the app, or one of the paper."""

    code = _code("Code", hint="Six digits from your app, or one of your recovery codes.")


class PasswordForm(forms.Form):
    """The password, once more."""

    password = forms.CharField(
        label="Password",
        max_length=PASSWORD_LENGTH_MAX,
        strip=False,
        widget=forms.PasswordInput(attrs={"autocomplete": "current-password", "autofocus": True}),
    )


class TotpForm(forms.Form):
    """The first code of a new app, and what to call it."""

    code = _code("Code that the app shows", hint="Six digits; another every half a minute.")
    name = forms.CharField(
        label="Name",
        max_length=NAME_LENGTH_MAX,
        required=False,
        widget=forms.TextInput(attrs={"placeholder": "Phone"}),
    )


class NameForm(forms.Form):
    """What to call a factor."""

    name = forms.CharField(label="Name", max_length=NAME_LENGTH_MAX)
