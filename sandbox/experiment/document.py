"""A YAML file as plain values: bounded before anything is built of it, and only numbers that every reader reads alike.

A hundred bytes of anchors and aliases can mean more than any memory holds. So the parser's events are counted first,
then the graph of nodes is weighed, and only then are values made of it.
"""

import re
from pathlib import Path
from typing import Any

import yaml

from sandbox.base.errors import UserError, in_words, one_line
from sandbox.base.reading import Unreadable, read_text, size_of

FILE = 2**18  # bytes; the longest of our own has 4 KB
NODES = 20_000  # keys and values, those that aliases repeat included
DEPTH = 20
ALIASES = 1000
SCALAR = 4096  # characters of one value
_TAG = "tag:yaml.org,2002:"
_NO_NAME = ' in "<unicode string>"'  # what YAML calls a text that it was handed
_OLD = re.compile(r"[-+]?0([xXbB]|[0-9_]+$)|.*[_:]")  # 0x10, 0b1, 010, 1_000, 1:30
# libyaml, where it is there, is twenty times as fast; both call themselves by the same names.
_Base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def read_document(path: Path, keys: str) -> dict[Any, Any]:
    """The mapping that a YAML file holds.

    Args:
        path: the file.
        keys: those it should hold, for the message to who wrote something else.

    Raises:
        UserError: it cannot be read, is no YAML or no mapping, goes beyond the bounds of this module, has a key twice,
            or a number that YAML 1.1 does not read as it is written.
    """
    try:
        if (size := size_of(path)) > FILE:
            raise Unreadable(path, f"has {size // 1024} KiB, a config at most {FILE // 1024}")
        text = read_text(path, FILE)
    except Unreadable as error:
        raise UserError(f"{path} cannot be read as YAML: it {error.problem}") from None
    try:
        document = parsed(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise UserError(f"{path} cannot be read as YAML: {one_line(error).replace(_NO_NAME, '')}") from None
    if not isinstance(document, dict):
        what = "is empty: it" if document is None else f"is no mapping but {in_words(document)}: it"
        raise UserError(f"{path} {what} must hold the keys {keys}")
    return document


def parsed(text: str, loader: Any = None) -> Any:
    """The values of a YAML text.

    Args:
        text: one document.
        loader: a SafeLoader of yaml; None: the fastest there is.

    Raises:
        yaml.YAMLError, ValueError: it is no YAML, or more than is read.
    """
    loader = loader or _Base
    _count(text, loader)
    reader = loader(text)
    try:
        node = reader.get_single_node()
        if node is None:
            return None
        _Weights(reader).of(node)
        return reader.construct_document(node)
    finally:
        reader.dispose()


def _count(text: str, loader: Any) -> None:
    """Raises `yaml.YAMLError` where there are too many events, or a tag; stops at the first."""
    nodes = aliases = depth = 0
    for event in yaml.parse(text, loader):
        if isinstance(event, yaml.events.CollectionEndEvent):
            depth -= 1
        if not isinstance(event, yaml.events.NodeEvent):
            continue
        nodes += 1
        aliases += isinstance(event, yaml.events.AliasEvent)
        depth += isinstance(event, yaml.events.CollectionStartEvent)
        line = _line(event)
        if nodes > NODES:
            raise yaml.YAMLError(f"up to {line} it holds {NODES} keys and values, and no more are read")
        if aliases > ALIASES:
            raise yaml.YAMLError(f"up to {line} it holds {ALIASES} aliases, and no more are read")
        if depth > DEPTH:
            raise yaml.YAMLError(f"{line} is nested more than {DEPTH} deep")
        if (tag := getattr(event, "tag", None)) is not None:
            raise yaml.YAMLError(f"{line} has the tag {in_words(tag)}: no tags are taken")
        if (length := len(getattr(event, "value", ""))) > SCALAR:
            raise yaml.YAMLError(f"{line} has a value of {length} characters: at most {SCALAR} are read")


def _line(place: Any) -> str:
    """Where an event or a node starts."""
    return f"line {place.start_mark.line + 1}"


class _Weights:
    """Size and depth of a node with all that its aliases repeat; raises `yaml.YAMLError` where that is too much."""

    def __init__(self, reader: Any) -> None:
        self._reader = reader
        self._known: dict[int, tuple[int, int] | None] = {}  # by the node's id; None: its parts are being weighed

    def of(self, node: yaml.Node) -> tuple[int, int]:
        """Nodes, and how deep they are nested."""
        line = _line(node)
        if id(node) in self._known:
            weight = self._known[id(node)]
            if weight is None:
                raise yaml.YAMLError(f"{line} holds an alias of itself")
            return weight
        self._known[id(node)] = None
        parts: list[yaml.Node] = []
        if isinstance(node, yaml.ScalarNode):
            self._check_scalar(node, line)
        elif isinstance(node, yaml.MappingNode):
            _check_keys(node)
            parts = [part for pair in node.value for part in pair]
        elif isinstance(node, yaml.SequenceNode):
            parts = node.value
        weights = [self.of(part) for part in parts]
        size, depth = 1 + sum(size for size, _ in weights), 1 + max((depth for _, depth in weights), default=0)
        if size > NODES:
            raise yaml.YAMLError(f"{line} means more than {NODES} keys and values, those that aliases repeat included")
        if depth > DEPTH + 1:  # a value in the innermost collection
            raise yaml.YAMLError(f"{line} is nested more than {DEPTH} deep")
        self._known[id(node)] = size, depth
        return size, depth

    def _check_scalar(self, node: yaml.ScalarNode, line: str) -> None:
        # YAML 1.1, which PyYAML reads, knows numbers to the base of 60 and dates; readers of 1.2 see text in them.
        kind, text = node.tag.removeprefix(_TAG), str(node.value)
        if kind == "timestamp":
            raise yaml.YAMLError(f"{line}: YAML reads {in_words(text)[1:-1]} as a date: for text put it into quotes")
        if kind not in ("int", "float") or not _OLD.match(text):
            return
        try:
            value = in_words(self._reader.construct_object(node), 40)
        except ValueError:
            value = "a number, which it is not"
        raise yaml.YAMLError(f"{line}: YAML reads {in_words(text)[1:-1]} as {value}: write the number in decimals, "
                             "a text in quotes")  # fmt: skip


def _check_keys(node: yaml.MappingNode) -> None:
    """YAML lets the last of two equal keys win in silence; a configuration must not."""
    lines: dict[str, str] = {}
    for key, _ in node.value:
        line = _line(key)
        if not isinstance(key, yaml.ScalarNode):
            raise yaml.YAMLError(f"{line} has a key that is no word but a {key.id}")
        if key.tag == f"{_TAG}merge":
            continue  # several merges are no contradiction
        if key.value in lines:
            raise yaml.YAMLError(f"key {in_words(key.value)} stands twice, on {lines[key.value]} and on {line}")
        lines[key.value] = line
