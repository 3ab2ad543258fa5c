"""How a game is shown to an agent: every choice that changes a score, printed and stored with each run."""

from dataclasses import asdict, dataclass
from typing import Any, Literal

Restart = Literal["native", "sb3"]


@dataclass(frozen=True)
class Protocol:
    """The rules of play. The defaults are those of stable-baselines3's Atari wrappers, but for ``restart``.

    Machado et al. 2018 (arXiv 1709.06009) discuss the choices; Mnih et al. 2015 made most of them first.

    Attributes:
        frameskip: emulator frames in one agent step; the action is held, the rewards are summed.
        maxpool: a picture is the pixelwise maximum of the last two frames of its step (sprites flicker).
        sticky: probability that a frame repeats the action before it: 0, or 0.25 as in gymnasium's v5 games.
        noop_max: a game starts after 0 to ``noop_max - 1`` frames without action (stable-baselines3: 1 to 30).
        fire_start: FIRE is pressed once at the start of a game that waits for it.
        life_loss: a lost life ends the learner's episode; the game plays on. Not in evaluations.
        clip_rewards: the learner is given the sign of the reward. Whole games are always counted in full.
        restart: after a lost life. ``native``: the game plays straight on. ``sb3``: as stable-baselines3 does, one
            step without action, where there is a FIRE button one step of it and one of the third action, and a stack
            of pictures that is empty but for the newest; these steps are taken at the start of a game, too.
        full_actions: all 18 actions instead of those that do something in the game.
        size: pictures are grey, ``size x size``, averaged over areas.
        stack: pictures in an observation, the newest last.
        max_frames: a game is cut after so many frames (30 minutes of play); the no-ops are not counted.
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

    def document(self) -> dict[str, Any]:
        """Every choice by its name, for files."""
        return asdict(self)

    def __str__(self) -> str:
        return ", ".join(f"{name} {value}" for name, value in self.document().items())
