import base64
import json

import numpy as np
import pytest

from client.errors import TooLarge
from client.v1 import answers
from client.v1.answers import Box, Detected, DetectedImage, Face, Landmarks


def test_numbers_have_few_digits_and_lose_nothing():
    values = np.random.default_rng(0).standard_normal((20, 512)).astype(np.float32) / 23
    listed = answers.numbers(values)
    assert np.array_equal(np.array(listed, np.float32), values)
    assert answers.numbers(np.array([0.1, 1e-7, 165.25], np.float32)) == [0.1, 1e-07, 165.25]
    assert answers.numbers(np.zeros((0, 5), np.float32)) == []


def test_an_embedding_in_base64_is_little_endian_float32():
    vector = np.array([0.5, -0.25, 1e-7], np.float32)
    decoded = np.frombuffer(base64.b64decode(answers.embedding(vector, "base64")), "<f4")
    assert np.array_equal(decoded, vector)
    assert answers.embedding(vector, "list") == [0.5, -0.25, 1e-07]


def test_an_answer_is_json_by_the_names_of_its_fields():
    points = np.arange(10, dtype=np.float32).reshape(5, 2)
    face = Face(**answers.face(np.array([1, 2, 3, 4, 0.5], np.float32), points))
    assert face == Face(Box(1, 2, 3, 4), 0.5, Landmarks((0, 1), (2, 3), (4, 5), (6, 7), (8, 9)))
    written = answers.to_json(Detected([DetectedImage(1, [face]), answers.failed(TooLarge("image_too_large", "no"))]))
    assert json.loads(written) == {
        "images": [
            {
                "face_count": 1,
                "faces": [
                    {
                        "box": {"x1": 1, "y1": 2, "x2": 3, "y2": 4},
                        "score": 0.5,
                        "landmarks": {
                            "left_eye": [0, 1],
                            "right_eye": [2, 3],
                            "nose": [4, 5],
                            "mouth_left": [6, 7],
                            "mouth_right": [8, 9],
                        },
                    }
                ],
            },
            {"error": {"code": "image_too_large", "message": "no"}},
        ]
    }


@pytest.mark.parametrize("encoding", ["list", "base64"])
def test_a_vector_of_nothing_is_written_too(encoding):
    assert not answers.embedding(np.zeros(0, np.float32), encoding)
