"""`manage.py token_create EMAIL`: a personal token for scripts and operators."""

from argparse import ArgumentParser
from typing import Any, override

from django.core.management.base import BaseCommand, CommandError

from portal.accounts.models import User, email_normalize
from portal.accounts.services import token_create
from portal.core.errors import PortalError
from portal.core.tenancy import public_context
from portal.organizations.models import Membership, Organization


class Command(BaseCommand):
    """Prints the secret, which nobody can read again."""

    help = "Print a new personal token of a user, optionally for one organization only."

    @override
    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("email")
        parser.add_argument("--org", metavar="SLUG", help="limit the token to one organization")
        parser.add_argument("--name", default="token_create", help="how the token is listed")

    @override
    def handle(self, *args: Any, **options: Any) -> None:
        with public_context():
            user = User.objects.filter(email=email_normalize(options["email"])).first()
            if user is None:
                raise CommandError(f"there is no user {options['email']}")
            organization = self._organization(user, options["org"])
            try:
                _, secret = token_create(user=user, organization=organization, name=options["name"])
            except PortalError as error:
                raise CommandError(str(error)) from error
        self.stdout.write(secret)

    def _organization(self, user: User, slug: str | None) -> Organization | None:
        if slug is None:
            return None
        membership = (
            Membership.objects.select_related("organization")
            .filter(user=user, organization__slug=slug)
            .first()
        )
        if membership is None:
            raise CommandError(f"{user.email} belongs to no organization {slug}")
        return membership.organization
