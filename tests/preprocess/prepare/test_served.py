"""One's own checkpoints, whose embeddings are shorter, prepared by the command and served with each engine."""

import io
import json
import urllib.request
from pathlib import Path

import numpy as np
import pytest
import tritonclient.grpc as triton
from PIL import Image

from preprocess.prepare import __main__ as command
from preprocess.prepare import manifest, native
from tests.client.live import body_of
from tests.conftest import serving
from tests.preprocess.prepare import made
from tests.preprocess.prepare.conftest import Native


@pytest.mark.parametrize(
    ("facenet", "facenet_engine", "arcface", "arcface_engine"),
    [("metagraph", "tensorflow", "resnet-se", "mxnet"), ("keras", "onnxruntime", "scaled-outside", "onnxruntime")],
)
def test_ones_own_checkpoints_are_served(
    facenet: str,
    facenet_engine: str,
    arcface: str,
    arcface_engine: str,
    repository: Path,
    facenets: Native,
    arcfaces: Native,
    tmp_path: Path,
) -> None:
    target = f"--repository={tmp_path}"
    (own_facenet, facenet_native), (own_arcface, arcface_native) = facenets[facenet], arcfaces[arcface]
    assert command.main(["facenet", f"--from={own_facenet}", f"--facenet-engine={facenet_engine}", target]) == 0
    argv = ["arcface", f"--from={own_arcface}", "--epoch=3", f"--arcface-engine={arcface_engine}", target]
    assert command.main(argv) == 0
    with serving(tmp_path) as server, triton.InferenceServerClient(server.grpc) as client:
        embeddings = ask(client, "facenet", "input", made.faces(), "embeddings")
        assert np.abs(embeddings - facenet_native).max() <= 1e-5
        rows = ask(client, "arcface", "data", made.aligned(), "EMBEDDING")
        assert native.largest_difference(rows, arcface_native) <= 1e-5
        np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)
        for model, network, engine in (("facenet", "facenet", facenet_engine), ("arcface", "arcface", arcface_engine)):
            entry = manifest.read(tmp_path)[network]
            config = client.get_model_config(model).config
            told = {key: value.string_value for key, value in config.parameters.items()}
            assert told["ENGINE"] == engine
            assert told["WEIGHTS_SHA256"] == entry.weights_sha256
            assert list(config.output[0].dims) == [entry.embedding_size]
        pictures = [png(face) for face in made.faces()[:2]]
        first, second = np.array(json.loads(post(f"{server.url}/service/FaceEmbedModel", *pictures)), np.float64)
        distance = float(post(f"{server.url}/service/FaceCompareModel", *pictures))
        assert first.shape == embeddings[0].shape
        assert distance == pytest.approx(np.linalg.norm(first - second), abs=1e-6)


def test_a_lower_precision_is_served_as_another_embedding(repository: Path, facenets: Native, tmp_path: Path) -> None:
    own, reference = facenets["channels-first"]
    target = f"--repository={tmp_path}"
    assert command.main(["facenet", f"--from={own}", "--precision=float16", target]) == 0
    with serving(tmp_path) as server, triton.InferenceServerClient(server.grpc) as client:
        embeddings = ask(client, "facenet", "input", made.faces(), "embeddings")
        assert 1e-5 < np.abs(embeddings - reference).max() < 1e-2
        entry = manifest.read(tmp_path)["facenet"]
        for model in ("facenet", "facenet_embed", "facenet_photo"):
            told = client.get_model_config(model).config.parameters
            assert told["PRECISION"].string_value == "float16"
            assert told["EMBEDDING_ID"].string_value == entry.embedding_id("facenet")


def png(face: np.ndarray) -> bytes:
    """A picture float32[height, width, 3] of any range as a file."""
    scaled = (face - face.min()) / np.ptp(face) * 255
    file = io.BytesIO()
    Image.fromarray(scaled.astype(np.uint8)).save(file, "PNG")
    return file.getvalue()


def post(url: str, *pictures: bytes) -> bytes:
    with urllib.request.urlopen(url, body_of(*pictures), timeout=60) as answer:
        return answer.read()


def ask(client: triton.InferenceServerClient, model: str, name: str, data: np.ndarray, output: str) -> np.ndarray:
    tensor = triton.InferInput(name, data.shape, "FP32").set_data_from_numpy(data)
    return client.infer(model, [tensor]).as_numpy(output)
