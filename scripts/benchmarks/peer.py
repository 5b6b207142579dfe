"""The peer: FaceCompare as UAI's containers served it, written for comparison only.

A Flask server puts each request on a queue of 20; one thread takes them and runs a TensorFlow session image by image:
Pillow decodes and scales, numpy whitens, and the distance comes back as text.
"""

import base64
import io
import json
import queue
import sys
import threading
from concurrent.futures import Future
from pathlib import Path

import numpy as np
import tensorflow as tf
from flask import Flask, request
from numpy.typing import NDArray
from PIL import Image


def load(graphdef: Path) -> tuple[tf.compat.v1.Session, str]:
    definition = tf.compat.v1.GraphDef.FromString(graphdef.read_bytes())
    with tf.Graph().as_default() as graph:
        tf.import_graph_def(definition, name="")
    return tf.compat.v1.Session(graph=graph), "embeddings:0"


def whiten(encoded: str) -> NDArray[np.float64]:
    image = Image.open(io.BytesIO(base64.b64decode(encoded))).resize((160, 160), Image.Resampling.BILINEAR)
    face = np.asarray(image, np.float64)
    return np.asarray((face - face.mean()) / max(face.std(), 1 / np.sqrt(face.size)))


def main() -> None:
    session, output = load(Path(sys.argv[1]))
    waiting: queue.Queue[tuple[bytes, Future[str]]] = queue.Queue(20)

    def work() -> None:
        while True:
            body, answer = waiting.get()
            first, second = (
                session.run(output, {"input:0": whiten(encoded)[None]})[0] for encoded in json.loads(body)["images"]
            )
            answer.set_result(str(np.sqrt(np.sum(np.square(first - second))))[:10])

    threading.Thread(target=work, daemon=True).start()

    def service() -> tuple[str, int]:
        answer: Future[str] = Future()
        try:
            waiting.put_nowait((request.get_data(), answer))
        except queue.Full:
            return "Server is busy", 501
        return answer.result(), 200

    app = Flask(__name__)
    app.add_url_rule("/service", view_func=service, methods=["POST"])
    app.run("127.0.0.1", int(sys.argv[2]), threaded=True)


if __name__ == "__main__":
    main()
