"""Any configuration and any command line is a plan or one line, soon and in little memory: never anything else.

FAULTS_EXAMPLES says how many documents and command lines are tried (default 200): 2000 take some minutes.
"""

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from shop import python

from sandbox.base.errors import UserError
from sandbox.cli.compare_parser import parse as parse_comparison
from sandbox.cli.train import parse as parse_run
from sandbox.experiment.document import parsed
from sandbox.experiment.names import config_names, find_config

MANY = settings(
    max_examples=int(os.environ.get("FAULTS_EXAMPLES", "200")),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)
LONGEST = 600  # characters of a line
SOON = 8.0  # seconds of the processor, those that checked types take in the tests included

TEXTS = [find_config(name).read_text() for name in config_names()]
# What a hand, an editor or a malicious person puts into a YAML file.
TOKENS = [
    "&a ", "*a", "<<: *a", "<<: [*a, *a]", "!!int ", "!!python/name:os.system ", "? ", ": ", "- ", "{", "}", "[", "]",
    "[[conv], coord]", "[{a: 1}]", "|\n", ">\n", "'", '"', "#", "%", "@", "`", "\t", "\n", "\r", "\0", "\x85", "\ufeff",
    "---\n", "...\n", "~", "null", "yes", "no", "on", "1:30", "010", "0x1F", "0b11", "1_000", "1e-3", "1e3", "1e400",
    ".inf", "-.inf", ".nan", "-1", "-0.0", "2024-01-01", "9" * 50, "9" * 5000, "x" * 5000, "=", "ü", "\U0001f600",
    "[" * 30, "{a: " * 30, "[0, 1, 2, 2]", "%(prog)s", "{}", "[]", "''", "'~/x'", "sweep: {conv: {steps: [1, 1.0]}}",
]  # fmt: skip
WORDS = ["study", "experiment", "arms", "compare", "tasks", "seeds", "sweep", "steps", "batch", "conv", "coord",
         "a", "gan", "rl", "vision", "vision.shift", "vision.position", "toy", "data_root", "<<", "~", ""]  # fmt: skip
SCALARS: st.SearchStrategy[Any] = (
    st.sampled_from(WORDS) | st.none() | st.booleans() | st.integers() | st.floats() | st.dates() | st.text(max_size=9)
    | st.just(10**4000) | st.binary(max_size=5)
)  # fmt: skip
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(WORDS) | SCALARS, inner, max_size=4),
)


@st.composite
def mutated_texts(draw: st.DrawFn) -> str:
    """A configuration of ours, some places of which are overwritten, cut out or repeated."""
    text = draw(st.sampled_from(TEXTS))
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(text)))
        end = min(len(text), start + draw(st.integers(0, 12)))
        piece = draw(st.sampled_from(TOKENS) | st.text(max_size=4) | st.just(text[start:end] * 2))
        text = text[:start] + piece + text[end:]
    return text


@st.composite
def mutated_documents(draw: st.DrawFn) -> str:
    """A configuration of ours with other values at some of its keys, and keys that it has not."""
    document = yaml.safe_load(draw(st.sampled_from(TEXTS)))
    for _ in range(draw(st.integers(1, 3))):
        place = document
        while draw(st.booleans()) and (inner := [item for item in place.values() if isinstance(item, dict) and item]):
            place = draw(st.sampled_from(inner))
        key = draw(st.sampled_from(list(place)) | st.sampled_from(WORDS) | SCALARS) if place else "steps"
        place[key] = draw(VALUES)
    if draw(st.booleans()):
        values = st.lists(
            st.sampled_from([1, 1.0, "1", "1e0", True, "yes", 8, "a/b", "x" * 99, None, [1], 1e30]), max_size=4
        )
        grid = st.dictionaries(st.sampled_from(["steps", "batch", "coord", "data_root", "lr", "x"]), values, max_size=3)
        arms = document.get("arms")
        document["sweep"] = {arm: draw(grid) for arm in (arms if isinstance(arms, dict) else ["conv"])}
    return yaml.safe_dump(document, sort_keys=False)


FLAGS = ["--seeds", "--arms", "--tasks", "--name", "--root", "--budget", "--sweep", "--report-only", "--smoke", "--ray",
         "--device", "--jobs", "--cpus", "--gpus", "--steps", "--batch", "--data-root", "--fid-weights", "--coord",
         "--arm", "--task", "--seed", "--lr", "--lr-g", "--target", "--weights", "--precision", "--env", "--config",
         "--no-compile", "--evaluate", "--overwrite", "--stepz", "-", "--", "---", "-x"]  # fmt: skip
GIVEN = ["", "0", "1", "3", "-1", "1,2", "1,1", "1,", ",", "1e3", "1e-3", "nan", "0x10", "conv", "coord", "cord",
         "~", "~/x", "~nobody-here", "a\0b", "../x", "x" * 300, "9" * 5000, "x" * 70_000, "ü", "\udcff", "%(prog)s",
         "%", "a", "auto", "cpu", "macs", "all", "/dev/null", ",".join(map(str, range(10_001))), "\n", "٣"]  # fmt: skip
LINES = st.lists(st.sampled_from(FLAGS) | st.sampled_from(GIVEN) | st.text(max_size=6), max_size=6).filter(
    lambda words: not any(word.startswith(("-h", "--help")) for word in words)
)


# ---- what takes all memory or all time where it is built before it is counted


def _laughs(levels: int, merge: bool = False) -> str:
    """Each level says the one below it nine times."""
    head = "experiment:\n  a0: &a0 {k: 1}\n"
    nine = [", ".join([f"*a{level - 1}"] * 9) for level in range(1, levels)]
    return head + "".join(f"  a{level}: &a{level} {{{'<<' if merge else 'k'}: [{names}]}}\n"
                          for level, names in enumerate(nine, 1))  # fmt: skip


def _numbers(count: int) -> str:
    return ", ".join(map(str, range(1, count + 1)))


def _keys(count: int) -> str:
    return ", ".join(f"k{k}: 1" for k in range(count))


SIX = ("steps", "batch", "width", "d_width", "latent", "log_every")
BOMBS = {
    "aliases of aliases": (_laughs(12), "more than 20000 keys and values, those that aliases repeat included"),
    "merges of merges": (_laughs(10, merge=True), "more than 20000 keys and values"),
    "a chain of aliases": ("experiment:\n  a0: &a0 {k: 1}\n" + "".join(
        f"  a{k}: &a{k} {{k: *a{k - 1}}}\n" for k in range(1, 900)), "nested more than 20 deep"),
    "two thousand aliases": ("experiment: {x: &a 1, y: [" + "*a, " * 2000 + "]}", "1000 aliases"),
    "an alias of itself": ("experiment: &a {steps: *a}", "an alias of itself"),
    "nested lists": ("experiment: " + "[" * 100_000, "nested more than 20 deep"),
    "nested mappings": ("experiment: " + "{a: " * 60_000, "nested more than 20 deep"),
    "many keys": (f"experiment: {{{_keys(40_000)}}}", "KiB, a config at most 256"),
    "fewer keys": (f"experiment: {{{_keys(9000)}}}", "unknown key 'k0'"),
    "many values": (f"experiment: {{steps: [{_numbers(30_000)}]}}", "20000 keys and values"),
    "many seeds": (f"seeds: [{_numbers(300_000)}]", "KiB, a config at most 256"),
    "fewer seeds": (f"seeds: [{_numbers(10_001)}]", "10001 seeds are more than 10000"),
    "many arms": (f"arms: {{{', '.join(f'a{k}: ' for k in range(9000))}}}", "9000 arms are more than the 2000"),
    "many tasks": (f"tasks: {{{', '.join(f'a{k}: ' for k in range(9000))}}}", "2 arms of 9000 tasks are more than"),
    "many runs": (f"seeds: [{_numbers(9000)}]\ntasks: {{a: , b: }}", "are 36000 runs: at most 20000"),
    "a sweep": (f"sweep: {{conv: {{{', '.join(f'{name}: [{_numbers(59)}]' for name in SIX)}}}}}",
                "42180533641 combinations: at most 1000"),
    "a long number": ("experiment: {steps: " + "9" * 5000 + "}", "5000 characters"),
    "a number of 4000 digits": ("experiment: {steps: " + "9" * 4000 + "}", "a whole number of about"),
    "a long text": ("experiment: {data_root: " + "x" * 5000 + "}", "5000 characters"),
    "long lists as values": (f"experiment: {{steps: [{', '.join(['xxxxxxxx'] * 9000)}]}}", "steps in"),
}  # fmt: skip


def test_a_file_that_means_too_much_is_one_line_soon_and_in_little_memory(tmp_path: Path) -> None:
    for name, (text, _) in BOMBS.items():
        (tmp_path / f"{name.replace(' ', '_')}.yaml").write_text(f"study: gan\n{text}")
    code = """
import json, re, sys, time
from pathlib import Path
from sandbox.base.errors import UserError
from sandbox.cli.compare_parser import parse
found = {}
for path in sorted(Path().glob("*.yaml")):
    start = time.process_time()
    try:
        parse([str(path), *["--sweep"] * (path.stem == "a_sweep")])
    except UserError as error:
        found[path.stem] = str(error), time.process_time() - start
    # Not getrusage: a process that was forked from a large one counts that one's memory.
    most = re.search(r"VmHWM:\\s*(\\d+) kB", Path("/proc/self/status").read_text())
    assert most is None or int(most[1]) < 300 * 1024, path
json.dump(found, sys.stdout)
"""
    done = python("-c", code, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    for name, (_, words) in BOMBS.items():
        line, seconds = found[name.replace(" ", "_")]
        assert words in line
        assert len(line) < LONGEST
        assert "\n" not in line
        assert seconds < SOON


@pytest.mark.parametrize("name", [name for name, (text, _) in BOMBS.items() if len(text) < 60_000])
def test_both_of_yaml_s_readers_have_the_same_bounds(name: str) -> None:
    said = []
    for loader in (yaml.SafeLoader, getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
        try:
            said.append(repr(parsed(BOMBS[name][0], loader)))
        except yaml.YAMLError as error:
            said.append(str(error))
    assert said[0] == said[1]


# ---- anything at all


def judged(arguments: list[str]) -> list[str]:
    """What `compare` and `train` say to a command line, having made a plan of it or complained in a line, and soon."""
    said = []
    for parse in (parse_comparison, lambda words: parse_run(None, words)):
        start = time.process_time()
        try:
            parse(arguments)
        except UserError as error:
            said.append(str(error))
        assert time.process_time() - start < SOON
    for line in said:
        assert len(line) < LONGEST, line
        assert line.strip(), "a complaint says something"
        assert not set(line) & set("\n\r\0\x1b\x85\u2028"), line
    return said


@MANY
@given(mutated_texts() | mutated_documents(), st.just([]) | st.just(["--sweep"]) | LINES)
def test_any_configuration_is_a_plan_or_one_line(tmp_path: Path, toy: str, text: str, flags: list[str]) -> None:
    path = tmp_path / "c.yaml"
    path.write_bytes(text.encode(errors="surrogatepass"))
    judged([str(path), *flags])


@MANY
@given(st.sampled_from(config_names()) | st.sampled_from(GIVEN) | st.text(max_size=6), LINES)
def test_any_command_line_is_a_plan_or_one_line(toy: str, name: str, flags: list[str]) -> None:
    if not name.startswith("-h"):
        judged([name, *flags])
