import asyncio
import time

import grpc
import numpy as np
import pytest

from client.contract import MODELS
from client.errors import (
    BadPicture,
    BadRequest,
    BadUpstream,
    Busy,
    DeadlineExceeded,
    Internal,
    ServiceError,
    TooLarge,
)
from client.triton import STATUS, Triton, images
from tests.fakes.triton import embedding_of, fails, sleeps


def infer(fake, model="facenet_embed", pictures=(b"a",), outputs=("EMBEDDING",), seconds=5.0, parameters=None):
    async def main():
        triton = Triton(fake.url)
        await triton.start()
        try:
            deadline = time.monotonic() + seconds
            return await triton.infer(model, {"IMAGE": images(*pictures)}, outputs, deadline, parameters)
        finally:
            await triton.close()

    return asyncio.run(main())


def failure(fake, **arguments):
    with pytest.raises(ServiceError) as error:
        infer(fake, **arguments)
    return error.value


def test_a_batch_comes_back_in_its_order(fake):
    pictures = [b"a", b"b\x00c", b"\xff" * 1000]
    assert np.array_equal(
        infer(fake, pictures=pictures)["EMBEDDING"], np.stack([embedding_of(picture) for picture in pictures])
    )


def test_triton_is_asked_for_no_more_than_is_wanted(fake):
    infer(fake, "facenet_compare", (b"a", b"b"), ("DISTANCE",))
    assert fake.calls[-1].outputs == ["DISTANCE"]
    assert fake.calls[-1].inputs["IMAGE"].tolist() == [[b"a"], [b"b"]]


def test_what_is_left_of_the_time_goes_down_as_deadline_and_queue_timeout(fake):
    infer(fake, seconds=3.0)
    call = fake.calls[-1]
    assert 2.0 < call.seconds <= 3.1  # gRPC rounds up
    assert 2_000_000 < call.parameters["timeout"] <= 3_000_000


def test_parameters_go_down(fake):
    infer(fake, parameters={"apply_exif": False, "crop": "case_study"})
    assert fake.calls[-1].parameters["apply_exif"] is False
    assert fake.calls[-1].parameters["crop"] == "case_study"


def test_no_time_left_asks_nothing(fake):
    assert isinstance(failure(fake, seconds=-1.0), DeadlineExceeded)
    assert not fake.calls


def test_a_slow_answer_is_not_waited_for(fake):
    fake.script("facenet_embed", sleeps(5))
    start = time.monotonic()
    assert isinstance(failure(fake, seconds=0.3), DeadlineExceeded)
    assert time.monotonic() - start < 2.0


def test_a_cancelled_call_is_cancelled_in_triton(fake):
    fake.script("facenet_embed", sleeps(5))

    async def main():
        triton = Triton(fake.url)
        await triton.start()
        work = asyncio.ensure_future(
            triton.infer("facenet_embed", {"IMAGE": images(b"a")}, ("EMBEDDING",), time.monotonic() + 5)
        )
        while not fake.calls:
            await asyncio.sleep(0.01)
        work.cancel()
        until = time.monotonic() + 1.0
        while not fake.calls[0].cancelled and time.monotonic() < until:
            await asyncio.sleep(0.01)
        await triton.close()

    asyncio.run(main())
    assert fake.calls[0].cancelled


def test_every_grpc_status_is_mapped():
    assert set(STATUS) == set(grpc.StatusCode)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (grpc.StatusCode.INVALID_ARGUMENT, Internal),
        (grpc.StatusCode.UNAVAILABLE, Busy),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, Busy),
        (grpc.StatusCode.DEADLINE_EXCEEDED, DeadlineExceeded),
        (grpc.StatusCode.INTERNAL, BadUpstream),
        (grpc.StatusCode.UNKNOWN, BadUpstream),
        (grpc.StatusCode.DATA_LOSS, BadUpstream),
        (grpc.StatusCode.NOT_FOUND, Internal),
        (grpc.StatusCode.UNIMPLEMENTED, Internal),
    ],
    ids=lambda value: value.name if isinstance(value, grpc.StatusCode) else "",
)
def test_a_status_becomes_ours_and_its_text_stays_inside(fake, status, kind):
    fake.script("facenet_embed", fails(status, "secret /models/facenet/1/model.py line 3"))
    error = failure(fake)
    assert type(error) is kind
    assert "secret" not in str(error)


@pytest.mark.parametrize(
    ("text", "kind", "code"),
    [
        ("image_unreadable: no picture", BadPicture, "image_unreadable"),
        ("in ensemble 'facenet_embed', image_truncated: cut short", BadPicture, "image_truncated"),
        ("in ensemble 'a', in ensemble 'b', image_format: no", BadPicture, "image_format"),
        ("image_too_large: 26000000 pixels", TooLarge, "image_too_large"),
        ("parameter_invalid: threshold_pnet", BadRequest, "parameter_invalid"),
        ("unexpected shape for input 'IMAGE'", Internal, "request_refused"),
        ("something image_unreadable: no", Internal, "request_refused"),
    ],
)
def test_a_code_of_ours_in_an_invalid_argument_is_the_callers_picture(fake, text, kind, code):
    fake.script("facenet_embed", fails(grpc.StatusCode.INVALID_ARGUMENT, text))
    error = failure(fake)
    assert (type(error), error.code) == (kind, code)


def test_waiting_too_long_in_tritons_queue_is_the_deadline_and_a_full_queue_is_busy(fake):
    texts = {"Request timeout expired": DeadlineExceeded, "Exceeds maximum queue size": Busy}
    for text, kind in texts.items():
        fake.script("facenet_embed", fails(grpc.StatusCode.UNAVAILABLE, f"in ensemble 'facenet_embed', {text}"))
        assert type(failure(fake)) is kind


def test_too_late_by_the_models_clock_is_the_deadline_too(fake):
    fake.script("facenet_embed", fails(grpc.StatusCode.CANCELLED, "in ensemble 'facenet_embed', late: it was over"))
    assert type(failure(fake)) is DeadlineExceeded


def test_a_code_of_ours_with_another_status_is_not_the_callers(fake):
    fake.script("facenet_embed", fails(grpc.StatusCode.INTERNAL, "image_unreadable: no picture"))
    assert isinstance(failure(fake), BadUpstream)


GOOD = embedding_of(b"a")[None]


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param({}, id="missing"),
        pytest.param({"EMBEDDING": GOOD.astype(np.float64)}, id="dtype"),
        pytest.param({"EMBEDDING": GOOD[:, :511]}, id="too-short"),
        pytest.param({"EMBEDDING": GOOD[0]}, id="rank"),
        pytest.param({"EMBEDDING": np.repeat(GOOD, 2, 0)}, id="too-many-rows"),
        pytest.param({"EMBEDDING": GOOD[:0]}, id="no-row"),
        pytest.param({"EMBEDDING": np.full((1, 512), np.nan, np.float32)}, id="nan"),
        pytest.param({"EMBEDDING": np.full((1, 512), np.inf, np.float32)}, id="infinity"),
    ],
)
def test_an_answer_that_breaks_the_contract_is_not_passed_on(fake, answer):
    fake.script("facenet_embed", lambda call: answer)
    assert isinstance(failure(fake), BadUpstream)


def test_the_answer_to_another_request_is_not_passed_on(fake):
    def swap(call):
        call.id = "1234567"
        return {"EMBEDDING": embedding_of(b"of another")[None]}

    fake.script("facenet_embed", swap)
    error = failure(fake)
    assert (type(error), error.code) == (BadUpstream, "triton_garbled")


def test_texts_that_end_early_are_not_passed_on(fake, monkeypatch):
    monkeypatch.setattr("tests.fakes.triton.serialize_byte_tensor", lambda array: np.array(b"\xff\0\0\0PNG", object))
    fake.script("face_crops", lambda call: {"FACENET_CROPS": np.array([b"crop"], np.object_)})
    error = failure(fake, model="face_crops", outputs=("FACENET_CROPS",))
    assert (type(error), error.code) == (BadUpstream, "triton_garbled")


def test_bytes_that_do_not_fill_their_shape_are_not_passed_on(fake):
    class Short(np.ndarray):
        def tobytes(self):
            return super().tobytes()[:-4]

    fake.script("facenet_embed", lambda call: {"EMBEDDING": GOOD.view(Short)})
    assert isinstance(failure(fake), BadUpstream)


def test_a_message_of_17_mib_is_sent(fake):
    infer(fake, pictures=[bytes(8 * 1024 * 1024)] * 2)


def test_the_contract_is_that_of_the_model_repository():
    """Names, types and shapes of the outputs agree with config.pbtxt, so that they cannot drift apart."""
    google = pytest.importorskip("google.protobuf.text_format")
    from pathlib import Path

    from tritonclient.grpc import model_config_pb2

    repository = Path(__file__).resolve().parents[2] / "model_repository"
    if not repository.is_dir():
        pytest.skip("the model repository is not here")
    types = {np.float32: "TYPE_FP32", np.int32: "TYPE_INT32", np.bool_: "TYPE_BOOL", np.object_: "TYPE_STRING"}
    for name, model in MODELS.items():
        text = (repository / name / "config.pbtxt").read_text()
        config = google.Parse(text, model_config_pb2.ModelConfig())
        outputs = {output.name: output for output in config.output}
        assert (config.max_batch_size > 0) == model.batches, name
        for output, tensor in model.outputs.items():
            dims = list(outputs[output].dims)
            assert model_config_pb2.DataType.Name(outputs[output].data_type) == types[tensor.dtype], (name, output)
            assert len(dims) == len(tensor.dims), (name, output)
            network = {"facenet": 512, "arcface": -1}
            promised = [network.get(dim, dim) for dim in tensor.dims]
            assert dims == promised, (name, output)
