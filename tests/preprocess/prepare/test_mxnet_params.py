"""The reader and writer of .params files."""

import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from preprocess.prepare import mxnet_params
from preprocess.prepare.child import in_child
from preprocess.prepare.errors import PreparationError
from tests.preprocess.prepare import made

ARRAYS = {
    "arg:conv0_weight": np.arange(24, dtype=np.float32).reshape(2, 3, 2, 2),
    "aux:bn0_moving_mean": np.array([0.5, -2], np.float32),
}
GOOD = mxnet_params.write(ARRAYS)
FIRST_ARRAY = 24  # after the list's magic, reserved word and count


def test_what_was_written_is_read_back() -> None:
    read = mxnet_params.read(GOOD)
    assert list(read) == list(ARRAYS)
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(read[name], array)


def test_a_file_that_mxnet_wrote_is_read_and_ours_is_read_by_mxnet(tmp_path: Path) -> None:
    ours = tmp_path / "ours.params"
    ours.write_bytes(GOOD)
    theirs = tmp_path / "theirs.params"
    in_child(made.saved_again_by_mxnet, ours, theirs)
    for name, array in mxnet_params.read(theirs.read_bytes()).items():
        np.testing.assert_array_equal(array, ARRAYS[name])


@pytest.mark.parametrize(
    ("magic", "dimensions"), [(struct.pack("<II", 0xF993FAC8, 2), "<qq"), (struct.pack("<I", 2), "<II")]
)
def test_the_older_forms_of_an_array_are_read(magic: bytes, dimensions: str) -> None:
    numbers = np.array([[1, 2, 3]], np.float32)
    array = magic + struct.pack(dimensions, 1, 3) + struct.pack("<iii", 1, 0, 0) + numbers.tobytes()
    file = struct.pack("<QQQ", 0x112, 0, 1) + array + struct.pack("<QQ", 1, 5) + b"arg:a"
    np.testing.assert_array_equal(mxnet_params.read(file)["arg:a"], numbers)


@pytest.mark.parametrize(("flag", "dtype"), [(1, "<f8"), (2, "<f2")])
def test_other_floats_become_float32(flag: int, dtype: str) -> None:
    numbers = np.array([0.5, -3], dtype)
    array = struct.pack("<IiIqiii", 0xF993FAC9, 0, 1, 2, 1, 0, flag) + numbers.tobytes()
    file = struct.pack("<QQQ", 0x112, 0, 1) + array + struct.pack("<QQ", 1, 5) + b"arg:a"
    read = mxnet_params.read(file)["arg:a"]
    assert read.dtype == np.float32
    np.testing.assert_array_equal(read, [0.5, -3])


@pytest.mark.parametrize("length", range(0, len(GOOD), 7))
def test_a_truncated_file_is_refused(length: int) -> None:
    with pytest.raises(PreparationError):
        mxnet_params.read(GOOD[:length])


@pytest.mark.parametrize(
    ("offset", "lie", "reason"),
    [
        pytest.param(0, struct.pack("<Q", 0x113), "no MXNet .params file", id="magic"),
        pytest.param(16, struct.pack("<Q", 2**63), "claims", id="count"),
        pytest.param(FIRST_ARRAY + 4, struct.pack("<i", 1), "storage type 1", id="sparse"),
        pytest.param(FIRST_ARRAY + 8, struct.pack("<I", 2**31), "dimensions", id="ndim"),
        pytest.param(FIRST_ARRAY + 12, struct.pack("<q", 2**60), "truncated", id="size"),
        pytest.param(FIRST_ARRAY + 12, struct.pack("<q", -2), "at least 1", id="negative"),
        pytest.param(FIRST_ARRAY + 52, struct.pack("<i", 6), "type flag 6", id="type"),
        pytest.param(FIRST_ARRAY + 56, struct.pack("<f", np.nan), "not finite", id="nan"),
        pytest.param(-8, b"\xff\xfe", "not UTF-8", id="name"),
    ],
)
def test_a_file_that_lies_is_refused_with_its_reason(offset: int, lie: bytes, reason: str) -> None:
    data = bytearray(GOOD)
    data[offset : len(data) + offset + len(lie) if offset < 0 else offset + len(lie)] = lie
    with pytest.raises(PreparationError, match=reason):
        mxnet_params.read(bytes(data))


def test_bytes_behind_the_end_are_refused() -> None:
    with pytest.raises(PreparationError, match="follow the end"):
        mxnet_params.read(GOOD + b"\0")


def test_a_name_given_twice_is_refused() -> None:
    with pytest.raises(PreparationError, match="same name"):
        mxnet_params.read(
            GOOD.replace(b"aux:bn0_moving_mean", b"arg:conv0_weight\0\0\0")
            .replace(struct.pack("<Q", 19), struct.pack("<Q", 16))
            .removesuffix(b"\0\0\0")
        )


@given(st.data())
def test_no_damage_gives_anything_but_arrays_or_a_reason(data: st.DataObject) -> None:
    file = bytearray(GOOD)
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(file) - 1))
        file[place : place + data.draw(st.integers(0, 8))] = data.draw(st.binary(max_size=8))
        if not file:
            break
    try:
        read = mxnet_params.read(bytes(file))
    except PreparationError as error:
        assert "\n" not in str(error)
    else:
        assert all(array.dtype == np.float32 and np.isfinite(array).all() for array in read.values())


@given(st.binary(max_size=200))
def test_no_bytes_are_a_surprise(data: bytes) -> None:
    with pytest.raises(PreparationError):
        mxnet_params.read(data)
