import gc
import threading
from pathlib import Path

import numpy as np
import pytest

from preprocess.compiled import Library

TEXT = """
define i32 @double(ptr %result, ptr %error, ptr, ptr, i64 %n, i64, ptr %data, i64, i64, i64 %by) {
entry:
  br label %loop
loop:
  %at = phi i64 [0, %entry], [%next, %body]
  %left = icmp slt i64 %at, %n
  br i1 %left, label %body, label %end
body:
  %place = getelementptr i64, ptr %data, i64 %at
  %value = load i64, ptr %place
  %times = mul i64 %value, %by
  store i64 %times, ptr %place
  %next = add i64 %at, 1
  br label %loop
end:
  store ptr null, ptr %result
  ret i32 0
}
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "loops.ll"
    path.write_text(TEXT)
    return path


def test_a_function_changes_the_arrays_it_is_given(file: Path) -> None:
    values = np.arange(5)
    Library(file).function("double")(values, 3)
    assert values.tolist() == [0, 3, 6, 9, 12]


def test_a_function_outlives_whoever_loaded_it(file: Path) -> None:
    double = Library(file).function("double")
    gc.collect()
    values = np.ones(3, np.int64)
    double(values, 7)
    assert values.tolist() == [7, 7, 7]


def test_threads_may_call_it_at_the_same_time(file: Path) -> None:
    double = Library(file).function("double")
    parts = [np.full(100_000, number) for number in range(4)]
    threads = [threading.Thread(target=double, args=(part, 2)) for part in parts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [set(part.tolist()) for part in parts] == [{0}, {2}, {4}, {6}]


def test_a_file_that_was_not_prepared_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"area\.ll is missing; run scripts/prepare-models"):
        Library(tmp_path / "area.ll")


def test_a_loop_that_fails_is_told(file: Path) -> None:
    file.write_text(TEXT.replace("store ptr null, ptr %result\n  ret i32 0", "store ptr null, ptr %error\n  ret i32 1"))
    with pytest.raises(RuntimeError, match="a compiled loop failed"):
        Library(file).function("double")(np.ones(3, np.int64), 2)
