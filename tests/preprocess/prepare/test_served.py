"""One's own checkpoints, prepared by the command and served by Triton with each engine."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tritonclient.grpc as triton

from client.embedded import EmbeddedTriton, Ports
from preprocess.prepare import __main__ as command
from preprocess.prepare import manifest, native
from tests.conftest import free_ports
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
    with serving(tmp_path) as address, triton.InferenceServerClient(address) as client:
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


@contextlib.contextmanager
def serving(repository: Path) -> Iterator[str]:
    """A tritonserver alone on the repository; gives its gRPC address."""
    http, grpc, metrics = free_ports(3)
    server = EmbeddedTriton(repository, Ports(http=http, grpc=grpc, metrics=metrics))
    server.start()
    try:
        server.wait_ready(300)
        yield f"127.0.0.1:{grpc}"
    finally:
        server.stop()


def ask(client: triton.InferenceServerClient, model: str, name: str, data: np.ndarray, output: str) -> np.ndarray:
    tensor = triton.InferInput(name, data.shape, "FP32").set_data_from_numpy(data)
    return client.infer(model, [tensor]).as_numpy(output)
