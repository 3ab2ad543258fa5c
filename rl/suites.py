"""The environments that an agent may play in, by suite: names, references, and how a vector of games is made.

A further suite is an entry of `SUITES`; its library is imported where its games are made, never before: a run of one
suite holds nothing of another's (ale-py is GPL-2.0-only, MinAtar GPL-3).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rl import games as atari
from rl.minatar import games as minatar
from rl.recipes import suite_name
from sandbox.base.errors import UserError, listed, nearest, one_line

if TYPE_CHECKING:
    from rl.spec import RlConfig
    from rl.vector import GameVecEnv


@dataclass(frozen=True)
class References:
    """What others score in a game: a random player, and who stands at the other end, ``who``."""

    random: float
    top: float
    who: str

    def normalised(self, score: float) -> float:
        """0 for the random player, 1 for the other."""
        return (score - self.random) / (self.top - self.random)


@dataclass(frozen=True)
class Suite:
    """A family of games.

    Attributes:
        title: its name in texts.
        canonical: any name of a game to the one that ``env`` holds; raises `UserError`.
        folder: an ``env`` to the name of the folder of its runs.
        references: an ``env`` to what others score in it; None where nothing is published.
        make: config, number of games, whether for learning, whether pictures are wanted -> the vector of games.
        normalised: tag of the score that compares between its games.
        skipped, held: agent steps before a reference game is shown, and that an action of it lasts.
    """

    title: str
    canonical: Callable[[str], str]
    folder: Callable[[str], str]
    references: Callable[[str], References | None]
    make: Callable[["RlConfig", int, bool, bool], "GameVecEnv"]
    normalised: str
    skipped: int
    held: int


def _atari_references(env: str) -> References | None:
    found = atari.REFERENCES.get(atari.games()[env])
    return None if found is None else References(*found, "a person")


def _atari_games(config: "RlConfig", count: int, learning: bool, pictures: bool) -> "GameVecEnv":
    from rl.envs import AtariVecEnv

    mode = "rgb_array" if pictures else None
    return AtariVecEnv(config.env, count, config.protocol(learning=learning), threads=config.threads, render_mode=mode)


def _minatar_references(env: str) -> References:
    game = minatar.game_of(env)
    return References(minatar.RANDOM[game], minatar.PUBLISHED[game], "the published actor-critic")


def _minatar_games(config: "RlConfig", count: int, learning: bool, pictures: bool) -> "GameVecEnv":
    from rl.minatar.envs import MinAtarVecEnv

    clip = config.clip_rewards and learning
    return MinAtarVecEnv(config.env, count, sticky=config.sticky, ramping=config.ramping,
                         max_frames=config.max_frames, clip_rewards=clip)  # fmt: skip


SUITES: dict[str, Suite] = {
    # Ms. Pac-Man plays a tune for 65 agent steps before anything moves; an action anew each step would go nowhere.
    "atari": Suite("Atari", atari.canonical, lambda env: atari.games()[env], _atari_references, _atari_games,
                   "score/human_normalised", skipped=80, held=8),
    "minatar": Suite("MinAtar", minatar.canonical, lambda env: f"minatar_{minatar.game_of(env)}", _minatar_references,
                     _minatar_games, "score/published_normalised", skipped=0, held=2),
}  # fmt: skip


def suite_of(env: str) -> Suite:
    """The suite of an environment: that before the colon, ``minatar:breakout``; without one Atari.

    Raises:
        UserError: there is no such suite.
    """
    name = suite_name(env)
    if name not in SUITES:
        raise UserError(f"no games {one_line(repr(name), 60)}: before the colon stands one of {listed(SUITES)}"
                        f"{nearest(name, SUITES)}")  # fmt: skip
    return SUITES[name]


def canonical(env: str) -> str:
    """The one name of an environment: ``MsPacman`` for ``atari:ms_pacman``, ``minatar:breakout``.

    Raises:
        UserError: there is no such suite or game; the message has the nearest name.
    """
    suite = suite_of(env)
    return suite.canonical(env.partition(":")[2] if suite is SUITES["atari"] and ":" in env else env)


def normalised(env: str, score: float) -> tuple[str, float]:
    """The tag and the value of the score that compares between games of a suite; NaN for a game without references."""
    suite = suite_of(env)
    found = suite.references(env)
    return suite.normalised, found.normalised(score) if found else math.nan
