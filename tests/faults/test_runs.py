"""A run's folder with any of its files damaged in any way: the same command again, --evaluate, going on."""

import shutil
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from damage import FILES, FOLDERS, SHAPES, Answer, Damage, bounded, commanded, commanded_apart, marked, other, snapshot
from shop import Workshop, outcome, wrapped

from sandbox.cli.train import main

PLACE = Path("toy/toy/coord/seed-0")
NEWEST = {"finished": "checkpoints/step-00000011", "interrupted": "checkpoints/step-00000009"}
JSON = ("environment.json", "result.json", "NEWEST/manifest.json")
FILES_READ = (
    "config.yaml", "metrics.jsonl", "EVENTS", "samples/step-00000008.png", "samples/step-00000011.png",
    "samples/interpolation.gif", "samples/training.gif", "NEWEST/state.pt", "NEWEST/body.safetensors",
    "NEWEST/head.safetensors", *JSON,
)  # fmt: skip
FOLDERS_READ = ("NEWEST", "OLDER", "checkpoints", "samples", ".lock")
OTHERS = ("seed", "arm", "rate", "steps")
ACTIONS = ("again", "evaluate", "goes on")
PARTIAL = ("samples/step-00000011.png", "samples/interpolation.gif", "samples/training.gif", "result.json")


@dataclass(frozen=True)
class Runs:
    """A finished run, one killed after its checkpoint of step 9, runs of other settings; nobody's to change.

    Attributes:
        expected: `shop.outcome` of the finished one, and of every one of its kind.
    """

    finished: Path
    interrupted: Path
    others: dict[str, Path]
    expected: dict[str, Any]


@pytest.fixture(scope="module")
def runs(workshop: Workshop, tmp_path_factory: pytest.TempPathFactory) -> Runs:
    root = tmp_path_factory.mktemp("runs")
    settings = {"seed": ("--seed", 1), "arm": ("--no-coord",), "rate": ("--rate", 0.5), "steps": ("--steps", 20)}
    kill = "def new(self, step):\n    if step == 10: os.kill(os.getpid(), signal.SIGKILL)\n    return old(self, step)"
    killed = workshop.toy("--root", root / "interrupted", before=wrapped("step", kill))
    made = {name: workshop.toy("--root", root / name, *settings.get(name, ())) for name in ("finished", *OTHERS)}
    assert killed.wait() == -signal.SIGKILL
    assert [command.wait() for command in made.values()] == [0] * len(made)
    main("toy", ["--root", str(root / "warm")])  # what is loaded at the first time takes longer than a command may
    places = {name: next((root / name).glob("toy/toy/*/seed-*")) for name in made}
    return Runs(root / "finished", root / "interrupted", {name: places[name] for name in OTHERS},
                outcome(places["finished"]))  # fmt: skip


def locate(folder: Path, place: str) -> Path:
    """A place of the table in a run's folder."""
    steps = sorted((folder / "checkpoints").glob("step-*"))
    if place == "EVENTS":
        return next(folder.glob("events.*"))
    if place.startswith(("NEWEST", "OLDER")):
        head, _, rest = place.partition("/")
        return steps[-1 if head == "NEWEST" else 0] / rest
    return folder / place


def cases() -> list[tuple[str, str, str]]:
    """What is done, where the damage is and of which kind."""
    found = []
    for action in ACTIONS:
        for place in (*FILES_READ, *FOLDERS_READ):
            if action == "goes on" and place in PARTIAL:
                continue  # not there yet
            kinds = [*(FOLDERS if place in FOLDERS_READ else FILES), *(SHAPES if place in JSON else ())]
            names = OTHERS[:3] if place.endswith("11.png") else OTHERS if place != ".lock" else ()
            others = [f"of another {name}" for name in names]
            found += [(action, place, kind) for kind in (*kinds, *others)]
    return found


NO_FILE = ("dead link", "link to itself", "link to zeros", "link to null", "pipe", "socket", "folder")
NO_FOLDER = (*NO_FILE[:-1], "file")
HELD = ("state.pt", "body.safetensors", "head.safetensors")
TAIL = ("a byte short",)  # the end of the last line
DRAWN = ("a byte short", "longer", "flipped at 0.71", "flipped at 1")  # the same picture still
ALL_OTHERS = tuple(f"of another {name}" for name in OTHERS)  # toys' pictures are all alike
# What comes out: mostly, and for these kinds. A complete run looks at no more than it prints.
EXPECTED: dict[tuple[str, str], tuple[str, dict[str, tuple[str, ...]]]] = {
    **{("again", place): ("same", {}) for place in (*FILES_READ, *FOLDERS_READ)},
    **{(action, "config.yaml"): ("refused", {"same": TAIL}) for action in ACTIONS},
    **{(action, "environment.json"): ("said", {"same": TAIL}) for action in ACTIONS},
    **{(action, "result.json"): ("said", {"same": ("missing", *TAIL)}) for action in ACTIONS},
    **{(action, ".lock"): ("said", {"same": ("missing", "file")}) for action in ACTIONS},
    ("again", "metrics.jsonl"): ("same", {"said": NO_FILE}),
    **{("again", place): ("same", {"said": NO_FOLDER}) for place in ("checkpoints", "samples")},
    ("evaluate", "metrics.jsonl"): ("said", {"same": (*TAIL, "longer", "flipped at 1")}),  # behind the last checkpoint
    ("evaluate", "EVENTS"): ("said", {"same": ("truncated", *TAIL, "half zeroed", "longer", "flipped at 0.37",
                                               "flipped at 0.71", "flipped at 1")}),
    **{("evaluate", f"samples/{name}.gif"): ("same", {"said": NO_FILE}) for name in ("interpolation", "training")},
    **{("evaluate", place): ("refused", {"same": ("moved",)}) for place in ("NEWEST", "checkpoints")},
    **{("evaluate", f"NEWEST/{name}"): ("refused", {}) for name in HELD},
    ("evaluate", "NEWEST/manifest.json"): ("refused", {"same": TAIL}),
    **{(action, "OLDER"): ("same", {}) for action in ACTIONS},
    ("goes on", "metrics.jsonl"): ("said", {"same": ("longer", "of another steps")}),  # so far they are the same
    ("goes on", "EVENTS"): ("said", {"same": ("longer",)}),
    **{("goes on", f"NEWEST/{name}"): ("said", {}) for name in HELD},
    ("goes on", "NEWEST/manifest.json"): ("said", {"same": TAIL}),
    ("goes on", "NEWEST"): ("said", {"same": ("missing", "moved")}),  # from the one before, or the start
    ("goes on", "checkpoints"): ("said", {"same": ("missing", "emptied", "moved")}),
    **{(action, f"samples/step-000000{step}.png"): ("said", {"same": (*DRAWN, *ALL_OTHERS)})
       for action in ("evaluate", "goes on") for step in ("08", "11")},
    **{(action, "samples"): ("said", {"same": ("moved", *ALL_OTHERS)}) for action in ("evaluate", "goes on")},
}  # fmt: skip
# The run of more steps has no grid of step 11: of its grids as a whole an evaluation misses one.
EXPECTED["evaluate", "samples"] = ("said", {"same": ("moved", *ALL_OTHERS[:3])})


def damaged(runs: Runs, root: Path, action: str, place: str, kind: str) -> Path:
    """A copy of a run, damaged at a place. Returns what was damaged."""
    source = runs.interrupted if action == "goes on" else runs.finished
    shutil.copytree(source, root, symlinks=True)
    path = locate(root / PLACE, place)
    change: Damage | None = {**FILES, **FOLDERS, **SHAPES}.get(kind)
    if place in FOLDERS_READ:
        change = FOLDERS.get(kind)
    if change is None:
        change = other(locate(runs.others[kind.removeprefix("of another ")], place))
    change(path)
    return path


def _but(whole: dict[str, Any], place: str) -> dict[str, Any]:
    """An outcome without the damaged pictures, which nothing makes again, and the end of the last line of a text."""
    samples = {name: content for name, content in whole["samples"].items()
               if not name.startswith(place) or name.endswith("gif")}  # fmt: skip
    return {**whole, "config": whole["config"].rstrip(), "samples": samples if place != "samples" else {}}


def judge(answer: Answer, folder: Path, path: Path, before: dict[str, object], runs: Runs) -> str:
    """`same`, `said` or `refused`, having checked what each of these promises."""
    after = snapshot(folder)
    if answer.code:
        assert answer.code in (1, 2)
        (line,) = answer.lines
        assert line.startswith("error: ")
        assert str(path) in line or str(path.parent) in line, f"names nothing: {line}"
        assert after == before, "refused, and yet something was changed"
        return "refused"
    assert f"score/error      {runs.expected['scores']['score/error']:.4g}" in answer.stdout, "other scores"
    told = [line for line in answer.warnings if path.name in line or path.parent.name in line]
    assert bool(told) == bool(answer.warnings), f"says nothing of {path.name}: {answer.lines}"
    if "is complete (" in answer.stdout:  # it looks at no more than it prints
        assert told or after == before, "changed in silence"
        return "said" if told else "same"
    found, expected = (_but(whole, path.relative_to(folder).as_posix()) for whole in (outcome(folder), runs.expected))
    differs = [key for key in found if found[key] != expected[key]]
    assert not {"weights", "state", "scores", "config"} & set(differs), f"other {differs}: {answer.lines}"
    assert told or not differs, f"other {differs}, nothing said of {path.name}: {answer.lines}"
    return "said" if told else "same"


@pytest.mark.parametrize(("action", "place", "kind"), marked(cases(), 5), ids=lambda word: word.replace("/", ":"))
def test_a_damaged_file_is_made_again_said_or_refused(
    workshop: Workshop,
    runs: Runs,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    action: str,
    place: str,
    kind: str,
) -> None:
    path = damaged(runs, tmp_path / "r", action, place, kind)
    folder = tmp_path / "r" / PLACE
    before = snapshot(folder)
    words = ["--root", str(tmp_path / "r"), *(["--evaluate"] if action == "evaluate" else [])]
    if action == "evaluate" or "result.json" in before:
        answer = commanded(lambda: main("toy", words), capsys)
    else:
        answer = commanded_apart(workshop.toy(*words))
    with bounded():
        verdict = judge(answer, folder, path, before, runs)
    usual, exceptions = EXPECTED[action, place]
    assert verdict == next((word for word, kinds in exceptions.items() if kind in kinds), usual), answer.lines
