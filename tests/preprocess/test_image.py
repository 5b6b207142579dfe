import io
import struct
import zlib
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from preprocess import image
from preprocess.errors import InputError

MakePicture = Callable[..., bytes]


def refusal(data: bytes) -> str:
    with pytest.raises(InputError) as caught:
        image.decode(data)
    assert "PIL" not in str(caught.value)
    return caught.value.code


@pytest.mark.parametrize("format", ["PNG", "BMP", "WEBP"])
def test_a_lossless_picture_gives_its_own_pixels(format: str, make_picture: MakePicture) -> None:
    expected = np.asarray(Image.open(io.BytesIO(make_picture())))
    decoded = image.decode(make_picture(format, lossless=True) if format == "WEBP" else make_picture(format))
    assert decoded.dtype == np.uint8
    np.testing.assert_array_equal(decoded, expected)


def test_a_jpeg_is_decoded_near_its_original(make_picture: MakePicture) -> None:
    exact, lossy = image.decode(make_picture()), image.decode(make_picture("JPEG", quality=95))
    assert np.abs(exact.astype(int) - lossy).mean() < 3


@pytest.mark.parametrize("mode", ["L", "1", "P"])
def test_a_picture_of_few_colours_equals_its_rgb_twin(mode: str, make_picture: MakePicture) -> None:
    data = make_picture(mode=mode)
    twin = io.BytesIO()
    Image.open(io.BytesIO(data)).convert("RGB").save(twin, "PNG")
    np.testing.assert_array_equal(image.decode(data), image.decode(twin.getvalue()))


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_alpha_is_dropped_and_not_blended(mode: str) -> None:
    clear = Image.new(mode, (8, 8), (200, 100, 50, 0) if mode == "RGBA" else (200, 0))
    file = io.BytesIO()
    clear.save(file, "PNG")
    assert image.decode(file.getvalue())[0, 0].tolist() == ([200, 100, 50] if mode == "RGBA" else [200, 200, 200])


def test_sixteen_bit_grey_keeps_its_high_byte() -> None:
    samples = np.array([[0, 255, 256, 65535]], np.uint16)
    file = io.BytesIO()
    Image.fromarray(samples).save(file, "PNG")
    assert image.decode(file.getvalue())[0, :, 0].tolist() == [0, 0, 1, 255]


def test_a_cmyk_jpeg_comes_near_its_rgb_twin(make_picture: MakePicture) -> None:
    rgb, cmyk = image.decode(make_picture("JPEG")), image.decode(make_picture("JPEG", mode="CMYK"))
    assert np.abs(rgb.astype(int) - cmyk).mean() < 5


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_exif_orientation_is_applied_on_request_only(orientation: int, make_picture: MakePicture) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = make_picture(size=(64, 48), exif=exif)
    assert image.decode(data).shape == (48, 64, 3)
    turned = orientation >= 5
    assert image.decode(data, apply_exif=True).shape == ((64, 48, 3) if turned else (48, 64, 3))


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")  # Pillow's own, and as it should be
def test_damaged_exif_is_no_reason_to_refuse_a_picture(make_picture: MakePicture) -> None:
    data = make_picture("JPEG", exif=b"Exif\x00\x00MM\x00*\xff\xff\xff\xff")
    assert image.decode(data, apply_exif=True).shape == (48, 64, 3)


def test_no_bytes_are_refused() -> None:
    assert refusal(b"") == "image_empty"


@pytest.mark.parametrize("format", ["GIF", "TIFF", "ICO", "PPM", "TGA", "PDF"])
def test_other_formats_are_refused_before_their_parsers_run(format: str, make_picture: MakePicture) -> None:
    assert refusal(make_picture(format)) == "image_format"


@pytest.mark.parametrize("data", [b"hello", b"<svg/>", b"%!PS-Adobe-3.0 EPSF-3.0\n", b"PK\x03\x04", b"\xff\xd8"])
def test_what_is_no_picture_is_refused(data: bytes) -> None:
    assert refusal(data) in ("image_format", "image_unreadable", "image_truncated")


@pytest.mark.parametrize("format", ["JPEG", "PNG"])
@pytest.mark.parametrize("part", [0.25, 0.5, 0.9])
def test_a_truncated_picture_is_refused(format: str, part: float, make_picture: MakePicture) -> None:
    data = make_picture(format, size=(300, 200))
    assert refusal(data[: int(len(data) * part)]) in ("image_truncated", "image_unreadable")


def test_a_png_with_a_wrong_checksum_is_refused(make_picture: MakePicture) -> None:
    data = bytearray(make_picture())
    data[data.index(b"IDAT") + 10] ^= 0xFF
    assert refusal(bytes(data)) in ("image_truncated", "image_unreadable")


def png_header(width: int, height: int) -> bytes:
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))


def test_a_picture_with_too_many_pixels_is_refused_before_any_is_decoded() -> None:
    assert refusal(png_header(30_000, 30_000) + b"\x00\x00\x00\x00IDAT") == "image_too_large"


def test_the_pixel_limit_itself_is_allowed(make_picture: MakePicture) -> None:
    assert image.decode(make_picture("JPEG", mode="L", size=(5000, 5000))).shape == (5000, 5000, 3)
    assert refusal(make_picture("JPEG", mode="L", size=(5001, 5000))) == "image_too_large"


def test_a_line_of_pixels_is_a_picture(make_picture: MakePicture) -> None:
    assert image.decode(make_picture("JPEG", size=(65_500, 1))).shape == (1, 65_500, 3)


def test_the_byte_limit_holds_at_its_very_edge(make_picture: MakePicture) -> None:
    data = make_picture("JPEG")
    assert image.decode(data.ljust(image.MAX_BYTES, b"\0")).shape == (48, 64, 3)
    assert refusal(data.ljust(image.MAX_BYTES + 1, b"\0")) == "image_too_large"


def test_the_first_frame_of_an_animation_is_taken(make_picture: MakePicture) -> None:
    frames = [Image.open(io.BytesIO(make_picture(seed=seed))) for seed in range(3)]
    file = io.BytesIO()
    frames[0].save(file, "PNG", save_all=True, append_images=frames[1:])
    np.testing.assert_array_equal(image.decode(file.getvalue()), np.asarray(frames[0]))
