"""What a caller did wrong; nothing else is reported in words.

InputError
  image_empty         no bytes
  image_format        not a JPEG, PNG, WebP or BMP picture
  image_too_large     more bytes or pixels than the limits of `preprocess.image`
  image_truncated     the file ends before the picture does
  image_unreadable    the file is damaged
  parameter_invalid   a request parameter is unknown, of the wrong type or out of range
"""


class InputError(ValueError):
    """A request that cannot be answered. `code` is stable; `str()` gives `code: message`."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
