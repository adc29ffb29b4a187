"""Forms of signing up and in, and of the account."""

from typing import Any, override

from django import forms
from django.contrib.auth.password_validation import validate_password

from portal.accounts.models import User, email_normalize
from portal.core import clock

PASSWORD_LENGTH_MAX = 256
NEW = {"autocomplete": "new-password", "minlength": "10"}


class EmailField(forms.EmailField):
    """An address in the form in which it is stored."""

    @override
    def clean(self, value: Any) -> str:
        return email_normalize(super().clean(value))


def _email() -> EmailField:
    attributes = {"autocomplete": "email", "autofocus": True}
    return EmailField(label="E-mail", max_length=254, widget=forms.EmailInput(attrs=attributes))


def _new_password(label: str = "Password") -> forms.CharField:
    return forms.CharField(
        label=label,
        max_length=PASSWORD_LENGTH_MAX,
        strip=False,
        help_text="At least 10 characters; not one of the common ones.",
        widget=forms.PasswordInput(attrs=NEW),
    )


def _present_password() -> forms.CharField:
    return forms.CharField(
        label="Present password",
        max_length=PASSWORD_LENGTH_MAX,
        strip=False,
        widget=forms.PasswordInput(attrs={"autocomplete": "current-password"}),
    )


def _checked_password(user: User, current: str) -> str:
    if not user.check_password(current):
        raise forms.ValidationError("This is not your present password.")
    return current


class SignupForm(forms.Form):
    """A new account."""

    email = _email()
    name = forms.CharField(
        label="Your name",
        max_length=80,
        required=False,
        widget=forms.TextInput(attrs={"autocomplete": "name"}),
    )
    password = _new_password()

    @override
    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        if password := cleaned.get("password"):
            user = User(email=cleaned.get("email", ""), name=cleaned.get("name", ""))
            try:
                validate_password(password, user)
            except forms.ValidationError as error:
                self.add_error("password", error)
        return cleaned


class LoginForm(forms.Form):
    """E-mail and password."""

    email = _email()
    password = forms.CharField(
        label="Password",
        max_length=PASSWORD_LENGTH_MAX,
        strip=False,
        widget=forms.PasswordInput(attrs={"autocomplete": "current-password"}),
    )


class EmailForm(forms.Form):
    """Where to send the link for a new password."""

    email = _email()


class NewPasswordForm(forms.Form):
    """A password that replaces a forgotten one."""

    password = _new_password("New password")

    def __init__(self, user: User, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.user = user

    def clean_password(self) -> str:
        """Apply the rules that sign-up applies."""
        password: str = self.cleaned_data["password"]
        validate_password(password, self.user)
        return password


class ChangePasswordForm(NewPasswordForm):
    """A new password, by someone who knows the present one."""

    current = _present_password()
    field_order = ("current", "password")

    def clean_current(self) -> str:
        """Refuse a wrong one."""
        return _checked_password(self.user, self.cleaned_data["current"])


class ChangeEmailForm(forms.Form):
    """A new address, by someone who knows the password."""

    email = EmailField(
        label="New e-mail",
        max_length=254,
        widget=forms.EmailInput(attrs={"autocomplete": "email"}),
    )
    current = _present_password()

    def __init__(self, user: User, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.user = user

    def clean_email(self) -> str:
        """Refuse the address that is in use already."""
        email: str = self.cleaned_data["email"]
        if email == self.user.email:
            raise forms.ValidationError("This is your address already.")
        return email

    def clean_current(self) -> str:
        """Refuse a wrong password."""
        return _checked_password(self.user, self.cleaned_data["current"])


class ProfileForm(forms.Form):
    """What others see."""

    name = forms.CharField(
        label="Name",
        max_length=80,
        required=False,
        widget=forms.TextInput(attrs={"autocomplete": "name"}),
    )


class TokenForm(forms.Form):
    """A new personal token."""

    name = forms.CharField(
        label="What is it for?",
        max_length=80,
        widget=forms.TextInput(attrs={"placeholder": "Deploy script"}),
    )
    days = forms.TypedChoiceField(
        label="Expires",
        coerce=int,
        initial=90,
        choices=[(30, "in 30 days"), (90, "in 90 days"), (365, "in a year"), (0, "never")],
    )

    def expires_at(self) -> Any:
        """Return the moment, or None for never."""
        days = self.cleaned_data["days"]
        return clock.now() + clock.days(days) if days else None
