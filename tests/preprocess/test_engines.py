import os
from pathlib import Path

import numpy as np
import pytest

from preprocess import engines


def test_an_unknown_engine_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"'caffe'.*onnxruntime"):
        engines.load_embedder("caffe", tmp_path, 1)


@pytest.mark.parametrize("engine", ["onnxruntime", "tensorflow", "mxnet"])
def test_weights_that_are_not_prepared_are_named_with_the_remedy(engine: str, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="scripts/prepare-models"):
        engines.load_embedder(engine, tmp_path, 1)


@pytest.mark.parametrize(
    ("engine", "precision", "gpu", "reason"),
    [
        ("onnxruntime", "int4", None, "'int4'.*float16"),
        ("tensorflow", "float16", None, "tensorflow computes in float32"),
        ("mxnet", "int8", None, "mxnet computes in float32"),
        ("onnxruntime", "int8", 2, "int8 is for CPUs, not for GPU 2"),
    ],
)
def test_a_precision_that_makes_no_sense_is_refused(
    engine: str, precision: str, gpu: int | None, reason: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=reason):
        engines.load_embedder(engine, tmp_path, 1, gpu, precision)


def test_a_precision_that_is_not_prepared_is_not_replaced_by_another(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").touch()
    with pytest.raises(FileNotFoundError, match=r"model\.int8\.onnx is missing; run scripts/prepare-models"):
        engines.load_embedder("onnxruntime", tmp_path, 1, precision="int8")


@pytest.mark.parametrize(("engine", "model"), [("onnxruntime", "facenet"), ("mxnet", "arcface")])
def test_the_cpu_does_not_step_in_for_a_gpu(engine: str, model: str, repository: Path) -> None:
    with pytest.raises(ValueError, match="GPU 2"):
        engines.load_embedder(engine, repository / model / "1", 1, gpu=2)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_tensorflow_without_a_gpu_does_not_step_in_for_one(repository: Path) -> None:
    with pytest.raises(ValueError, match="TensorFlow cannot use GPU 2"):
        engines.load_embedder("tensorflow", repository / "facenet" / "1", 1, gpu=2)


@pytest.mark.parametrize(
    ("faces", "threads", "sizes"),
    [
        (1, 2, []),
        (2, 2, [1, 1]),
        (3, 2, [1, 1]),
        (6, 2, [2, 2, 1, 1]),
        (7, 2, [2, 2, 1, 1]),
        (8, 2, [2, 2, 2, 2]),
        (5, 1, [2, 2, 1]),
        (7, 4, [1, 1, 1, 1]),
    ],
)
def test_portions_give_each_thread_as_many_faces(faces: int, threads: int, sizes: list[int]) -> None:
    assert engines.portion_sizes(faces, threads) == sizes


@pytest.mark.parametrize("faces", [1, 2, 3, 6, 7])
def test_a_face_is_embedded_alike_in_any_batch(faces: int, repository: Path) -> None:
    run = engines.load_embedder("onnxruntime", repository / "arcface" / "1", 2)
    batch = np.random.default_rng(0).uniform(0, 255, (faces, 3, 112, 112)).astype(np.float32)
    alone = np.concatenate([run(batch[number : number + 1]) for number in range(faces)])
    np.testing.assert_allclose(run(batch), alone, atol=1e-5)


def test_rows_become_unit_length_and_zeros_stay_finite() -> None:
    rows = engines.unit(np.array([[3, 4], [0, 0]], np.float32))
    np.testing.assert_allclose(rows, [[0.6, 0.8], [0, 0]])


def test_the_cores_can_be_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FACE_CORES", "7")
    assert engines.cores() == 7
    monkeypatch.delenv("FACE_CORES")
    assert engines.cores() >= 1


@pytest.mark.parametrize(
    ("limit", "cores"),
    [
        ("200000 100000\n", 2),
        ("250000 100000\n", 3),
        ("1000 100000\n", 1),
        ("12800000 100000\n", 32),
        ("max 100000\n", 32),
        ("200000 0\n", 32),
        ("odd\n", 32),
        (None, 32),
    ],
)
def test_a_container_has_the_cores_that_its_limit_gives_it_the_time_of(
    limit: str | None, cores: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    if limit:
        (tmp_path / "cpu.max").write_text(limit)
    monkeypatch.setattr(engines, "CPU_LIMIT", tmp_path / "cpu.max")
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(32)))
    monkeypatch.delenv("FACE_CORES", raising=False)
    assert engines.cores() == cores
    monkeypatch.setenv("FACE_CORES", "7")
    assert engines.cores() == 7


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")  # of MXNet 1.9.1 and TensorFlow
@pytest.mark.parametrize(
    ("model", "native", "shape"),
    [("facenet", "tensorflow", (160, 160, 3)), ("arcface", "mxnet", (3, 112, 112))],
)
def test_the_engines_give_the_same_unit_vectors_for_any_batch(
    model: str, native: str, shape: tuple[int, ...], repository: Path
) -> None:
    directory = repository / model / "1"
    batch = np.random.default_rng(5).normal(size=(3, *shape)).astype(np.float32)
    if model == "arcface":
        batch = np.clip(batch * 60 + 127, 0, 255)
    reference = engines.unit(engines.load_embedder(native, directory, 2)(batch))
    converted = engines.load_embedder("onnxruntime", directory, 2)
    assert np.abs(engines.unit(converted(batch)) - reference).max() < 1e-5
    assert np.abs(engines.unit(converted(batch[1:2])) - reference[1:2]).max() < 1e-5
