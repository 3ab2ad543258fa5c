"""What `python -m sandbox.vision` makes of its command line before the bench does: a probe's target names its run."""

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path

from sandbox.experiment.run import read_run

LONGEST = 48  # characters of a target in a folder's name


def arguments(given: Sequence[str]) -> list[str]:
    """The command line; a probe of a target that is no arm of the file gets a run folder of its own.

    ``--task position --target vgg16`` becomes ``--arm=vgg16``, and ``--target runs/gan/x/coord/seed-0`` gets
    ``--arm=probe --name=position_gan-x-coord-seed-0``, unless --config or --arm says otherwise; a --name stays.

    Raises:
        UserError: the target is to be a run, but there is none.
    """
    flags = {name: _value(given, name) for name in ("--task", "--target", "--target-module", "--config", "--name")}
    target = flags["--target"]
    if flags["--task"] != "position" or target is None:
        return list(given)
    if "/" in target:
        read_run(Path(target))  # before anything is written
    arms = {word.split("=")[0] for word in given} & {"--arm", "--coord", "--no-coord"}
    if arms or flags["--config"]:
        return list(given)
    from sandbox.experiment.file import load_experiment

    if load_experiment("vision/position").arms.get(target, {}).get("target") == target:
        return [*given, f"--arm={target}"]
    name = [] if flags["--name"] else [f"--name=position_{_slug(target, flags['--target-module'])}"]
    return [*given, "--arm=probe", *name]


def _value(words: Sequence[str], flag: str) -> str | None:
    for place, word in enumerate(words):
        if word.startswith(f"{flag}="):
            return word.removeprefix(f"{flag}=")
        if word == flag and place + 1 < len(words):
            return words[place + 1]
    return None


def _slug(target: str, module: str | None) -> str:
    """A target as part of a folder's name; of a path the last parts, told apart by a hash where it is long."""
    parts = [part for part in Path(target).parts if part not in ("/", "..", "runs")]
    text = re.sub(r"[^\w.-]", "-", "-".join([*parts, *([module] if module else [])]))
    if len(text) <= LONGEST:
        return text
    return f"{text[-LONGEST + 7 :].lstrip('-.')}-{hashlib.sha256(text.encode()).hexdigest()[:6]}"
