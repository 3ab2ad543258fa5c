"""The rooms of the house: imports run one way, and nothing grows out of reading size."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parent.parent
PACKAGES = ("sandbox", "gan", "vae", "rl", "vision")
# A room imports itself and those after it; film, nn and scores stand beside each other.
ROOMS = ("cli", "report", "launcher", "train", "film nn scores", "data", "experiment", "base")
FLOORS = {room: floor for floor, rooms in enumerate(ROOMS) for room in rooms.split()}
BESIDE = {("film", "nn"), ("scores", "film"), ("scores", "nn")} | {("nn", "film"), ("film", "scores"), ("nn", "scores")}
STUDIES_USE = {"train", "film", "nn", "scores", "data", "experiment", "base"}
SHARED = {"vision": {"classify", "segment", "probe"}}  # what several studies of a package stand on
LONGEST_FILE, LONGEST_FUNCTION, LARGEST_ROOM = 350, 60, 12


def _files() -> list[Path]:
    return sorted(path for package in PACKAGES for path in (CHECKOUT / package).rglob("*.py"))


def _imports(path: Path) -> Iterator[str]:
    """The modules that a file imports, at its head or later, those for type checkers alone left out."""
    tree = ast.parse(path.read_text())
    for_types = [
        node for node in ast.walk(tree) if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
    ]
    hidden = {id(inner) for node in for_types for inner in ast.walk(node)}
    for node in ast.walk(tree):
        if id(node) in hidden:
            continue
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{name.name}" for name in node.names)


def _module(path: Path) -> tuple[str, ...]:
    return path.relative_to(CHECKOUT).with_suffix("").parts


def _room(path: Path) -> str | None:
    """The room of a file of the sandbox; None for the commands and the packages' own files."""
    parts = _module(path)
    return parts[1] if parts[0] == "sandbox" and len(parts) > 2 else None


@pytest.mark.parametrize("path", [path for path in _files() if _room(path)], ids=lambda path: "/".join(_module(path)))
def test_a_room_imports_only_those_below_it(path: Path) -> None:
    room = _room(path)
    assert room in FLOORS, "a new room wants a floor"
    for name in _imports(path):
        parts = name.split(".")
        assert parts[0] not in ("gan", "vae", "rl", "vision"), f"{path} imports a study: {name}"
        if parts[0] == "sandbox" and len(parts) > 1 and parts[1] in FLOORS:
            other = parts[1]
            assert other == room or FLOORS[other] > FLOORS[room], f"{room} imports {other}: {name}"


def _study_of(parts: tuple[str, ...] | list[str]) -> str | None:
    """The study that a module belongs to: a package, or a folder of one that has several; None: shared by these."""
    if parts[0] not in SHARED:
        return parts[0]
    folder = parts[1] if len(parts) > 1 else ""
    return None if folder in SHARED[parts[0]] else f"{parts[0]}.{folder}"


@pytest.mark.parametrize(
    "path", [path for path in _files() if _module(path)[0] != "sandbox"], ids=lambda path: "/".join(_module(path))
)
def test_a_study_imports_what_a_run_stands_on_and_no_other_study(path: Path) -> None:
    mine = _study_of(_module(path))
    for name in _imports(path):
        parts = name.split(".")
        if parts[0] == "sandbox":
            assert len(parts) < 2 or parts[1] in STUDIES_USE, f"{path} imports {name}"
        elif parts[0] in PACKAGES and len(parts) > 1:
            other = _study_of(parts)
            specs = {"vision.spec", "vision.coordinates"}  # the coordinate tasks are the study ``vision``
            assert other is None or other == mine or {mine, other} <= specs, f"{path} imports {name}"


def test_no_two_modules_import_each_other_in_a_circle() -> None:
    modules = {".".join(_module(path)).removesuffix(".__init__"): path for path in _files()}
    edges = {name: {other for other in _imports(path) if other in modules and other != name}
             for name, path in modules.items()}  # fmt: skip
    done: set[str] = set()

    def walk(name: str, above: tuple[str, ...]) -> None:
        assert name not in above, f"a circle: {' -> '.join([*above[above.index(name) :], name])}"
        if name not in done:
            for other in sorted(edges[name]):
                walk(other, (*above, name))
            done.add(name)

    for name in sorted(modules):
        walk(name, ())


def test_files_and_functions_are_of_reading_size() -> None:
    everything = [
        *_files(),
        *sorted((CHECKOUT / "tests").rglob("*.py")),
        *sorted((CHECKOUT / "benchmarks").glob("*.py")),
    ]
    for path in everything:
        text = path.read_text()
        assert text.count("\n") <= LONGEST_FILE, f"{path}: {text.count(chr(10))} lines"
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                size = (node.end_lineno or node.lineno) - node.lineno + 1
                assert size <= LONGEST_FUNCTION, f"{path}:{node.lineno} {node.name}: {size} lines"
    assert len([path for path in (CHECKOUT / "sandbox").iterdir() if path.is_file()]) <= LARGEST_ROOM


def test_the_bench_holds_no_list_of_studies() -> None:
    for path in _files():
        if _module(path)[0] == "sandbox" and _room(path):
            strings = {node.value for node in ast.walk(ast.parse(path.read_text()))
                       if isinstance(node, ast.Constant) and isinstance(node.value, str)}  # fmt: skip
            assert not strings & {"gan", "vae", "rl", "vision", "vision.position", "toy"}, path
