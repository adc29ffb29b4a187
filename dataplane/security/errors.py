"""What can be wrong with keys."""


class KeyFileError(Exception):
    """A key file is missing, readable by others or not a key."""
