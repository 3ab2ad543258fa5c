"""The games of MinAtar: their names, and what a random player and the published actor-critic score in them.

No import of MinAtar: what this needs stands here, so that ``--help`` is quick.
"""

import re
from importlib.util import find_spec

from sandbox.base.errors import UserError, listed, nearest, one_line

GAMES = ("asterix", "breakout", "freeway", "seaquest", "space_invaders")
PREFIX = "minatar:"
# Mean return of 1000 games of random play, six actions, sticky actions .1, ramping: measured here, by
# `rl.minatar.envs.random_returns`, seed 0; standard errors .03, .02, .01, .01, .07.
RANDOM: dict[str, float] = {
    "asterix": 0.50, "breakout": 0.52, "freeway": 0.13, "seaquest": 0.09, "space_invaders": 2.68,
}  # fmt: skip
# Actor-critic with eligibility traces of .8 after 5 million frames, mean of 30 seeds, read off the curves of Young and
# Tian 2019 (arXiv 1903.03176); no table is published. Without traces: 20.5, 15, 47, 7, 145; DQN: 17, 10, 50, 20, 44.
PUBLISHED: dict[str, float] = {
    "asterix": 19.0, "breakout": 17.5, "freeway": 47.0, "seaquest": 15.0, "space_invaders": 185.0,
}  # fmt: skip


def canonical(name: str) -> str:
    """The one name of a game: ``minatar:breakout`` for ``minatar:Breakout`` or ``MinAtar/Breakout-v1``.

    Raises:
        UserError: there is no such game; the message has the nearest name.
    """
    bare = re.sub(r"^minatar[:/_]|-v\d+$", "", name.strip(), flags=re.IGNORECASE)
    plain = {game.replace("_", ""): game for game in GAMES}
    found = plain.get(re.sub(r"[\s_-]", "", bare).lower())
    if found is None:
        close = nearest(bare.lower(), GAMES).replace("'", "").replace("did you mean ", f"did you mean {PREFIX}")
        raise UserError(f"no game {one_line(repr(bare), 60)} in MinAtar, which has {listed(GAMES)}{close}")
    return f"{PREFIX}{found}"


def game_of(env: str) -> str:
    """``breakout`` of ``minatar:breakout``."""
    return env.removeprefix(PREFIX)


def must_be_installed() -> None:
    """Raises `UserError` where the package is not there."""
    if find_spec("minatar") is None:
        raise UserError("the package MinAtar is not installed: pip install 'coordconv-sandbox[minatar]'")
