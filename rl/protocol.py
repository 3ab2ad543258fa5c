"""How a game is shown to an agent: every choice that changes a score, printed and stored with each run."""

import math
import operator
from dataclasses import asdict, dataclass
from numbers import Real
from typing import Any, Literal, get_args

from sandbox.base.errors import one_line

Restart = Literal["native", "sb3"]
LIMITS = {"frameskip": (1, 64), "noop_max": (0, 1000), "size": (1, 1024), "stack": (1, 64), "max_frames": (1, 10**9)}


def whole(name: str, value: object, low: int, high: int) -> int:
    """A whole number in ``low..high``, of Python or NumPy.

    Raises:
        ValueError: it is none; the message calls it ``name``.
    """
    try:
        number = None if isinstance(value, bool) else operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        number = None
    if number is None or not low <= number <= high:
        raise ValueError(f"{name} must be a whole number from {low} to {high}, not {shown(value)}")
    return number


def real(name: str, value: object, low: float, high: float) -> float:
    """A number in ``low..high``, of Python or NumPy.

    Raises:
        ValueError: it is none, NaN perhaps; the message calls it ``name``.
    """
    try:
        number = float(value) if not isinstance(value, bool) and isinstance(value, Real) else math.nan
    except OverflowError:  # a whole number that is larger than every float
        number = math.inf
    if not low <= number <= high:
        raise ValueError(f"{name} must be a number from {low:g} to {high:g}, not {shown(value)}")
    return number


def shown(value: object) -> str:
    """A value in a message of one line."""
    return one_line(repr(value), 80)


@dataclass(frozen=True)
class Protocol:
    """The rules of play. The defaults are those of stable-baselines3's Atari wrappers, but for ``restart``.

    Machado et al. 2018 (arXiv 1709.06009) discuss the choices; Mnih et al. 2015 made most of them first.

    Attributes:
        frameskip: emulator frames in one agent step, 1 to 64; the action is held, the rewards are summed.
        maxpool: a picture is the pixelwise maximum of the last two frames of its step (sprites flicker).
        sticky: probability, 0 to 1, that a frame repeats the action before it: 0.25 in gymnasium's v5 games.
        noop_max: a game starts after 0 to ``noop_max - 1`` frames without action (stable-baselines3: 1 to 30); 0 to
            1000.
        fire_start: FIRE is pressed once at the start of a game that waits for it.
        life_loss: a lost life ends the learner's episode; the game plays on. Not in evaluations.
        clip_rewards: the learner is given the sign of the reward. Whole games are always counted in full.
        restart: after a lost life. ``native``: the game plays straight on. ``sb3``: as stable-baselines3 does, one
            step without action, where there is a FIRE button one step of it and one of the third action, and a stack
            of pictures that is empty but for the newest; these steps are taken at the start of a game, too.
        full_actions: all 18 actions instead of those that do something in the game.
        size: pictures are grey, ``size x size``, averaged over areas; 1 to 1024.
        stack: pictures in an observation, the newest last; 1 to 64.
        max_frames: a game is cut after so many frames (30 minutes of play), 1 to 10**9; the no-ops are not counted.

    Raises:
        ValueError: a choice is out of its range or of another type; the message names it.
    """

    frameskip: int = 4
    maxpool: bool = True
    sticky: float = 0.0
    noop_max: int = 30
    fire_start: bool = True
    life_loss: bool = True
    clip_rewards: bool = True
    restart: Restart = "native"
    full_actions: bool = False
    size: int = 84
    stack: int = 4
    max_frames: int = 108_000

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if name in LIMITS:
                object.__setattr__(self, name, whole(name, value, *LIMITS[name]))  # a NumPy number has no JSON
            elif name == "restart":
                if value not in (allowed := get_args(Restart)):
                    raise ValueError(f"restart must be {' or '.join(map(repr, allowed))}, not {shown(value)}")
            elif name == "sticky":
                object.__setattr__(self, name, real(name, value, 0.0, 1.0))
            elif not isinstance(value, bool):
                raise ValueError(f"{name} must be True or False, not {shown(value)}")

    def document(self) -> dict[str, Any]:
        """Every choice by its name, for files."""
        return asdict(self)

    def __str__(self) -> str:
        return ", ".join(f"{name} {value}" for name, value in self.document().items())
