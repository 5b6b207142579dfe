"""Request bodies of /v1 without opening a picture: JSON with base64, or an HTML form with files.

A request that cannot be understood fails as a whole. A picture that is too large fails alone, as does
an empty file of a form.
"""

import sys
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Any, Generic

from starlette.datastructures import FormData, Headers, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from .. import wire
from ..errors import BadPicture, BadRequest, ServiceError, TooLarge, UnsupportedMedia
from ..settings import Settings
from .options import Options, from_text, read_options

FILE_FIELDS = ("image", "images")
MOST_FIELDS = 16
MOST_FIELD_BYTES = 1024

Picture = bytes | ServiceError  # encoded, or why it was refused


@dataclass(frozen=True)
class Asked(Generic[Options]):
    """What a request asks: its pictures in their order, and its options."""

    pictures: tuple[Picture, ...]
    options: Options


async def read_body(headers: Headers, body: bytes, kind: type[Options], settings: Settings) -> Asked[Options]:
    """Raises ServiceError for a body of another type and for one that cannot be understood."""
    media_type = headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type == "application/json":
        return _read_json(body, kind, settings)
    if media_type == "multipart/form-data":
        form = await _parse_form(headers, body, settings)
        try:
            return _read_form(form, kind, settings)
        finally:
            await form.close()
    raise UnsupportedMedia(
        "content_type", "send application/json, or multipart/form-data with files (curl -F image=@photo.jpg)"
    )


def _read_json(body: bytes, kind: type[Options], settings: Settings) -> Asked[Options]:
    document = wire.parse_object(body, settings)
    images = wire.check_list(document.pop("images", None), settings)
    if "cnt" in document:
        count = document.pop("cnt")
        if isinstance(count, bool) or count != len(images):
            raise BadRequest("cnt_wrong", "cnt is not the number of images; leave it out or mend it")
    options = read_options(kind, document)
    return Asked(tuple(_decoded(index, text, settings) for index, text in enumerate(images)), options)


def _decoded(index: int, text: object, settings: Settings) -> Picture:
    try:
        return wire.decode_image(index, text, settings)
    except TooLarge as error:
        return alone(error)


def alone(error: ServiceError) -> ServiceError:
    """An error to keep: without its frames, which hold what was sent."""
    error.__traceback__ = error.__cause__ = error.__context__ = None
    return error


class _FormParser(MultiPartParser):
    """starlette's parser, but nothing that a caller sends may reach a disk, and a form must have an end."""

    spool_max_size = sys.maxsize
    whole = False

    def on_end(self) -> None:
        self.whole = True


async def _parse_form(headers: Headers, body: bytes, settings: Settings) -> FormData:
    async def stream() -> AsyncGenerator[bytes, None]:
        yield body
        if not parser.whole:  # raised here, so that starlette closes what it opened
            raise BadRequest("form_incomplete", "the form ends before its last boundary")

    parser = _FormParser(
        headers,
        stream(),
        max_files=settings.max_images,
        max_fields=MOST_FIELDS,
        max_part_size=MOST_FIELD_BYTES,
    )
    try:
        return await parser.parse()
    except (MultiPartException, UnicodeError) as error:  # the latter: names that the form's charset has not
        if isinstance(error, MultiPartException) and error.message.startswith("Too many files"):
            raise TooLarge("images_too_many", f"more than {settings.max_images} pictures; send them in parts") from None
        raise BadRequest(
            "form_invalid",
            f"the form is not valid multipart/form-data with files in {' or '.join(FILE_FIELDS)} and options of at "
            f"most {MOST_FIELD_BYTES} bytes",
        ) from None


def _read_form(form: FormData, kind: type[Options], settings: Settings) -> Asked[Options]:
    pictures: list[Picture] = []
    given: dict[str, Any] = {}
    for name, value in form.multi_items():
        if isinstance(value, UploadFile):
            if name not in FILE_FIELDS:
                raise BadRequest("file_unknown", f"a file has another field than {' or '.join(FILE_FIELDS)}")
            pictures.append(_read_file(len(pictures), value.file.read(), settings))
        elif name in FILE_FIELDS:
            raise BadRequest("image_not_file", "a picture came as text; send it as a file (curl -F image=@photo.jpg)")
        elif name in given:
            raise BadRequest("option_twice", "an option came twice; send each once")
        else:
            given[name] = from_text(kind, name, value)
    if not pictures:
        raise BadRequest("images_missing", "the form has no file; send pictures as files in the field image")
    count = given.pop("cnt", str(len(pictures)))
    if count != str(len(pictures)):
        raise BadRequest("cnt_wrong", "cnt is not the number of images; leave it out or mend it")
    return Asked(tuple(pictures), read_options(kind, given))


def _read_file(index: int, picture: bytes, settings: Settings) -> Picture:
    if not picture:
        return BadPicture("image_empty", f"images[{index}] is empty")
    try:
        wire.check_size(picture, settings, f"images[{index}]")
    except TooLarge as error:
        return alone(error)
    return picture
