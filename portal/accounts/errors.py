"""What can go wrong with accounts."""

from portal.core.errors import Conflict, PortalError


class TooManyTokens(Conflict):
    """The limit of tokens of one person is reached."""

    code = "token_limit"
    title = "Too many tokens"


class ReauthenticationRequired(PortalError):
    """The password must be entered again before this."""

    code = "reauthentication_required"
    status = 403
    title = "Confirm that it is you"


class WrongPassword(PortalError):
    """The password entered again is not the user's."""

    code = "wrong_password"
    status = 403
    title = "The password is not right"
