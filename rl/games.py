"""The games of ale-py: one canonical name for each, and what a random player and a person score in them.

No import of ale-py: a list of its ROM files is all this needs, so that ``--help`` is quick.
"""

import re
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

from sandbox.base.errors import UserError, nearest, one_line

# Game: (random player, professional human tester), mean undiscounted return of at least three games from no-op starts,
# games cut at 108,000 frames; as used by Badia et al. 2020 (arXiv 2003.13350). Random: Mnih et al. 2015 (doi
# 10.1038/nature14236), Extended Data Table 2. Human: Wang et al. 2016 (arXiv 1511.06581), whose numbers differ
# from those of Mnih et al. for many games (Breakout: 31.8 there, 30.5 here).
REFERENCES: dict[str, tuple[float, float]] = {
    "alien": (227.8, 7127.7),
    "amidar": (5.8, 1719.5),
    "assault": (222.4, 742.0),
    "asterix": (210.0, 8503.3),
    "asteroids": (719.1, 47388.7),
    "atlantis": (12850.0, 29028.1),
    "bank_heist": (14.2, 753.1),
    "battle_zone": (2360.0, 37187.5),
    "beam_rider": (363.9, 16926.5),
    "berzerk": (123.7, 2630.4),
    "bowling": (23.1, 160.7),
    "boxing": (0.1, 12.1),
    "breakout": (1.7, 30.5),
    "centipede": (2090.9, 12017.0),
    "chopper_command": (811.0, 7387.8),
    "crazy_climber": (10780.5, 35829.4),
    "defender": (2874.5, 18688.9),
    "demon_attack": (152.1, 1971.0),
    "double_dunk": (-18.6, -16.4),
    "enduro": (0.0, 860.5),
    "fishing_derby": (-91.7, -38.7),
    "freeway": (0.0, 29.6),
    "frostbite": (65.2, 4334.7),
    "gopher": (257.6, 2412.5),
    "gravitar": (173.0, 3351.4),
    "hero": (1027.0, 30826.4),
    "ice_hockey": (-11.2, 0.9),
    "jamesbond": (29.0, 302.8),
    "kangaroo": (52.0, 3035.0),
    "krull": (1598.0, 2665.5),
    "kung_fu_master": (258.5, 22736.3),
    "montezuma_revenge": (0.0, 4753.3),
    "ms_pacman": (307.3, 6951.6),
    "name_this_game": (2292.3, 8049.0),
    "phoenix": (761.4, 7242.6),
    "pitfall": (-229.4, 6463.7),
    "pong": (-20.7, 14.6),
    "private_eye": (24.9, 69571.3),
    "qbert": (163.9, 13455.0),
    "riverraid": (1338.5, 17118.0),
    "road_runner": (11.5, 7845.0),
    "robotank": (2.2, 11.9),
    "seaquest": (68.4, 42054.7),
    "skiing": (-17098.1, -4336.9),
    "solaris": (1236.3, 12326.7),
    "space_invaders": (148.0, 1668.7),
    "star_gunner": (664.0, 10250.0),
    "surround": (-10.0, 6.5),
    "tennis": (-23.8, -8.3),
    "time_pilot": (3568.0, 5229.2),
    "tutankham": (11.4, 167.6),
    "up_n_down": (533.4, 11693.2),
    "venture": (0.0, 1187.5),
    "video_pinball": (16256.9, 17667.9),
    "wizard_of_wor": (563.5, 4756.5),
    "yars_revenge": (3092.9, 54576.9),
    "zaxxon": (32.5, 9173.3),
}


@lru_cache(maxsize=1)
def games() -> dict[str, str]:
    """Canonical name -> name of the ROM, for every game that ale-py brings: ``MsPacman`` -> ``ms_pacman``.

    Raises:
        UserError: ale-py is not installed.
    """
    spec = find_spec("ale_py")
    if spec is None or spec.origin is None:
        raise UserError("the package ale-py is not installed: pip install ale-py")
    roms = sorted(path.stem for path in Path(spec.origin).parent.glob("roms/*.bin"))
    return {rom.title().replace("_", ""): rom for rom in roms}


def canonical(name: str) -> str:
    """The one name of a game: ``MsPacman`` for ``ms_pacman``, ``ALE/MsPacman-v5`` or ``MsPacmanNoFrameskip-v4``.

    Raises:
        UserError: there is no such game; the message has the nearest name.
    """
    bare = re.sub(r"^ALE/|(NoFrameskip|Deterministic)?-v\d+$", "", name.strip(), flags=re.IGNORECASE)
    plain = {game.lower(): game for game in games()}
    found = plain.get(re.sub(r"[\s_-]", "", bare).lower())
    if found is None:
        close = nearest(bare.lower(), plain)
        for lower, game in plain.items():  # compared in lower case, shown as it is written
            close = close.replace(repr(lower), repr(game))
        raise UserError(
            f"no game {one_line(repr(name), 60)} among the {len(plain)} of ale-py{close or ', such as MsPacman'}"
        )
    return found


def human_normalised(game: str, score: float) -> float:
    """0 for a random player, 1 for the human tester; NaN for a game that has no published references.

    Raises:
        UserError: there is no such game.
    """
    rom = games()[canonical(game)]
    if rom not in REFERENCES:
        return float("nan")
    random, human = REFERENCES[rom]
    return (score - random) / (human - random)
