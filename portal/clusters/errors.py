"""What can stand in the way of an operation."""


class UnableToOperate(Exception):
    """A step cannot be done now.

    `permanent` says that trying again by itself makes no sense; otherwise the step is tried until
    its deadline. `next_action` tells a person what to do.
    """

    def __init__(
        self, code: str, words: str, *, next_action: str = "", permanent: bool = False
    ) -> None:
        super().__init__(words)
        self.code = code
        self.words = words
        self.next_action = next_action
        self.permanent = permanent
