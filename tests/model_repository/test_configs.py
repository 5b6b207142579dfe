"""The committed configurations keep the names, types and shapes that clients depend on."""

from pathlib import Path

import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

REPOSITORY = Path(__file__).resolve().parents[2] / "model_repository"
MODELS = sorted(path.parent.name for path in REPOSITORY.glob("*/config.pbtxt"))
PYTHON_MODELS = sorted(path.parents[1].name for path in REPOSITORY.glob("*/1/model.py"))

IMAGE = ("TYPE_STRING", [1])
BOXES, LANDMARKS = ("TYPE_FP32", [-1, 5]), ("TYPE_FP32", [-1, 5, 2])

# name: max batch, inputs, outputs. -1 among the sizes of an embedding: it comes from the user's checkpoint.
CONTRACT = {
    "facenet_preprocess": (32, {"IMAGE": IMAGE}, {"FACE": ("TYPE_FP32", [160, 160, 3])}),
    "facenet": (32, {"input": ("TYPE_FP32", [160, 160, 3])}, {"embeddings": ("TYPE_FP32", [512])}),
    "facenet_embed": (32, {"IMAGE": IMAGE}, {"EMBEDDING": ("TYPE_FP32", [512])}),
    "face_distance": (
        0,
        {"EMBEDDING": ("TYPE_FP32", [2, 512])},
        {"DISTANCE": ("TYPE_FP32", [1]), "EMBEDDING": ("TYPE_FP32", [2, 512])},
    ),
    "facenet_compare": (
        0,
        {"IMAGE": ("TYPE_STRING", [2, 1])},
        {"DISTANCE": ("TYPE_FP32", [1]), "EMBEDDING": ("TYPE_FP32", [2, 512])},
    ),
    "face_detect": (0, {"IMAGE": IMAGE}, {"BOXES": BOXES, "LANDMARKS": LANDMARKS}),
    "face_crops": (
        0,
        {"IMAGE": IMAGE},
        {
            "BOXES": BOXES,
            "LANDMARKS": LANDMARKS,
            "FACE_COUNT": ("TYPE_INT32", [1]),
            "FACENET_FACES": ("TYPE_FP32", [-1, 160, 160, 3]),
            "ARCFACE_FACES": ("TYPE_FP32", [-1, 3, 112, 112]),
            "FACENET_CROPS": ("TYPE_STRING", [-1]),
            "ARCFACE_CROPS": ("TYPE_STRING", [-1]),
        },
    ),
    "facenet_photo": (
        0,
        {"IMAGE": IMAGE},
        {
            "BOXES": BOXES,
            "LANDMARKS": LANDMARKS,
            "FACE_COUNT": ("TYPE_INT32", [1]),
            "EMBEDDING": ("TYPE_FP32", [-1, 512]),
        },
    ),
    "arcface_preprocess": (
        32,
        {"IMAGE": IMAGE},
        {"FACE": ("TYPE_FP32", [3, 112, 112]), "FOUND": ("TYPE_BOOL", [1])},
    ),
    "arcface": (32, {"data": ("TYPE_FP32", [3, 112, 112])}, {"EMBEDDING": ("TYPE_FP32", [-1])}),
    "arcface_embed": (32, {"IMAGE": IMAGE}, {"EMBEDDING": ("TYPE_FP32", [-1]), "FOUND": ("TYPE_BOOL", [1])}),
    "arcface_photo": (
        0,
        {"IMAGE": IMAGE},
        {
            "BOXES": BOXES,
            "LANDMARKS": LANDMARKS,
            "FACE_COUNT": ("TYPE_INT32", [1]),
            "EMBEDDING": ("TYPE_FP32", [-1, -1]),
        },
    ),
}


def config(model: str) -> model_config_pb2.ModelConfig:
    text = (REPOSITORY / model / "config.pbtxt").read_text()
    return text_format.Parse(text, model_config_pb2.ModelConfig())


def tensors(listed: object) -> dict[str, tuple[str, list[int]]]:
    types = model_config_pb2.DataType
    return {tensor.name: (types.Name(tensor.data_type), list(tensor.dims)) for tensor in listed}  # type: ignore[attr-defined]


def test_the_contract_knows_every_model() -> None:
    assert set(CONTRACT) == set(MODELS)


@pytest.mark.parametrize("model", CONTRACT)
def test_a_model_takes_and_gives_what_the_contract_says(model: str) -> None:
    found = config(model)
    assert (found.max_batch_size, tensors(found.input), tensors(found.output)) == CONTRACT[model]


@pytest.mark.parametrize("model", MODELS)
def test_a_model_bears_the_name_of_its_folder_and_has_a_version(model: str) -> None:
    assert config(model).name == model
    assert (REPOSITORY / model / "1").is_dir()


@pytest.mark.parametrize("model", PYTHON_MODELS)
def test_no_model_has_a_queue_policy_with_which_triton_lets_requests_wait_for_nothing(model: str) -> None:
    assert config(model).HasField("dynamic_batching") == (config(model).max_batch_size > 0)
    assert not config(model).dynamic_batching.HasField("default_queue_policy")


@pytest.mark.parametrize("model", PYTHON_MODELS)
def test_networks_take_a_gpu_where_there_is_one_and_the_rest_stays_on_the_cpu(model: str) -> None:
    (group,) = config(model).instance_group
    expected = "KIND_AUTO" if model in ("facenet", "arcface") else "KIND_CPU"
    assert model_config_pb2.ModelInstanceGroup.Kind.Name(group.kind) == expected


@pytest.mark.parametrize("model", [model for model in MODELS if model not in PYTHON_MODELS])
def test_an_ensemble_joins_tensors_that_its_members_have(model: str) -> None:
    for step in config(model).ensemble_scheduling.step:
        member = config(step.model_name)
        assert set(step.input_map) == set(tensors(member.input))
        assert set(step.output_map) <= set(tensors(member.output))


@pytest.mark.parametrize("model", PYTHON_MODELS)
def test_a_model_file_is_at_most_a_page(model: str) -> None:
    assert len((REPOSITORY / model / "1" / "model.py").read_text().splitlines()) <= 60
