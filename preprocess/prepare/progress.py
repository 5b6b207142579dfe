"""The progress bar of one network's preparation."""

from types import TracebackType

from tqdm import tqdm


class Progress:
    """A bar that moves on with each step; shown on a terminal only.

    Use as a context manager and call it before each step: `progress("converting", 2, 4)` is step 2 of 4.
    """

    def __init__(self, network: str) -> None:
        self.bar = tqdm(
            desc=network, disable=None, leave=False, bar_format="{desc} |{bar:20}| {n_fmt}/{total_fmt}{postfix}"
        )

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.bar.close()

    def __call__(self, step: str, number: int, of: int) -> None:
        self.bar.total = of
        self.bar.n = number - 1
        self.bar.set_postfix_str(step)
