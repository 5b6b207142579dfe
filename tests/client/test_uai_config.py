import json

import pytest

from client.services import SERVICES
from client.settings import SettingsError
from client.uai_config import main_class

CLASSES = tuple(SERVICES)


def written(tmp_path, content):
    path = tmp_path / "service.conf"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


# The layouts of the original's files, one of each kind: a TensorFlow, an MXNet and a case-study one.
TENSORFLOW = """{
    "http_server" : {
        "exec" : {
            "main_class": "FaceCompareModel",
            "main_file": "facenet_inference"
        },
        "tensorflow" : {
            "model_dir" : "./checkpoint_dir"
        }
    }
}"""
MXNET = {
    "http_server": {
        "exec": {"main_class": "InsightFaceModel", "main_file": "insightface_infer"},
        "mxnet": {"model_dir": "./checkpoint_dir", "model_name": "model-r100-aceFace", "num_epoch": 3},
    }
}
CASE_STUDY = {
    "http_server": {"exec": {"main_class": "FaceCompareService", "main_file": "facecompare_service"}},
    "backend": {"mtcnn": "http://localhost:8081/service", "compare": "http://localhost:8082/service"},
}


@pytest.mark.parametrize(
    ("content", "name"),
    [(TENSORFLOW, "FaceCompareModel"), (MXNET, "InsightFaceModel"), (CASE_STUDY, "FaceCompareService")],
    ids=["tensorflow", "mxnet", "case-study"],
)
def test_the_originals_files_choose_the_class(tmp_path, content, name):
    assert main_class(written(tmp_path, content), CLASSES) == name


def test_an_unknown_class_is_named_with_the_known_ones(tmp_path):
    path = written(tmp_path, TENSORFLOW.replace("FaceCompareModel", "MnistModel"))
    with pytest.raises(SettingsError, match=r"'MnistModel'; known are .*FaceCompareModel"):
        main_class(path, CLASSES)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is not JSON"),
        ("[]", "has no http_server.exec.main_class"),
        ('{"http_server": {}}', "has no http_server.exec.main_class"),
        ('{"http_server": {"exec": {"main_class": ["FaceCompareModel"]}}}', "names the class"),
    ],
    ids=["not-json", "a-list", "no-exec", "a-list-as-class"],
)
def test_a_malformed_file_is_refused_by_name(tmp_path, content, message):
    path = written(tmp_path, content)
    with pytest.raises(SettingsError, match=message) as error:
        main_class(path, CLASSES)
    assert str(path) in str(error.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(SettingsError, match="No such file"):
        main_class(tmp_path / "none.conf", CLASSES)
