"""TensorFlow graphs that are broken or mean harm: each refused with its reason, none of them run."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from preprocess.prepare import facenet, forms, tensorflow_forms
from preprocess.prepare.child import in_child
from preprocess.prepare.errors import PreparationError
from tests.preprocess.prepare.conftest import Native

REASONS = {
    "reads a file": r"operators that are not accepted: ReadFile, StringToNumber$",
    "runs Python": r"operators that are not accepted: EagerPyFunc$",
    "asks its input which way": r"depends on more than",
    "loops": r"not accepted: |depends on more than|in a circle",
    "runs in a circle": r"runs in a circle at",
    "lacks a node": r"lacks the node 'gone'",
    "lacks embeddings": r"no node 'embeddings' and 2 ends",
    "lacks an input": r"no node 'input' and 0 float placeholders",
    "only learns": r"only computed in training",
    "looks at nothing": r"does not depend on 'input'",
    "claims a huge constant": r"claim 1099511627776 numbers",
    "claims a negative constant": r"has a negative size",
    "takes oblong pictures": r"square RGB pictures",
    "takes four channels": r"square RGB pictures",
    "gives a picture": r"gives \[3, 160, 160, 3\] for 3 faces",
    "gives no numbers": r"not finite numbers",
    "mixes the batch": r"another embedding in a batch",
}


def graphs(folder: Path) -> None:
    """Writes a .pb for each of REASONS."""
    import tensorflow as tf

    tf1 = tf.compat.v1
    tf1.disable_eager_execution()
    tf1.disable_control_flow_v2()

    def rows(taken: Any) -> Any:
        return tf.reduce_mean(taken, [1, 2])

    def written(name: str, build: Callable[[], Any], mend: Callable[[Any], None] = lambda graph: None) -> None:
        with tf1.Graph().as_default() as whole:
            build()
        definition = whole.as_graph_def()
        mend(definition)
        (folder / f"{name}.pb").write_bytes(definition.SerializeToString())

    def network(
        change: Callable[[Any], Any] = lambda taken: taken,
        shape: tuple[int | None, ...] = (None, 160, 160, 3),
        name: str = "embeddings",
    ) -> Callable[[], None]:
        def build() -> None:
            taken = tf1.placeholder(tf.float32, shape, name="input")
            tf.identity(change(taken), name=name)

        return build

    def after_reading(taken: Any) -> Any:
        return rows(taken) + tf.strings.to_number(tf.io.read_file("/etc/passwd"))

    def beside_writing(taken: Any) -> Any:
        target = tf.constant(str(folder / "written"))
        with tf1.control_dependencies([tf.io.write_file(target, "by the graph")]):
            return tf.identity(rows(taken))

    def by_content(taken: Any) -> Any:
        return tf1.cond(tf.reduce_sum(taken) > 0, lambda: rows(taken), lambda: -rows(taken))

    def loop(taken: Any) -> Any:
        return tf1.while_loop(lambda value: tf.reduce_sum(value) < 9, lambda value: [value + 1], [rows(taken)])

    def learning(taken: Any) -> Any:
        branch, _ = tf1.raw_ops.Switch(data=rows(taken), pred=tf1.placeholder(tf.bool, name="phase_train"))[::-1]
        return branch

    def node(definition: Any, name: str) -> Any:
        return next(node for node in definition.node if node.name == name)

    def circle(definition: Any) -> None:
        definition.node.add(op="Neg", name="a", input=["b"]).attr["T"].type = 1
        definition.node.add(op="Neg", name="b", input=["a"]).attr["T"].type = 1
        node(definition, "embeddings").input[0] = "a"

    def sized(size: int) -> Callable[[Any], None]:
        def mend(definition: Any) -> None:
            constant = next(node for node in definition.node if node.op == "Const")
            del constant.attr["value"].tensor.tensor_shape.dim[:]
            constant.attr["value"].tensor.tensor_shape.dim.add().size = size

        return mend

    written("reads a file", network(after_reading))
    written("runs Python", network(lambda taken: tf.py_function(lambda rows: rows, [rows(taken)], tf.float32)))
    written("writes a file on the side", network(beside_writing))
    written("asks its input which way", network(by_content))
    written("loops", network(lambda taken: loop(taken)[0]))
    written("runs in a circle", network(rows), circle)
    written("lacks a node", network(rows), lambda graph: node(graph, "embeddings").input.__setitem__(0, "gone"))
    written(
        "lacks embeddings", network(lambda taken: tf.split(rows(taken), 3, 1, name="end") and rows(taken), name="b")
    )
    written("lacks an input", lambda: tf.identity(tf.constant([[1.0]]), name="embeddings"))
    written("only learns", network(learning))
    written("looks at nothing", network(lambda taken: tf.constant([[1.0]])))
    written("claims a huge constant", network(rows), sized(2**40))
    written("claims a negative constant", network(rows), sized(-2))
    written("takes oblong pictures", network(rows, (None, 160, 96, 3)))
    written("takes four channels", network(rows, (None, 160, 160, 4)))
    written("gives a picture", network())
    written("gives no numbers", network(lambda taken: rows(taken) / 0))
    written("mixes the batch", network(lambda taken: rows(taken) + tf.reduce_sum(taken[:1], [0, 1, 2])))


def refusals(folder: Path) -> dict[str, str]:
    """Gives the reason each graph is refused for."""
    found = {}
    for path in folder.glob("*.pb"):
        try:
            facenet.write_graph(forms.facenet(path), folder / "target")
        except PreparationError as error:
            found[path.stem] = str(error)
    return found


@pytest.fixture(scope="module")
def refused(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("graphs")
    in_child(graphs, folder)
    return in_child(refusals, folder)


@pytest.mark.parametrize("name", REASONS)
def test_a_graph_is_refused_that(name: str, refused: dict[str, str]) -> None:
    with pytest.raises(PreparationError, match=REASONS[name]):
        raise PreparationError(refused[name])


def test_what_a_graph_does_on_the_side_is_cut_away(
    refused: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    assert "writes a file on the side" not in refused
    assert not list(tmp_path_factory.getbasetemp().glob("graphs*/written"))


def surprises(path: Path, work: Path) -> list[str]:
    """Reads a graph with a few bytes changed, two hundred times; gives what was raised beside a refusal."""
    random = np.random.default_rng(9)
    good = path.read_bytes()
    target = work / "damaged.pb"
    found = []
    for _ in range(200):
        data = bytearray(good)
        for place in random.integers(0, len(data), 3):
            data[place : place + random.integers(0, 6)] = random.bytes(random.integers(0, 6))
        target.write_bytes(bytes(data))
        try:
            tensorflow_forms.read(forms.facenet(target))
        except PreparationError:
            continue
        except Exception as error:
            found.append(repr(error))
    return found


def test_no_damage_to_a_graph_is_a_surprise(facenets: Native, tmp_path: Path) -> None:
    assert in_child(surprises, facenets["frozen"][0], tmp_path) == []
