"""What `python -m sandbox.rl` makes of its command line before the bench reads it: games go by any of their names."""

from collections.abc import Sequence

from rl.config import RlConfig
from rl.games import canonical, games
from sandbox.errors import UserError


def arguments(given: Sequence[str]) -> list[str]:
    """The command line with the game's one name; a game other than the default's gets a run folder of its own.

    ``--env pong`` becomes ``--env=Pong --name=pong`` where neither --config nor --name says otherwise.

    Raises:
        UserError: there is no such game; the message has the nearest name.
    """
    rest = list(given)
    wanted = _take(rest, "--env")
    if wanted is None:
        return rest
    try:
        game = canonical(wanted)
    except UserError as error:
        raise UserError(f"--env: {error}") from None
    flags = {word.split("=")[0] for word in rest}
    default = RlConfig.model_fields["env"].default
    own = game != default and not flags & {"--config", "--name"}
    return [*rest, f"--env={game}", *[f"--name={games()[game]}"] * own]


def _take(words: list[str], flag: str) -> str | None:
    """Removes a flag and returns its value; None where it is not there or has none."""
    for place, word in enumerate(words):
        if word.startswith(f"{flag}="):
            return words.pop(place).removeprefix(f"{flag}=")
        if word == flag and place + 1 < len(words):
            words.pop(place)
            return words.pop(place)
    return None
