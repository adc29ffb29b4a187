"""What can go wrong with accounts."""

from portal.core.errors import Conflict


class TooManyTokens(Conflict):
    """The limit of tokens of one person is reached."""

    code = "token_limit"
    title = "Too many tokens"
