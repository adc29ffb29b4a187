"""What can be wrong with keys."""


class KeyFileError(Exception):
    """A key file is missing, readable by others or not a key."""


class SealedStreamError(Exception):
    """A sealed stream was changed or cut, or the key or the context is another."""


class EncryptionError(Exception):
    """The node cannot get at its keys; says what to do. Nothing is damaged by that."""
