"""Forms of the team page."""

from django import forms

from portal.organizations.models import Role


class InviteForm(forms.Form):
    """Whom to ask, and as what."""

    email = forms.EmailField(
        label="E-mail", max_length=254, widget=forms.EmailInput(attrs={"autocomplete": "off"})
    )
    role = forms.ChoiceField(label="Role", choices=Role.choices, initial=Role.DEVELOPER)
