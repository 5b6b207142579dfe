"""The original detector, for comparison: facenet's `detect_face.py`, written anew from its description, on TensorFlow.

It does what the original does and no more cleverly: weights are variables, each pyramid level is one `Session.run` with
a feed, the softmax is four operations, boxes are float64, one Python loop goes over the candidates, whose patches lie
side by side, a candidate the last axis, and pictures are fed with rows and columns exchanged. The weights' values come
from the prepared ONNX files.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
import tensorflow as tf

tf1 = tf.compat.v1
Array = NDArray[Any]
Network = Callable[[Array], list[Array]]
Weights = dict[str, Array]
Builder = Callable[[Weights], tuple[Any, ...]]

MIN_FACE_SIZE, THRESHOLDS, FACTOR = 20, (0.6, 0.7, 0.7), 0.709  # the original's defaults


class Reference:
    """`detect(uint8[h, w, 3]) -> boxes float64[n, 5], landmarks float64[n, 5, 2]`."""

    def __init__(self, weights: Path, threads: int) -> None:
        config = tf1.ConfigProto(intra_op_parallelism_threads=threads, inter_op_parallelism_threads=threads)
        with tf.Graph().as_default() as graph:
            session = tf1.Session(graph=graph, config=config)

            def network(name: str, build: Builder) -> Network:
                data, *outputs = build(_weights(weights / f"{name}.onnx"))
                return lambda batch: session.run(outputs, feed_dict={data: batch})

            self.pnet, self.rnet, self.onet = network("pnet", _pnet), network("rnet", _rnet), network("onet", _onet)
            session.run(tf1.global_variables_initializer())

    def detect(self, image: Array) -> tuple[Array, Array]:
        nothing = np.empty((0, 5)), np.empty((0, 5, 2))
        candidates = self._first_stage(image)
        if not len(candidates):
            return nothing
        scores, offsets = self.rnet(_patches(image, candidates, 24))
        candidates, offsets, scores = _over(scores[:, 1], THRESHOLDS[1], candidates, offsets)
        kept = _nms(candidates, scores, 0.7)
        candidates = np.fix(_square(_moved(candidates[kept], offsets[kept], 1)))
        if not len(candidates):
            return nothing
        scores, offsets, points = self.onet(_patches(image, candidates, 48))
        candidates, offsets, points, scores = _over(scores[:, 1], THRESHOLDS[2], candidates, offsets, points)
        width = candidates[:, 2:3] - candidates[:, 0:1] + 1
        height = candidates[:, 3:4] - candidates[:, 1:2] + 1
        across = width * points[:, :5] + candidates[:, 0:1] - 1
        down = height * points[:, 5:] + candidates[:, 1:2] - 1
        candidates = _moved(candidates, offsets, 1)
        kept = _nms(candidates, scores, 0.7, smaller=True)
        return np.column_stack([candidates, scores])[kept], np.stack([across, down], axis=2)[kept]

    def _first_stage(self, image: Array) -> Array:
        height, width = image.shape[:2]
        scale, shorter = 12 / MIN_FACE_SIZE, min(height, width) * 12 / MIN_FACE_SIZE
        levels = []
        while shorter >= 12:
            size = int(np.ceil(width * scale)), int(np.ceil(height * scale))
            level = (cv2.resize(image, size, interpolation=cv2.INTER_AREA) - 127.5) * 0.0078125
            scores, offsets = self.pnet(level[None].transpose(0, 2, 1, 3))
            found = _cells(scores[0, ..., 1], offsets[0], scale)
            levels.append(found[_nms(found[:, :4], found[:, 4], 0.5)])
            scale, shorter = scale * FACTOR, shorter * FACTOR
        if not levels:
            return np.empty((0, 4))
        found = np.concatenate(levels)
        found = found[_nms(found[:, :4], found[:, 4], 0.7)]
        return np.fix(_square(_moved(found[:, :4], found[:, 5:], 0)))


def _cells(scores: Array, offsets: Array, scale: float) -> Array:
    """float64[n, 9]: corners, score and offsets of the cells that pass; arrays are [column, row]."""
    column, row = np.nonzero(scores >= THRESHOLDS[0])
    if len(column) == 1:
        offsets = np.flipud(offsets)
    cell = np.stack([column, row], axis=1) * 2
    corners = np.fix((cell + 1) / scale), np.fix((cell + 12) / scale)
    return np.hstack([*corners, scores[column, row][:, None], offsets[column, row]])


def _over(scores: Array, threshold: float, *others: Array) -> list[Array]:
    passed = scores > threshold
    return [*(other[passed] for other in others), scores[passed]]


def _nms(boxes: Array, scores: Array, threshold: float, smaller: bool = False) -> Array:
    x1, y1, x2, y2 = boxes.T
    area = (x2 - x1 + 1) * (y2 - y1 + 1)
    order, kept = np.argsort(scores, kind="stable"), []
    while order.size:
        best, order = order[-1], order[:-1]
        kept.append(best)
        width = np.minimum(x2[best], x2[order]) - np.maximum(x1[best], x1[order]) + 1
        height = np.minimum(y2[best], y2[order]) - np.maximum(y1[best], y1[order]) + 1
        shared = np.maximum(0, width) * np.maximum(0, height)
        whole = np.minimum(area[best], area[order]) if smaller else area[best] + area[order] - shared
        order = order[shared / whole <= threshold]
    return np.array(kept, dtype=np.intp)


def _moved(boxes: Array, offsets: Array, extent: int) -> Array:
    width, height = (boxes[:, end] - boxes[:, start] + extent for start, end in ((0, 2), (1, 3)))
    return np.asarray(boxes + offsets * np.stack([width, height, width, height], axis=1))


def _square(boxes: Array) -> Array:
    width, height = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    side = np.maximum(width, height)
    x1, y1 = boxes[:, 0] + width / 2 - side / 2, boxes[:, 1] + height / 2 - side / 2
    return np.stack([x1, y1, x1 + side, y1 + side], axis=1)


def _patches(image: Array, boxes: Array, size: int) -> Array:
    height, width = image.shape[:2]
    found = np.zeros((size, size, 3, len(boxes)))
    for number, (x1, y1, x2, y2) in enumerate(boxes.astype(int)):
        left, top, right, bottom = max(x1, 1), max(y1, 1), min(x2, width), min(y2, height)
        cut = np.zeros((y2 - y1 + 1, x2 - x1 + 1, 3))
        cut[top - y1 : bottom - y1 + 1, left - x1 : right - x1 + 1] = image[top - 1 : bottom, left - 1 : right]
        found[..., number] = cv2.resize(cut, (size, size), interpolation=cv2.INTER_AREA)
    return ((found - 127.5) * 0.0078125).transpose(3, 1, 0, 2)


def _weights(path: Path) -> Weights:
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in onnx.load(path).graph.initializer}


def _pnet(weights: Weights) -> tuple[Any, ...]:
    data = tf1.placeholder(tf.float32, [None, None, None, 3])
    x = _pool(_conv(weights, "conv1", data), 2)
    x = _conv(weights, "conv3", _conv(weights, "conv2", x))
    return data, _softmax(_conv(weights, "logits", x, prelu=False)), _conv(weights, "boxes", x, prelu=False)


def _rnet(weights: Weights) -> tuple[Any, ...]:
    data = tf1.placeholder(tf.float32, [None, 24, 24, 3])
    x = _pool(_conv(weights, "conv1", data), 3)
    x = _pool(_conv(weights, "conv2", x), 3, "VALID")
    x = _dense(weights, "conv4", _conv(weights, "conv3", x))
    return data, _softmax(_dense(weights, "logits", x, prelu=False)), _dense(weights, "boxes", x, prelu=False)


def _onet(weights: Weights) -> tuple[Any, ...]:
    data = tf1.placeholder(tf.float32, [None, 48, 48, 3])
    x = _pool(_conv(weights, "conv1", data), 3)
    x = _pool(_conv(weights, "conv2", x), 3, "VALID")
    x = _pool(_conv(weights, "conv3", x), 2)
    x = _dense(weights, "conv5", _conv(weights, "conv4", x))
    heads = (_dense(weights, head, x, prelu=False) for head in ("boxes", "points"))
    return data, _softmax(_dense(weights, "logits", x, prelu=False)), *heads


def _conv(weights: Weights, name: str, x: Any, prelu: bool = True) -> Any:
    kernel = weights[f"{name}_weight"].transpose(3, 2, 1, 0)  # rows and columns exchanged
    x = tf.nn.conv2d(x, tf1.Variable(kernel), strides=1, padding="VALID")
    x = tf.nn.bias_add(x, tf1.Variable(weights[f"{name}_bias"]))
    return _prelu(weights, name, x) if prelu else x


def _dense(weights: Weights, name: str, x: Any, prelu: bool = True) -> Any:
    kernel = weights[f"{name}_weight"].T
    if x.shape.rank == 4:
        side, channels = int(x.shape[1]), int(x.shape[3])
        kernel = kernel.reshape(channels, side, side, -1).transpose(2, 1, 0, 3).reshape(len(kernel), -1)
        x = tf.reshape(x, [-1, len(kernel)])
    x = tf.nn.bias_add(tf.matmul(x, tf1.Variable(kernel)), tf1.Variable(weights[f"{name}_bias"]))
    return _prelu(weights, name, x) if prelu else x


def _prelu(weights: Weights, name: str, x: Any) -> Any:
    slope = tf1.Variable(weights[f"prelu_{name}_slope"].reshape(-1))
    return tf.nn.relu(x) + slope * -tf.nn.relu(-x)


def _pool(x: Any, size: int, padding: str = "SAME") -> Any:
    return tf.nn.max_pool2d(x, size, strides=2, padding=padding)


def _softmax(logits: Any) -> Any:
    powers = tf.exp(logits - tf.reduce_max(logits, -1, keepdims=True))
    return powers / tf.reduce_sum(powers, -1, keepdims=True)
