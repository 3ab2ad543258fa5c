"""Settings and scores of the reinforcement learning study. No torch, no emulator: ``--help`` reads this alone."""

from typing import ClassVar, Literal, Self

from pydantic import Field, field_validator, model_validator

from rl.games import canonical, games
from rl.protocol import Protocol, Restart
from sandbox.base.errors import UserError
from sandbox.base.types import CoordLayers
from sandbox.experiment.config import Config
from sandbox.experiment.spec import Captions, Margin, Score, Scored, StudySpec

Padding = Literal["none", "zeros", "reflect", "replicate", "circular"]
Pooling = Literal["flatten", "mean", "max"]
Heads = Literal["shared", "actor"]
ZOO = "RL Baselines3 Zoo, hyperparams/a2c.yml, atari"
SB3 = "stable-baselines3's default for A2C, which the Zoo keeps"


class RlConfig(Config):
    """An agent on an Atari game. Defaults are those of the Zoo's A2C; the network's are Mnih et al. 2015.

    A step is one update of A2C; ``batch`` agent steps, ``envs`` games times ``batch / envs`` steps each, feed it.
    """

    task_field: ClassVar[str] = "env"
    PLACES: ClassVar[tuple[str, ...]] = ("threads",)
    DATA: ClassVar[tuple[str, ...]] = (
        "batch", "envs", "env", "frameskip", "sticky", "noop_max", "life_loss", "clip_rewards", "restart", "max_frames",
    )  # fmt: skip

    env: str = Field("MsPacman", description="a game of ale-py by any of its names: MsPacman, ms_pacman")
    steps: int = Field(125_000, ge=1, le=10**9, description=f"updates; 125,000 of 80: 10 M agent steps ({ZOO})")
    batch: int = Field(80, ge=2, le=2**20, description="agent steps in an update: envs x 5 (5: " + SB3 + ")")
    envs: int = Field(16, ge=1, le=4096, description=f"games at a time ({ZOO})")
    log_every: int = Field(100, ge=1, le=10**9, description="updates between two points of a curve")
    preview_every: int = Field(12_500, ge=1, le=10**9, description="updates between two pictures of the games")
    checkpoint_every: int = Field(2_500, ge=1, le=10**9, description="updates between two checkpoints")

    coord_layers: CoordLayers = Field(
        "first", description="which convolutions know coordinates: first, all, or names of layers"
    )
    with_r: bool = Field(False, description="the radius as a third coordinate")
    padding_mode: Padding = Field("none", description="padding of convolutions; none: as published")
    pooling: Pooling = Field("flatten", description="end of the convolutions: all places (as published), mean or max")
    heads: Heads = Field(
        "shared", description="one trunk for actor and critic; or one each, coordinates in the actor's alone"
    )
    width: int = Field(32, ge=1, le=512, description="channels of the first convolution; the others have twice as many")

    lr: float = Field(7e-4, gt=0, le=1, description=f"learning rate ({SB3})")
    lr_schedule: Literal["constant", "linear"] = Field("constant", description=f"linear: falls to 0 ({SB3}: constant)")
    gamma: float = Field(0.99, gt=0, le=1, description=f"discount ({SB3})")
    gae_lambda: float = Field(1.0, ge=0, le=1, description=f"of generalised advantages; 1: plain returns ({SB3})")
    entropy: float = Field(0.01, ge=0, le=1, description=f"weight of the entropy ({ZOO})")
    value: float = Field(0.25, ge=0, le=10, description=f"weight of the critic's loss ({ZOO})")
    max_grad_norm: float = Field(0.5, gt=0, le=100, description=f"gradients are cut to this length ({SB3})")
    rms_decay: float = Field(0.99, ge=0, lt=1, description="RMSpropTFLike's decay of squared gradients (its default)")
    rms_eps: float = Field(1e-5, gt=0, le=1, description=f"RMSpropTFLike's epsilon ({ZOO})")

    frameskip: int = Field(4, ge=1, le=64, description="emulator frames in an agent step")
    sticky: float = Field(0.0, ge=0, le=1, description="probability that a frame repeats the action before (v5: 0.25)")
    noop_max: int = Field(
        30, ge=0, le=1000, description="games start after fewer no-op frames than this, not counted in max_frames"
    )
    life_loss: bool = Field(True, description="a lost life ends the learner's episode (not in the evaluation)")
    clip_rewards: bool = Field(True, description="the learner sees the sign of the reward (not in the evaluation)")
    restart: Restart = Field(
        "native", description="after a lost life: plays straight on; sb3: NOOP, FIRE and an emptied stack"
    )
    max_frames: int = Field(108_000, ge=4, le=10**7, description="a game is cut after so many frames (30 minutes)")
    games: int = Field(30, ge=1, le=10_000, description="whole games of the evaluation")
    saliency: int = Field(
        60, ge=0, le=2000, description="frames of the film of what the agent looks at; fewer than 2: no such film"
    )
    deterministic: bool = Field(
        False, description="the evaluated agent takes its likeliest action; off: draws it, as the Zoo does on Atari"
    )
    threads: int = Field(0, ge=0, le=1024, description="threads that emulate; 0: one a core (restart sb3: one a game)")

    @field_validator("env", mode="before")
    @classmethod
    def _one_name(cls, value: object) -> str:
        try:
            return canonical(str(value))
        except UserError as error:
            raise ValueError(str(error)) from None

    @model_validator(mode="after")
    def _whole_steps(self) -> Self:
        if self.batch % self.envs:
            raise ValueError(f"batch ({self.batch}) must be a multiple of envs ({self.envs}), such as {5 * self.envs}")
        return self

    @property
    def n_steps(self) -> int:
        """Agent steps of each game in an update."""
        return self.batch // self.envs

    @classmethod
    def task_name(cls, text: str) -> str:
        """The game's one name: ``MsPacman`` for ``ms_pacman`` or ``ALE/MsPacman-v5``."""
        return canonical(text)

    @property
    def task_folder(self) -> str:
        """``ms_pacman``, as the study's own command names it."""
        return games()[self.env]

    def protocol(self, *, learning: bool) -> Protocol:
        """The rules of play: of training, or of the evaluation, which plays whole games for their own score."""
        return Protocol(
            frameskip=self.frameskip, sticky=self.sticky, noop_max=self.noop_max, restart=self.restart,
            max_frames=self.max_frames, life_loss=self.life_loss and learning,
            clip_rewards=self.clip_rewards and learning,
        )  # fmt: skip

    def differs_by_coordinates_alone(self, other: Config) -> bool:
        """Whether only coordinates differ, of whatever kind."""
        fields = {name: getattr(other, name) for name in ("coord", "coord_layers", "with_r")}
        return self.model_copy(update=fields) == other

    def shrunk(self) -> Self:
        """The recipe in seconds: two games, a thin network, games cut after a few seconds of play."""
        fields = {"envs": 2, "width": 4, "games": 2, "saliency": 4, "max_frames": 400, "threads": 1}
        return super().shrunk().model_copy(update=fields)


def margin(config: RlConfig) -> Margin | None:
    """A twentieth of what lies between a random player and a person; None for a game without published references."""
    from rl.games import REFERENCES, games

    found = REFERENCES.get(games()[config.env])
    if found is None:
        return None
    between = abs(found[1] - found[0])
    return Margin(
        0.05 * between, f"a twentieth of the {between:g} points between random play and a person", fresh_from=6
    )


def failed(config: RlConfig, scores: Scored) -> str:
    """Whether an agent plays no better than a random player."""
    from rl.games import REFERENCES, games

    random, value = REFERENCES.get(games()[config.env], (None, None))[0], scores.get("score/return")
    beaten = random is None or value is None or value > random
    return "" if beaten else f"return {value:.4g}, random play has {random:g}"


SCORES = (
    Score(
        "score/return",
        "higher",
        "return of a whole game (points)",
        primary=True,
        curve="rollout/ep_rew_mean",
        margin=margin,
    ),
    Score("score/human_normalised", "higher", "human-normalised return (0 random, 1 human)", pooled=True),
    Score("score/return_without_coordinates", "higher", "return with every place's coordinates averaged (points)"),
)
CAPTIONS = Captions(
    counted="agent steps",
    samples="What the agents see as training ends: the newest picture of each game.",
    film="The arms side by side at play, each a game of its own.",
    film_name="play",
    films={
        "saliency": "What the choice of action hangs on, every arm asked about the same recorded game of random play. "
        "Orange: how many of its choices would be others if that place of the picture were blurred; blue, in arms "
        "with coordinates: if the coordinates there were an average place's. Full colour: a tenth of them or more.",
    },
    published="Liu et al. 2018, on nine games of which they name Ms. Pac-Man alone: better on 6, similar on 2, "
    "slightly worse on 1.",
)
SPEC = StudySpec(
    "rl", "A2C on Atari games, on ale-py's own emulators; ends with whole games and a film of play",
    RlConfig, SCORES, "rl.study:RlStudy", CAPTIONS, default="rl/mspacman", failed=failed,
)  # fmt: skip
