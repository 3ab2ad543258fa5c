"""What `python -m sandbox.rl` makes of its command line before the bench reads it: games go by any of their names."""

from collections.abc import Sequence

from rl.games import canonical
from sandbox.base.errors import UserError


def arguments(given: Sequence[str]) -> list[str]:
    """The command line with the game's one name: ``--env ms_pacman`` becomes ``--env MsPacman``.

    Raises:
        UserError: there is no such game; the message has the nearest name.
    """
    words = list(given)
    for place, word in enumerate(words):
        if word.startswith("--env="):
            words[place] = f"--env={_game(word.removeprefix('--env='))}"
        elif place and words[place - 1] == "--env" and not word.startswith("-"):
            words[place] = _game(word)
    return words


def _game(name: str) -> str:
    try:
        return canonical(name)
    except UserError as error:
        raise UserError(f"--env: {error}") from None
