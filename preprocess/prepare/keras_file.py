"""Reads a Keras file (.keras, .h5) as a graph with constants. Runs in a child process.

A Keras file describes its layers as names of Python objects, and some of them can carry or fetch code. The
description is therefore read first, and refused if it names anything but Keras's plain layers and functions.
"""

import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from preprocess.prepare import graphdef
from preprocess.prepare.errors import PreparationError
from preprocess.prepare.graphdef import Graph, Tensor, tensor

_MODULES = (
    "keras",
    "keras.activations",
    "keras.constraints",
    "keras.dtype_policies",
    "keras.initializers",
    "keras.layers",
    "keras.models",
    "keras.regularizers",
    "keras.src.models.functional",
    "keras.src.models.sequential",
)
_CODE = ("Lambda", "TFSMLayer", "TorchModuleWrapper", "JaxLayer", "FlaxLayer", "TFOpLambda", "SlicingOpLambda")
_MAX_DESCRIPTION = 16 * 2**20


def read(path: Path) -> tuple[Graph, str, Tensor]:
    """Gives the graph of the model outside training, its input node and its output tensor."""
    check_description(description(path))
    import keras  # type: ignore[import-untyped]
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    try:
        model = keras.models.load_model(path, compile=False, safe_mode=True)
    except Exception as error:  # Keras passes on what Python, h5py and its layers raise
        reason = (str(error).splitlines() or [""])[0][:200]
        raise PreparationError(f"{path.name} is damaged, or no Keras model: {reason}") from None
    if len(model.inputs) != 1 or len(model.outputs) != 1:
        raise PreparationError(
            f"the model has {len(model.inputs)} inputs and {len(model.outputs)} outputs, not one each"
        )
    shape = tf.TensorSpec([None, *model.inputs[0].shape[1:]], tf.float32)
    function = tf.function(lambda pictures: model(pictures, training=False), input_signature=[shape])
    frozen = convert_variables_to_constants_v2(function.get_concrete_function())
    fed, output = frozen.inputs[0].op.name, tensor(frozen.outputs[0].name)
    graph, output = graphdef.evaluating(frozen.graph.as_graph_def(), fed, output)
    return graph, fed, output


def description(path: Path) -> Any:
    """Gives the model's description, without loading the model."""
    try:
        if path.suffix == ".keras":  # as Keras decides it: a file may be both
            with zipfile.ZipFile(path) as archive:
                if archive.getinfo("config.json").file_size > _MAX_DESCRIPTION:
                    raise PreparationError("the Keras file's description is too large")
                text = archive.read("config.json").decode()
        else:
            import h5py  # type: ignore[import-untyped]

            with h5py.File(path, "r") as file:
                written = file.attrs["model_config"]
                text = written if isinstance(written, str) else written.decode()
        return json.loads(text)
    except (OSError, KeyError, ValueError, RecursionError, zipfile.BadZipFile, NotImplementedError):
        raise PreparationError(f"{path.name} is damaged, or no Keras model") from None


def check_description(config: Any) -> None:
    """Raises PreparationError if the description names anything that is not a plain part of Keras."""
    for entry in _objects(config):
        module, name = entry.get("module"), entry.get("class_name")
        looked_up = entry.get("config") if name == "function" else name
        if isinstance(looked_up, str) and "." in looked_up:  # Keras would look further than in the module
            raise PreparationError(f"the Keras file names {module}.{looked_up}, which is no plain part of Keras")
        if name in _CODE:
            raise PreparationError(f"the Keras file holds code (a layer of the kind {name}), which is not run")
        if isinstance(module, str) and module not in _MODULES:
            raise PreparationError(f"the Keras file names {module}.{name}, which is no plain part of Keras")


def _objects(config: Any) -> Iterator[dict[str, Any]]:
    stack = [config]
    while stack:
        entry = stack.pop()
        if isinstance(entry, dict):
            yield entry
            stack.extend(entry.values())
        elif isinstance(entry, list):
            stack.extend(entry)
