"""The one error of the preparation: what stopped it, in one line for the person at the terminal."""


class PreparationError(Exception):
    """`str(error)` is one line that names what is wrong and, where it helps, how to put it right."""

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.split()))
