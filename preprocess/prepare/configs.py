"""Makes each model's `configs/prepared.pbtxt`: its config.pbtxt with what is known once weights are there.

tritonserver started with `--model-config-name=prepared` reads these. They add, as model parameters, which engine
runs the network and the identity of its embeddings, and put the real sizes in place of the written ones.
"""

from pathlib import Path
from typing import Any

from preprocess.prepare.errors import PreparationError
from preprocess.prepare.manifest import Entry

FACENET_MODELS = ("facenet", "facenet_embed", "facenet_compare", "facenet_photo")
ARCFACE_MODELS = ("arcface", "arcface_embed", "arcface_photo")
DETECTING_MODELS = (
    "face_detect",
    "face_crops",
    "arcface_preprocess",
    "arcface_embed",
    "arcface_photo",
    "facenet_photo",
)

_FACENET_PICTURES = {("facenet_preprocess", "FACE"), ("facenet", "input"), ("face_crops", "FACENET_FACES")}
_FACENET_EMBEDDINGS = {("facenet", "embeddings"), ("face_distance", "EMBEDDING")} | {
    (model, "EMBEDDING") for model in FACENET_MODELS
}
_ARCFACE_EMBEDDINGS = {(model, "EMBEDDING") for model in ARCFACE_MODELS}


def rendered(repository: Path, entries: dict[str, Entry]) -> dict[str, str]:
    """Gives `configs/prepared.pbtxt` of every model in the repository, by path in it.

    Raises PreparationError for a config.pbtxt that cannot be read.
    """
    from google.protobuf import text_format
    from tritonclient.grpc import model_config_pb2

    texts = {}
    for path in sorted(repository.glob("*/config.pbtxt")):
        try:
            config = text_format.Parse(path.read_text(), model_config_pb2.ModelConfig())
        except text_format.ParseError as error:
            raise PreparationError(f"{path}: {error}") from None
        for key, value in parameters(path.parent.name, entries).items():
            config.parameters[key].string_value = value
        _set_sizes(path.parent.name, config, entries)
        texts[f"{path.parent.name}/configs/prepared.pbtxt"] = text_format.MessageToString(config)
    return texts


def parameters(model: str, entries: dict[str, Entry]) -> dict[str, str]:
    """Gives the parameters that a model's prepared configuration adds to the written one."""
    added = {}
    for network, models in (("facenet", FACENET_MODELS), ("arcface", ARCFACE_MODELS)):
        entry = entries.get(network)
        if entry and model in models:
            added["EMBEDDING_ID"] = entry.embedding_id(network)
            added["WEIGHTS_SHA256"] = entry.weights_sha256
            added["WEIGHTS_SOURCE"] = entry.source
            added["PREPROCESSING"] = entry.preprocessing
            added["PRECISION"] = entry.precision
        if entry and model == network:
            added["ENGINE"] = entry.engine
    if (entry := entries.get("facenet")) and model in ("facenet_preprocess", "face_crops"):
        added["NORMALISATION"] = entry.preprocessing
        added["INPUT_SIZE"] = str(entry.input_size)
    if (entry := entries.get("mtcnn")) and model in DETECTING_MODELS:
        added["MTCNN_SHA256"] = entry.weights_sha256
        added["MTCNN_SOURCE"] = entry.source
    return added


def _set_sizes(model: str, config: Any, entries: dict[str, Entry]) -> None:
    for tensor in (*config.input, *config.output):
        if (entry := entries.get("facenet")) and (model, tensor.name) in _FACENET_EMBEDDINGS:
            tensor.dims[-1] = entry.embedding_size
        if (entry := entries.get("arcface")) and (model, tensor.name) in _ARCFACE_EMBEDDINGS:
            tensor.dims[-1] = entry.embedding_size
        if (entry := entries.get("facenet")) and (model, tensor.name) in _FACENET_PICTURES:
            tensor.dims[-3:-1] = [entry.input_size, entry.input_size]
