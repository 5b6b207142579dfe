import io
import struct
import zlib
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from preprocess import container, image
from preprocess.errors import InputError

MakePicture = Callable[..., bytes]


def segment(kind: int, body: bytes) -> bytes:
    return b"\xff" + bytes([kind]) + struct.pack(">H", len(body) + 2) + body


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def exif(orientation: int, order: str = ">", kind: int = 3) -> bytes:
    head = {">": b"MM\0*", "<": b"II*\0"}[order] + struct.pack(f"{order}IH", 8, 2)
    width = struct.pack(f"{order}HHII", 0x0100, 4, 1, 6)
    return head + width + struct.pack(f"{order}HHIHH", 0x0112, kind, 1, orientation, 0) + bytes(4)


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_orientation_is_read_in_both_byte_orders(orientation: int, order: str) -> None:
    assert container.orientation(exif(orientation, order)) == orientation
    assert container.orientation(b"Exif\0\0" + exif(orientation, order)) == orientation


@pytest.mark.parametrize(
    "data", [b"", b"MM\0*", exif(6)[:20], exif(0), exif(9), exif(6, kind=4), b"MM\0*\xff\xff\xff\xff", b"not EXIF"]
)
def test_exif_that_says_nothing_leaves_the_picture_as_it_is(data: bytes) -> None:
    assert container.orientation(data) == 1


def test_exif_that_claims_the_whole_file_a_thousand_times_is_not_read() -> None:
    many = b"MM\0*\0\0\0\x08" + struct.pack(">H", 65535) + struct.pack(">HHII", 1, 7, 60_000, 8) * 5000
    assert container.orientation(many) == 1


def test_what_is_beside_the_pixels_of_a_jpeg_is_left_out(make_picture: MakePicture) -> None:
    plain = make_picture("JPEG")
    beside = segment(0xE1, b"Exif\0\0" + exif(6)) + segment(0xE2, b"ICC_PROFILE\0") + segment(0xFE, b"a comment")
    found = container.unwrap(plain[:2] + beside + plain[2:] + b"<html>")
    assert (found.pixels, container.orientation(found.exif)) == (plain, 6)


def test_what_is_beside_the_pixels_of_a_png_is_left_out(make_picture: MakePicture) -> None:
    plain = make_picture("PNG")
    beside = chunk(b"eXIf", exif(3)) + chunk(b"zTXt", b"a\0\0" + zlib.compress(b"a" * 1000)) + chunk(b"iCCP", b"b")
    found = container.unwrap(plain[:33] + beside + plain[33:] + b"PK\x03\x04")
    assert (found.pixels, container.orientation(found.exif)) == (plain, 3)


@pytest.mark.parametrize("save", [{}, {"progressive": True}, {"restart_marker_rows": 1}, {"subsampling": 0}])
def test_a_jpeg_of_any_kind_is_taken_whole(save: dict[str, object], make_picture: MakePicture) -> None:
    data = make_picture("JPEG", **save)
    assert container.unwrap(data).pixels == data


@pytest.mark.parametrize("count", [container.MAX_SCANS, container.MAX_SCANS + 1])
def test_a_jpeg_may_have_so_many_scans_and_no_more(count: int, make_picture: MakePicture) -> None:
    data = make_picture("JPEG")
    start = data.index(b"\xff\xda")
    many = data[:start] + data[start:-2] * count + data[-2:]
    if count > container.MAX_SCANS:
        with pytest.raises(InputError, match="image_unreadable"):
            container.unwrap(many)
    else:
        assert container.unwrap(many).pixels == many


@pytest.mark.parametrize("over", [0, 1])
def test_a_picture_may_have_so_many_parts_and_no_more(over: int, make_picture: MakePicture) -> None:
    jpeg, png = make_picture("JPEG"), make_picture("PNG")
    of_jpeg = len([kind for kind in (0xE0, 0xDB, 0xDB, 0xC0, 0xC4, 0xC4, 0xC4, 0xC4, 0xDA, 0xD9)])
    for data, part, own, at in ((jpeg, segment(0xFE, b""), of_jpeg, 2), (png, chunk(b"teSt", b""), 3, 33)):
        many = data[:at] + part * (container.MAX_PARTS - own + over) + data[at:]
        if over:
            with pytest.raises(InputError, match="image_unreadable"):
                container.unwrap(many)
        else:
            assert container.unwrap(many).pixels == data


@pytest.mark.parametrize("ending", [b"\xff\x3a", b"\xff\xd8", b"\xff\x01", b"\xff\xf5"])
def test_a_scan_that_ends_in_no_known_marker_is_refused(ending: bytes, make_picture: MakePicture) -> None:
    data = make_picture("JPEG", size=(300, 200))
    with pytest.raises(InputError, match="image_unreadable"):
        container.unwrap(data[:-200] + ending + data[-198:])


@pytest.mark.parametrize("stray", [b"\0", b"abc", b"\xff\0" * 3, b"\xff" * 2**20 + b"\0"])
@pytest.mark.parametrize("before", [b"\xff\xdb", b"\xff\xda"])
def test_stray_bytes_before_a_segment_are_skipped_as_decoders_do(
    stray: bytes, before: bytes, make_picture: MakePicture
) -> None:
    data = make_picture("JPEG")
    start = data.index(before)
    spoilt = data[:start] + stray + data[start:]
    assert container.unwrap(spoilt).pixels == data
    assert np.array_equal(image.decode(spoilt), np.asarray(Image.open(io.BytesIO(spoilt))))


@pytest.mark.parametrize("after", [b"\x00", b"\xd0"])
def test_a_megabyte_of_fill_bytes_in_a_scan_is_read_once(after: bytes, make_picture: MakePicture) -> None:
    data = make_picture("JPEG")
    long = data[:-2] + b"\xff" * 2**20 + after + data[-2:]
    assert container.unwrap(long).pixels == long


def test_a_jpeg_that_ends_before_its_pixels_begin_is_refused(make_picture: MakePicture) -> None:
    data = make_picture("JPEG")
    with pytest.raises(InputError, match="image_unreadable"):
        container.unwrap(data[:2] + b"\xff\xd9" + data[2:])


def test_compressed_bmp_is_refused_because_its_decoder_takes_seconds() -> None:
    header = struct.pack("<IiiHHIIiiII", 40, 8, 8, 1, 8, 1, 2, 0, 0, 256, 0)
    file = struct.pack("<2sIHHI", b"BM", 14 + 40 + 1024 + 2, 0, 0, 14 + 40 + 1024) + header + bytes(1024) + b"\0\1"
    with pytest.raises(InputError, match="image_format"):
        image.decode(file)


def test_pictures_of_one_request_share_a_limit(make_picture: MakePicture) -> None:
    large = make_picture("JPEG", mode="L", size=(5000, 5000))
    image.check_together([large] * 2)
    with pytest.raises(InputError, match="image_too_large"):
        image.check_together([large] * 2 + [make_picture()])


def test_pixels_are_what_pillow_alone_makes_of_the_file(make_picture: MakePicture) -> None:
    for data in (make_picture("JPEG", icc_profile=b"odd", comment="c"), make_picture("PNG", mode="P", dpi=(300, 300))):
        alone = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
        np.testing.assert_array_equal(image.decode(data), alone)
