"""Small networks made with the real frameworks and saved in every form that people bring.

The functions that import TensorFlow or MXNet are called through `in_child`.
"""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from preprocess.engines import FOR_CPUS, load_embedder
from preprocess.prepare import arcface, facenet, mxnet_network, native, winograd

SIZE = 160
WIDTH = 24
"""Numbers of an embedding."""


def faces() -> np.ndarray:
    """What the native results below were computed on."""
    return facenet.pictures(3, SIZE)


def tensorflow_1(folder: Path) -> dict[str, np.ndarray]:
    """Saves a network as davidsandberg/facenet trains and freezes it; gives its embeddings of `faces()` by form.

    Forms: `metagraph`, `frozen` (with phase_train), `savedmodel`, `savedmodel-frozen`, which has no variables, and
    `fixed`, frozen for a batch of one.
    """
    import tensorflow as tf

    tf1 = tf.compat.v1
    tf1.disable_eager_execution()
    tf1.disable_control_flow_v2()
    tf1.disable_resource_variables()
    results = {}
    with tf1.Graph().as_default(), tf1.Session() as session:
        tf1.set_random_seed(1)
        queue = tf1.FIFOQueue(4, [tf.float32], shapes=[(SIZE, SIZE, 3)])
        taken = tf1.identity(queue.dequeue_up_to(2), "input")
        training = tf1.placeholder(tf.bool, name="phase_train")
        embeddings = _facenet_graph(taken, training)
        session.run(tf1.global_variables_initializer())
        _shake_averages(session)
        feed = {"input:0": faces(), training: False}
        native = session.run(embeddings, feed)
        saver = tf1.train.Saver(tf1.trainable_variables() + tf1.get_collection("moving"))
        target = folder / "metagraph"
        target.mkdir()
        saver.save(session, str(target / "model-20180402-114759.ckpt"), global_step=275, write_meta_graph=False)
        saver.export_meta_graph(str(target / "model-20180402-114759.meta"))
        results["metagraph"] = native
        graph = session.graph.as_graph_def()
        _as_facenet_freezes(graph)
        frozen = tf1.graph_util.convert_variables_to_constants(session, graph, ["embeddings"])
        (folder / "frozen.pb").write_bytes(frozen.SerializeToString())
        results["frozen"] = native
        tf1.saved_model.simple_save(
            session, str(folder / "savedmodel"), {"images": taken, "training": training}, {"embeddings": embeddings}
        )
        results["savedmodel"] = native
    with tf1.Graph().as_default(), tf1.Session() as session:
        names = ["input:0", "phase_train:0", "embeddings:0"]
        taken, training, embeddings = tf1.import_graph_def(frozen, return_elements=names, name="")
        target = folder / "savedmodel-frozen"
        tf1.saved_model.simple_save(
            session, str(target), {"images": taken, "training": training}, {"embeddings": embeddings}
        )
        results["savedmodel-frozen"] = native
    with tf1.Graph().as_default(), tf1.Session() as session:
        tf1.set_random_seed(2)
        taken = tf1.placeholder(tf.float32, [1, SIZE, SIZE, 3], name="input")
        embeddings = _facenet_graph(taken, None)
        session.run(tf1.global_variables_initializer())
        frozen = tf1.graph_util.convert_variables_to_constants(session, session.graph.as_graph_def(), ["embeddings"])
        (folder / "fixed.pb").write_bytes(frozen.SerializeToString())
        results["fixed"] = np.concatenate([session.run(embeddings, {taken: face[None]}) for face in faces()])
    return results


def _facenet_graph(taken: Any, training: Any) -> Any:
    """A strided convolution, a normalisation that knows training from use, a dropout, a dense layer."""
    import tensorflow as tf

    tf1 = tf.compat.v1
    kernel = tf1.get_variable("InceptionResnetV1/kernel", [5, 5, 3, 8], initializer=tf1.random_normal_initializer())
    net = tf1.nn.conv2d(taken, kernel, [1, 4, 4, 1], "SAME")
    gamma = tf1.get_variable("InceptionResnetV1/gamma", [8], initializer=tf1.random_uniform_initializer(0.5, 1.5))
    beta = tf1.get_variable("InceptionResnetV1/beta", [8], initializer=tf1.random_normal_initializer())
    moving = {"trainable": False, "collections": ["moving", tf1.GraphKeys.GLOBAL_VARIABLES]}
    mean = tf1.get_variable("InceptionResnetV1/moving_mean", [8], initializer=tf1.zeros_initializer(), **moving)
    variance = tf1.get_variable("InceptionResnetV1/moving_variance", [8], initializer=tf1.ones_initializer(), **moving)

    def use() -> Any:
        return tf1.nn.fused_batch_norm(net, gamma, beta, mean, variance, 1e-3, is_training=False)[0], mean, variance

    def learn() -> Any:
        return tf1.nn.fused_batch_norm(net, gamma, beta, epsilon=1e-3, is_training=True)

    def keep_averages() -> Any:
        updates = [tf1.assign_sub(mean, 0.1 * (mean - seen[0])), tf1.assign_sub(variance, 0.1 * (variance - seen[1]))]
        with tf1.control_dependencies(updates):
            return tf1.identity(normal)

    if training is None:
        normal, *_ = use()
    else:  # as slim's batch_norm does it with a tensor for is_training and no collection for its updates
        normal, *seen = tf1.cond(training, learn, use)
        normal = tf1.cond(training, keep_averages, lambda: normal)
    net = normal
    net = tf1.nn.avg_pool(tf1.nn.relu(net), [1, 8, 8, 1], [1, 8, 8, 1], "VALID")
    count = -1 if training is not None else 1
    net = tf1.reshape(net, [count, 25 * 8])
    if training is not None:
        net = tf1.cond(training, lambda: tf1.nn.dropout(net, rate=0.5), lambda: net)
    weights = tf1.get_variable("InceptionResnetV1/w", [25 * 8, WIDTH], initializer=tf1.random_normal_initializer())
    return tf1.nn.l2_normalize(tf1.matmul(net, weights), 1, 1e-10, name="embeddings")


def _shake_averages(session: Any) -> None:
    import tensorflow as tf

    random = np.random.default_rng(3)
    for variable in tf.compat.v1.get_collection("moving"):
        variable.load(random.uniform(0.5, 2, variable.shape).astype(np.float32), session)


def _as_facenet_freezes(graph: Any) -> None:
    """What src/freeze_graph.py does to the batch normalisation's nodes before it freezes."""
    for node in graph.node:
        if node.op == "RefSwitch":
            node.op = "Switch"
            for place, name in enumerate(node.input):
                if "moving_" in name:
                    node.input[place] = f"{name}/read"
        elif node.op in ("AssignSub", "AssignAdd"):
            node.op = {"AssignSub": "Sub", "AssignAdd": "Add"}[node.op]
            node.attr.pop("use_locking", None)


def tensorflow_2(folder: Path) -> dict[str, np.ndarray]:
    """Saves a Keras network as `.keras`, `.h5` and SavedModels (saved and exported); gives its embeddings by form.

    The network does not end in unit length; the embeddings given do.
    """
    import keras
    import tensorflow as tf

    keras.utils.set_random_seed(4)
    entry = keras.Input((SIZE, SIZE, 3))
    net = keras.layers.Conv2D(8, 5, strides=4, padding="same")(entry)
    net = keras.layers.BatchNormalization(moving_mean_initializer="ones")(net)
    net = keras.layers.PReLU(shared_axes=[1, 2], alpha_initializer="ones")(net)
    net = keras.layers.GlobalAveragePooling2D()(net)
    net = keras.layers.Dropout(0.4)(net)
    model = keras.Model(entry, keras.layers.Dense(WIDTH)(net))
    model.save(folder / "model.keras")
    model.save(folder / "model.h5")
    tf.saved_model.save(model, str(folder / "saved"))
    model.export(folder / "exported", verbose=False)
    raw = model(faces(), training=False).numpy()
    native = raw / np.linalg.norm(raw, axis=1, keepdims=True)
    return dict.fromkeys(("keras", "h5", "saved", "exported"), native)


def saved_again_by_mxnet(source: Path, target: Path) -> None:
    """Lets MXNet read a .params file and write what it read."""
    np.bool = bool  # type: ignore[attr-defined]
    import mxnet

    mxnet.nd.save(str(target), mxnet.nd.load(str(source)))


def outputs_of_mxnet(checkpoints: list[tuple[Path, Path]], data: list[np.ndarray]) -> list[list[np.ndarray]]:
    """Runs each checkpoint (symbol, params) on its data with MXNet."""
    return [native.mxnet(*files, one) for files, one in zip(checkpoints, data, strict=True)]


def served(engine: str, folder: Path, data: np.ndarray) -> np.ndarray:
    """Runs the prepared network in `folder` with one of the server's engines."""
    if engine == "onnxruntime":
        winograd.write(folder / "model.onnx", folder / FOR_CPUS, data)
    return load_embedder(engine, folder, 1)(data)


def insightface(folder: Path, symbols: Path | None = None) -> dict[str, np.ndarray]:
    """Lets MXNet build and save networks as InsightFace does, with random weights; gives `fc1` of `aligned()`.

    Names: `resnet-se`, a small residual network with squeeze-and-excitation units; and of `symbols`, where
    given, each `<name>-symbol.json` at its real size. Each is saved as epoch 3 with a training head behind fc1.
    """
    np.bool = bool  # type: ignore[attr-defined]
    import mxnet as mx

    made = {"resnet-se": _residual_network(mx.sym)}
    for path in sorted(symbols.glob("*-symbol.json")) if symbols else ():
        made[path.name.removesuffix("-symbol.json")] = mx.sym.load(str(path))
    results = {}
    for name, symbol in made.items():
        embedding = symbol.get_internals()["fc1_output"]
        shapes, _, states = embedding.infer_shape(data=(1, 3, 112, 112))
        random = np.random.default_rng(6)
        arguments = {
            key: mx.nd.array(_weights(random, key, shape))
            for key, shape in zip(embedding.list_arguments(), shapes, strict=True)
            if key != "data"
        }
        averages = {
            key: mx.nd.array(_weights(random, key, shape))
            for key, shape in zip(embedding.list_auxiliary_states(), states, strict=True)
        }
        head = mx.sym.SoftmaxOutput(mx.sym.FullyConnected(embedding, num_hidden=2, name="fc7"), name="softmax")
        mx.model.save_checkpoint(str(folder / name), 3, head, arguments, averages)
        inputs = {"data": mx.nd.array(aligned()), **arguments}
        executor = embedding.bind(mx.cpu(), inputs, aux_states=averages, grad_req="null")
        results[name] = executor.forward(is_train=False)[0].asnumpy()
    return results


def aligned() -> np.ndarray:
    """What the native results above were computed on."""
    return arcface.pictures(3)


def _weights(random: np.random.Generator, name: str, shape: tuple[int, ...]) -> np.ndarray:
    if name.endswith(("_var", "_gamma")):
        return random.uniform(0.5, 1.5, shape).astype(np.float32)
    scale = (2 / np.prod(shape[1:])) ** 0.5 if len(shape) > 1 else 0.1
    return (scale * random.normal(size=shape)).astype(np.float32)


def _residual_network(sym: Any) -> Any:
    """InsightFace's fresnet.py in small: two units with squeeze and excitation, and its `E` output."""

    def convolution(data: Any, count: int, kernel: int, stride: int, name: str) -> Any:
        sizes = {"kernel": (kernel, kernel), "stride": (stride, stride), "pad": (kernel // 2, kernel // 2)}
        return sym.Convolution(data, num_filter=count, no_bias=True, workspace=256, name=name, **sizes)

    def normalised(data: Any, name: str, **options: Any) -> Any:
        return sym.BatchNorm(data, fix_gamma=options.pop("fix_gamma", False), eps=2e-5, momentum=0.9, name=name)

    net = sym.identity(sym.Variable("data"), name="id")
    net = (net - 127.5) * 0.0078125
    net = sym.LeakyReLU(normalised(convolution(net, 8, 3, 2, "conv0"), "bn0"), act_type="prelu", name="relu0")
    for unit in ("unit1", "unit2"):
        body = convolution(normalised(net, f"{unit}_bn1"), 8, 3, 1, f"{unit}_conv1")
        body = sym.LeakyReLU(normalised(body, f"{unit}_bn2"), act_type="prelu", name=f"{unit}_relu1")
        body = normalised(convolution(body, 8, 3, 2, f"{unit}_conv2"), f"{unit}_bn3")
        gate = sym.Pooling(body, global_pool=True, kernel=(7, 7), pool_type="avg", name=f"{unit}_se_pool1")
        gate = sym.Convolution(gate, num_filter=2, kernel=(1, 1), name=f"{unit}_se_conv1")
        gate = sym.LeakyReLU(gate, act_type="prelu", name=f"{unit}_se_relu1")
        gate = sym.Convolution(gate, num_filter=8, kernel=(1, 1), name=f"{unit}_se_conv2")
        body = sym.broadcast_mul(body, sym.Activation(gate, act_type="sigmoid", name=f"{unit}_se_sigmoid"))
        net = body + normalised(convolution(net, 8, 1, 2, f"{unit}_conv1sc"), f"{unit}_sc")
    net = sym.Dropout(normalised(net, "bn1"), p=0.4)
    net = sym.FullyConnected(net, num_hidden=16, name="pre_fc1")
    return normalised(net, "fc1", fix_gamma=True)


def onnx_facenets(folder: Path) -> dict[str, np.ndarray]:
    """Writes ONNX files as exporters do: channels first and last, any batch and one, unit length and not."""
    results = {}
    for name, channels_first, batch, unit in (
        ("channels-first", True, "batch", False),
        ("channels-last", False, "batch", True),
        ("batch-of-one", True, 1, False),
    ):
        _save(_onnx_network(SIZE, channels_first, batch, unit), folder / f"{name}.onnx")
        shown = faces().transpose(0, 3, 1, 2) if channels_first else faces()
        results[name] = _one_by_one(folder / f"{name}.onnx", shown)
    return results


def onnx_arcfaces(folder: Path) -> dict[str, np.ndarray]:
    """Writes ONNX files as InsightFace has them: scaling outside (today's) and inside (from MXNet)."""
    results = {}
    for name, inside in (("scaled-outside", False), ("scaled-inside", True)):
        _save(_onnx_network(112, True, "None", False, inside), folder / f"{name}.onnx")
        shown = aligned() if inside else (aligned() - 127.5) / np.float32(127.5)
        results[name] = _one_by_one(folder / f"{name}.onnx", shown)
    return results


def _one_by_one(path: Path, shown: np.ndarray) -> np.ndarray:
    rows = np.concatenate([native.onnxruntime(path, one[None])[0] for one in shown])
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def _save(model: onnx.ModelProto, path: Path) -> None:
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString())


def _onnx_network(
    size: int, channels_first: bool, batch: str | int, unit: bool, scaled: bool = False
) -> onnx.ModelProto:
    random = np.random.default_rng(7)
    arrays = {
        "mean": np.array(127.5, np.float32),
        "by": np.array(1 / 128, np.float32),
        "kernel": random.normal(size=(8, 3, 5, 5)).astype(np.float32),
        "one": np.array([1, -1], np.int64),
        "weights": random.normal(size=(WIDTH, 8)).astype(np.float32),
    }
    nodes = []
    data = "input.1"
    if not channels_first:
        nodes.append(helper.make_node("Transpose", [data], ["turned"], perm=[0, 3, 1, 2]))
        data = "turned"
    if scaled:
        nodes.append(helper.make_node("Sub", [data, "mean"], ["shifted"]))
        nodes.append(helper.make_node("Mul", ["shifted", "by"], ["scaled"]))
        data = "scaled"
    nodes.append(helper.make_node("Conv", [data, "kernel"], ["conv"], strides=[4, 4]))
    nodes.append(helper.make_node("Relu", ["conv"], ["relu"]))
    nodes.append(helper.make_node("GlobalAveragePool", ["relu"], ["pool"]))
    if batch == 1:
        nodes.append(helper.make_node("Reshape", ["pool", "one"], ["flat"]))
    else:
        nodes.append(helper.make_node("Flatten", ["pool"], ["flat"]))
    nodes.append(helper.make_node("Gemm", ["flat", "weights"], ["683" if not unit else "raw"], transB=1))
    if unit:
        nodes.append(helper.make_node("LpNormalization", ["raw"], ["683"], axis=1))
    used = {name for node in nodes for name in node.input}
    shape = [batch, 3, size, size] if channels_first else [batch, size, size, 3]
    graph = helper.make_graph(
        nodes,
        "torch_jit",
        [helper.make_tensor_value_info("input.1", onnx.TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("683", onnx.TensorProto.FLOAT, [batch, WIDTH])],
        [numpy_helper.from_array(array, name) for name, array in arrays.items() if name in used],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 11)], ir_version=6)


def spoilt_checkpoint(folder: Path) -> None:
    """Changes one weight of `model-0000.params` after its conversion."""
    network = mxnet_network.read(folder / "model-symbol.json", folder / "model-0000.params")
    network.weights["pre_fc1_bias"][0] += 1
    (folder / "model-0000.params").write_bytes(network.files()[1])
