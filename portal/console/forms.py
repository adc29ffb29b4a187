"""Forms of organizations."""

from django import forms


class OrganizationForm(forms.Form):
    """A new organization."""

    name = forms.CharField(
        label="Name",
        max_length=80,
        widget=forms.TextInput(attrs={"placeholder": "Acme Inc.", "autofocus": True}),
    )
    slug = forms.RegexField(
        r"^[a-z0-9](?:[a-z0-9-]{0,38}[a-z0-9])?$",
        label="Address",
        required=False,
        help_text="Lower-case letters, digits and hyphens. Made from the name if left empty.",
        error_messages={"invalid": "Use lower-case letters, digits and hyphens, at most 40."},
        widget=forms.TextInput(attrs={"placeholder": "acme", "autocomplete": "off"}),
    )


class OrganizationNameForm(forms.Form):
    """Another name."""

    name = forms.CharField(label="Name", max_length=80)
