"""Reasons for which a poll gives no figures."""


class UnexpectedAnswer(Exception):
    """A node answered, but not with its figures."""
