"""Engines that run a network: `onnxruntime`, and the native ones, `tensorflow` for FaceNet and `mxnet` for ArcFace.

An engine is a function from a batch to a batch. The heavy imports wait until an engine is chosen.
"""

import ctypes
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from preprocess.workers import Workers

Array = NDArray[np.float32]
Engine = Callable[[Array], Array]
"""float32[n, ...] -> float32[n, d], one row an item; n may differ from call to call."""

PRECISIONS = ("float32", "float16", "int8")
FOR_CPUS = "model.cpu.onnx"  # the float32 network with its convolutions as CPUs compute them fastest
CPU_LIMIT = Path("/sys/fs/cgroup/cpu.max")  # of a container: "200000 100000" is two cores' time, "max 100000" no limit
PORTION = 2  # faces: FaceNet takes as long for each of two as for each of 32, and 4 % longer for one


def cores() -> int:
    """Cores that the engines may use together: FACE_CORES, or all that this process may run on and has the time of."""
    if chosen := os.environ.get("FACE_CORES"):
        return int(chosen)
    usable = len(os.sched_getaffinity(0))
    try:
        quota, period = map(int, CPU_LIMIT.read_text().split())
        return min(usable, max(1, -(-quota // period)))
    except (OSError, ValueError, ZeroDivisionError):  # there is no limit, or none that can be read
        return usable


def weights_file(precision: str) -> str:
    """The file of a network's ONNX form in a precision."""
    return "model.onnx" if precision == "float32" else f"model.{precision}.onnx"


def load_embedder(
    engine: str, directory: Path, threads: int, gpu: int | None = None, precision: str = "float32"
) -> Engine:
    """The embedding network whose weights lie in `directory`, run by `engine` on `threads` threads or on a GPU.

    gpu: CUDA's number of it; the CPU never steps in for a GPU that cannot be used.
    precision: float32, or with onnxruntime also float16 or, on the CPU, int8; input and output are float32 in each.

    Raises:
        ValueError: there is no such engine or precision, or not on a GPU.
        FileNotFoundError: the engine's weights are not prepared.
    """
    loaders: dict[str, Callable[[Path, int, int | None], Engine]]
    loaders = {"onnxruntime": partial(_onnxruntime, precision), "tensorflow": _tensorflow, "mxnet": _mxnet}
    if engine not in loaders:
        raise ValueError(f"ENGINE is {engine!r}; it must be one of {', '.join(loaders)}")
    if precision not in PRECISIONS:
        raise ValueError(f"PRECISION is {precision!r}; it must be one of {', '.join(PRECISIONS)}")
    if precision != "float32" and engine != "onnxruntime":
        raise ValueError(f"{engine} computes in float32, not in {precision}; choose the engine onnxruntime")
    if precision == "int8" and gpu is not None:
        raise ValueError(f"int8 is for CPUs, not for GPU {gpu}; prepare float16 or float32, or hide the GPU")
    return loaders[engine](directory, threads, gpu)


def _on_gpu(path: Path, gpu: int) -> Engine:
    """One run a batch: a GPU is the faster the more it is given at once."""
    import onnxruntime

    provider = "CUDAExecutionProvider"
    if provider not in onnxruntime.get_available_providers():
        raise ValueError(f"this ONNX Runtime has no {provider} for GPU {gpu}; install onnxruntime-gpu or hide the GPU")
    options = [(provider, {"device_id": gpu})]
    session = onnxruntime.InferenceSession(str(_prepared(path)), providers=options)
    if provider not in session.get_providers():  # ONNX Runtime says why, and goes on with the CPU
        raise ValueError(f"ONNX Runtime cannot use GPU {gpu}; its own message is above")
    name = session.get_inputs()[0].name
    return lambda batch: np.asarray(session.run(None, {name: batch})[0])


def onnx_session(path: Path, threads: int) -> Any:
    """An ONNX Runtime session on the CPU.

    Its threads wait for each other awake while a run lasts, as they do after every layer, which makes it a fifth
    faster; between runs they sleep, for other processes share the cores.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "1")
    options.add_session_config_entry("session.force_spinning_stop", "1")
    return onnxruntime.InferenceSession(str(_prepared(path)), options, providers=["CPUExecutionProvider"])


def unit(embeddings: Array) -> Array:
    """Scale each row of float32[n, d] to length 1; a row of zeros stays one."""
    length = np.linalg.norm(embeddings, axis=1, keepdims=True)
    return np.asarray(embeddings / np.maximum(length, np.finfo(np.float32).tiny), np.float32)


def _onnxruntime(precision: str, directory: Path, threads: int, gpu: int | None) -> Engine:
    """Faces are shared out, a thread taking a portion at a time; what is left over goes through all threads at once.

    Threads that share a run wait for each other after every layer: FaceNet takes 12 % less of the cores without. Small
    portions keep both busy when another process takes a core for a moment, and bound the memory.
    """
    if gpu is not None:
        return _on_gpu(directory / weights_file(precision), gpu)
    path = directory / (FOR_CPUS if precision == "float32" else weights_file(precision))
    apart = onnx_session(path, 1)
    together = onnx_session(path, threads) if threads > 1 else apart  # each has weights of its own
    workers = Workers(threads)
    name = together.get_inputs()[0].name
    _give_back_memory()

    def run(batch: Array) -> Array:
        *portions, rest = np.split(batch, np.cumsum(portion_sizes(len(batch), threads)))
        rows = workers.map(lambda portion: apart.run(None, {name: portion})[0], portions)
        if len(rest):
            rows.append(together.run(None, {name: rest})[0])
        return np.concatenate(rows)

    return run


def portion_sizes(faces: int, threads: int) -> list[int]:
    """Faces of each portion, as many for each thread; fewer than there are threads are left over."""
    sizes: list[int] = []
    while each := min(PORTION, faces // threads):
        sizes += [each] * threads
        faces -= each * threads
    return sizes


def _give_back_memory() -> None:
    """What loading took and freed: glibc would keep it, a third of the process."""
    ctypes.CDLL(None).malloc_trim(0)


def _tensorflow(directory: Path, threads: int, gpu: int | None) -> Engine:
    """A frozen graph with tensors input:0 and embeddings:0."""
    path = _prepared(directory / "model.graphdef")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    import tensorflow as tf

    definition = tf.compat.v1.GraphDef.FromString(path.read_bytes())
    with tf.Graph().as_default() as graph:
        tf.import_graph_def(definition, name="")
    config = tf.compat.v1.ConfigProto(intra_op_parallelism_threads=threads, inter_op_parallelism_threads=1)
    if gpu is not None:
        if not tf.config.list_physical_devices("GPU"):
            raise ValueError(f"TensorFlow cannot use GPU {gpu}; choose the engine onnxruntime or hide the GPU")
        config.gpu_options.visible_device_list = str(gpu)
        config.gpu_options.allow_growth = True
    session = tf.compat.v1.Session(graph=graph, config=config)
    return lambda batch: session.run("embeddings:0", {"input:0": batch})


def _mxnet(directory: Path, threads: int, gpu: int | None) -> Engine:
    """A checkpoint with input `data` and output `fc1` (InsightFace)."""
    if gpu is not None:
        raise ValueError(f"mxnet runs on the CPU here, not on GPU {gpu}; choose the engine onnxruntime or hide the GPU")
    symbol, weights = _prepared(directory / "model-symbol.json"), _prepared(directory / "model-0000.params")
    os.environ["OMP_NUM_THREADS"] = str(threads)
    np.bool = bool  # type: ignore[attr-defined]  # MXNet 1.9.1 still asks for it
    import mxnet

    # Not a Module: that binds anew for each batch size, and MXNet 1.9.1 then trips over weights that oneDNN has packed.
    output = mxnet.sym.load(str(symbol)).get_internals()["fc1_output"]
    network = mxnet.gluon.SymbolBlock(output, mxnet.sym.var("data"))
    network.collect_params().load(
        str(weights), ctx=mxnet.cpu(), ignore_extra=True, cast_dtype=True, dtype_source="saved"
    )
    network.hybridize(static_alloc=True)
    return lambda batch: network(mxnet.nd.array(batch)).asnumpy()


def _prepared(path: Path) -> Path:
    if not path.is_file():
        raise FileNotFoundError(f"{path.name} is missing; run scripts/prepare-models")
    return path
