"""Reads, prunes and writes MXNet's `-symbol.json` files without MXNet."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from preprocess.prepare.errors import PreparationError

MAX_BYTES = 16 * 2**20
MXNET_VERSION = 10901  # 1.9.1, as MXNet numbers it

Output = tuple[int, int]
"""One output of one node: (place in the node list, which of the node's outputs)."""


@dataclass(frozen=True)
class Node:
    """One operator, or with `op == "null"` one named input: the data or an array of weights."""

    op: str
    name: str
    attrs: dict[str, str]
    inputs: tuple[Output, ...]

    def number(self, key: str, default: float) -> float:
        """Gives a numeric attribute."""
        text = self.attrs.get(key)
        try:
            return default if text is None else float(text)
        except ValueError:
            raise self.error(f"{key}={text!r} is no number") from None

    def flag(self, key: str, default: bool) -> bool:
        """Gives a boolean attribute, which MXNet writes as True, False, 1 or 0."""
        text = self.attrs.get(key, str(default))
        if text not in ("True", "False", "1", "0"):
            raise self.error(f"{key}={text!r} is neither True nor False")
        return text in ("True", "1")

    def sizes(self, key: str, default: tuple[int, ...]) -> tuple[int, ...]:
        """Gives an attribute of integers such as `(3, 3)`."""
        text = self.attrs.get(key)
        if text is None:
            return default
        if not re.fullmatch(r"\s*[(\[]?\s*\d{1,9}L?(\s*,\s*\d{1,9}L?)*\s*,?\s*[)\]]?\s*", text):
            raise self.error(f"{key}={text!r} is no list of sizes")
        return tuple(int(digits) for digits in re.findall(r"\d+", text))

    def error(self, reason: str) -> PreparationError:
        return PreparationError(f"operator {self.op} {self.name!r}: {reason}")


@dataclass(frozen=True)
class Symbol:
    """A network: nodes in an order in which each comes after its inputs, and the outputs asked for.

    `version` is the MXNet that wrote it (10901 for 1.9.1, 0 for unknown): MXNet reads older files differently.
    """

    nodes: tuple[Node, ...]
    heads: tuple[Output, ...]
    version: int = MXNET_VERSION

    def pruned(self, outputs: Sequence[str]) -> "Symbol":
        """Gives the part that the named nodes' first outputs need (training heads and losses fall away)."""
        places = {node.name: place for place, node in enumerate(self.nodes) if node.op != "null"}
        missing = [name for name in outputs if name not in places]
        if missing:
            raise PreparationError(f"the network has no layer named {', '.join(map(repr, missing))}")
        wanted: set[int] = set()
        stack = [places[name] for name in outputs]
        while stack:
            place = stack.pop()
            if place not in wanted:
                wanted.add(place)
                stack.extend(source for source, _ in self.nodes[place].inputs)
        moved = {old: new for new, old in enumerate(sorted(wanted))}
        nodes = tuple(
            Node(node.op, node.name, node.attrs, tuple((moved[source], index) for source, index in node.inputs))
            for node in (self.nodes[old] for old in sorted(wanted))
        )
        return Symbol(nodes, tuple((moved[places[name]], 0) for name in outputs), self.version)


def read(data: bytes) -> Symbol:
    """Reads a symbol file of any MXNet since 0.8; raises PreparationError with the reason if it is broken."""
    if len(data) > MAX_BYTES:
        raise PreparationError(f"the symbol file has {len(data)} bytes; {MAX_BYTES} at most are read")
    try:
        graph = json.loads(data)
    except (ValueError, RecursionError):
        raise PreparationError("the symbol file is not JSON") from None
    try:
        nodes = tuple(_node(entry, place) for place, entry in enumerate(graph["nodes"]))
        heads = tuple(_output(head, len(nodes)) for head in graph["heads"])
        version = int(graph.get("attrs", {}).get("mxnet_version", ("int", 0))[1])
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise PreparationError(f"the symbol file is not an MXNet network: {type(error).__name__} {error}") from None
    if not heads:
        raise PreparationError("the symbol file names no output")
    names = [node.name for node in nodes if node.op == "null"]
    if len(set(names)) != len(names):
        raise PreparationError("two inputs of the network have the same name")
    return Symbol(nodes, heads, version)


def _node(entry: dict[str, Any], place: int) -> Node:
    # MXNet called the attributes `param` before 0.9, `attr` up to 1.0 and `attrs` since.
    attrs = entry.get("attrs") or entry.get("attr") or entry.get("param") or {}
    if not isinstance(entry["op"], str) or not isinstance(entry["name"], str):
        raise TypeError("op or name is no text")
    attrs = {str(key): str(value) for key, value in attrs.items()}
    return Node(entry["op"], entry["name"], attrs, tuple(_output(source, place) for source in entry["inputs"]))


def _output(entry: Sequence[int], nodes: int) -> Output:
    node, index = entry[0], entry[1]
    if not isinstance(node, int) or not isinstance(index, int):
        raise TypeError("an input is no number")
    if not 0 <= node < nodes or index < 0:
        raise IndexError(f"input {entry} points at no earlier node")
    return node, index


def write(symbol: Symbol) -> bytes:
    """Gives the bytes of a symbol file that MXNet 1.x loads."""
    nodes = []
    for node in symbol.nodes:
        entry: dict[str, Any] = {"op": node.op, "name": node.name}
        if node.attrs:
            entry["attrs"] = node.attrs
        nodes.append({**entry, "inputs": [[source, index, 0] for source, index in node.inputs]})
    graph: dict[str, Any] = {
        "nodes": nodes,
        "arg_nodes": [place for place, node in enumerate(symbol.nodes) if node.op == "null"],
        "heads": [[place, index, 0] for place, index in symbol.heads],
    }
    if symbol.version:
        graph["attrs"] = {"mxnet_version": ["int", symbol.version]}
    return (json.dumps(graph, indent=2) + "\n").encode()
