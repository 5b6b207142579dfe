"""Reads a FaceNet checkpoint in any of TensorFlow's forms as a graph with constants. Runs in a child process.

No graph is run here and no code in a file is executed: graphs are protobuf messages that are cut and rewritten,
and a Keras file is only loaded once its description names nothing but Keras's own layers.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from preprocess.prepare import graphdef, keras_file, variables
from preprocess.prepare.errors import PreparationError
from preprocess.prepare.forms import Checkpoint
from preprocess.prepare.graphdef import Graph, Tensor, tensor

Read = tuple[Graph, str, Tensor]
"""A graph of pure operators and constants, the node that takes the pictures, the tensor of the embeddings."""


def read(checkpoint: Checkpoint) -> Read:
    """Reads a checkpoint; raises PreparationError with the reason if it cannot be used."""
    readers: dict[str, Callable[..., Read]] = {
        "frozen": _frozen,
        "metagraph": _metagraph,
        "savedmodel": _saved_model,
        "keras": keras_file.read,
    }
    graph, fed, output = readers[checkpoint.form](*checkpoint.files)
    graphdef.check_pure(graph)
    return graph, fed, output


def _frozen(path: Path) -> Read:
    import tensorflow as tf

    graph = _parsed(tf.compat.v1.GraphDef, path)
    fed = graphdef.the_input(graph)
    graph, output = graphdef.evaluating(graph, fed, graphdef.the_output(graph))
    return graph, fed, output


def _metagraph(meta: Path, index: Path, *shards: Path) -> Read:
    import tensorflow as tf

    graph = _parsed(tf.compat.v1.MetaGraphDef, meta).graph_def
    known = variables.keys(graph)
    return _with_variables(graph, "input", ("embeddings", 0), index, known)


def _saved_model(saved: Path, index: Path | None = None, *shards: Path) -> Read:
    from tensorflow.core.protobuf import saved_model_pb2

    metas = [
        meta for meta in _parsed(saved_model_pb2.SavedModel, saved).meta_graphs if "serve" in meta.meta_info_def.tags
    ]
    if len(metas) != 1:
        raise PreparationError(f"the SavedModel has {len(metas)} graphs tagged 'serve'; exactly one is needed")
    fed, output = _signature(metas[0])
    restore = metas[0].saver_def.restore_op_name
    graph = _inlined(metas[0], [fed, output[0], *([tensor(restore)[0]] if restore else [])])
    return _with_variables(graph, fed, output, index, variables.keys(graph))


def _with_variables(graph: Graph, fed: str, output: Tensor, index: Path | None, known: dict[str, str]) -> Read:
    graph, output = graphdef.evaluating(graph, fed, output)
    if index is not None:
        graph = variables.frozen(graph, index.with_suffix(""), known)
    elif variables.names(graph):
        raise PreparationError("the SavedModel has variables, and its folder variables/ does not hold them")
    return graph, fed, output


def _parsed(message: Any, path: Path) -> Any:
    from google.protobuf.message import DecodeError

    try:
        return message.FromString(path.read_bytes())
    except DecodeError:
        raise PreparationError(f"{path.name} is damaged, or no {message.__name__}") from None


def _signature(meta: Any) -> tuple[str, Tensor]:
    signatures = {name: value for name, value in meta.signature_def.items() if value.inputs}
    signature = signatures.get("serving_default") or next(iter(signatures.values()), None)
    if signature is None:
        raise PreparationError("the SavedModel has no signature")
    pictures = [info.name for info in signature.inputs.values() if info.dtype == 1]
    results = {key: info.name for key, info in signature.outputs.items() if info.dtype == 1}
    result = results.get("embeddings") or (next(iter(results.values())) if len(results) == 1 else None)
    if len(pictures) != 1 or result is None:
        raise PreparationError("the SavedModel's signature is not one picture in, one embedding out")
    return tensor(pictures[0])[0], tensor(result)


def _inlined(meta: Any, fetched: list[str]) -> Graph:
    """Gives the graph with function calls replaced by the functions' bodies (TensorFlow's own rewriter)."""
    import tensorflow as tf
    from tensorflow.python.grappler import tf_optimizer

    copy = type(meta)()
    copy.graph_def.CopyFrom(meta.graph_def)
    for name in fetched:
        copy.collection_def["train_op"].node_list.value.append(name)
    config = tf.compat.v1.ConfigProto()
    rewriting = config.graph_options.rewrite_options
    rewriting.min_graph_nodes = -1
    rewriting.optimizers.append("function")
    return tf_optimizer.OptimizeGraph(config, copy)
