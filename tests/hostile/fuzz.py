"""What scripts/fuzz runs: bytes to the picture decoder and the parsers, led by the lines of Python that they reach.

Nothing but our own errors may come out. The first byte chooses what the others are.
"""

import contextlib
import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["preprocess", "client", "PIL"]):
    import PIL.BmpImagePlugin
    import PIL.JpegImagePlugin
    import PIL.PngImagePlugin
    import PIL.WebPImagePlugin  # noqa: F401

    from client import wire
    from client.errors import ServiceError
    from client.settings import Settings
    from preprocess import image
    from preprocess.errors import InputError

SETTINGS = Settings()
PARSERS = (
    wire.parse_picture,
    wire.parse_images,
    wire.parse_images_of_any_key,
    wire.parse_images_of_likely_key,
)


def run(data: bytes) -> None:
    choice, rest = data[:1], data[1:]
    if choice <= b"\x7f":
        with contextlib.suppress(InputError):
            pixels = image.decode(rest, apply_exif=choice > b"\x3f")
            assert pixels.shape[2] == 3
            assert 0 < pixels.shape[0] * pixels.shape[1] <= image.MAX_PIXELS
    else:
        with contextlib.suppress(ServiceError):
            found = PARSERS[choice[0] % len(PARSERS)](rest, SETTINGS)
            assert all(found)


def write_seeds(folder: Path) -> None:
    from tests.hostile.mutations import bodies, pictures

    folder.mkdir(parents=True, exist_ok=True)
    for choices, originals in ((b"\x00\x7f", pictures()), (b"\x80\x81\x82\x83", bodies())):
        for index, original in enumerate(originals):
            for choice in choices:
                (folder / f"{choice:02x}-{index:02}").write_bytes(bytes([choice]) + original)


if __name__ == "__main__":
    corpus = Path(sys.argv[1])
    write_seeds(corpus)
    atheris.Setup([sys.argv[0], *sys.argv[2:], str(corpus)], run)
    atheris.Fuzz()
