"""Settings and scores of the reinforcement learning study. No torch, no emulator: ``--help`` reads this alone."""

import re
from collections.abc import Mapping
from typing import Any, ClassVar, Literal, Self

from pydantic import Field, field_validator, model_validator

from rl.protocol import Protocol, Restart
from rl.recipes import OWNERS, USUAL, AgentName, recipe, suite_name, told
from rl.suites import SUITES, canonical, suite_of
from sandbox.base.errors import UserError
from sandbox.base.types import CoordLayers
from sandbox.experiment.config import Config
from sandbox.experiment.spec import Captions, Margin, Score, Scored, StudySpec

Padding = Literal["none", "zeros", "reflect", "replicate", "circular"]
Pooling = Literal["flatten", "mean", "max"]
Heads = Literal["shared", "actor"]
Kernels = tuple[tuple[int, int], ...]  # kernel size and stride of each convolution
_PPO, _DQN = recipe("ppo", "atari"), recipe("dqn", "atari")
ZOO = "RL Baselines3 Zoo"
ROUND = 50  # steps of each game that apex's players take before they send what they saw (Horgan et al. 2018), and the
# most that dqn and apex in one process play at a time before they learn
SB3 = "stable-baselines3's default, which the Zoo keeps"


def parse_kernels(text: str) -> Kernels:
    """``8x4 4x2 3x1`` as ((8, 4), (4, 2), (3, 1)).

    Raises:
        ValueError: it is no such list of one to eight convolutions.
    """
    words = text.split()
    if not 1 <= len(words) <= 8 or not all(re.fullmatch(r"[1-9]\d?x[1-9]\d?", word) for word in words):
        raise ValueError("allowed are one to eight times kernel size x stride: 8x4 4x2 3x1")
    return tuple((int(kernel), int(stride)) for kernel, _, stride in (word.partition("x") for word in words))


def _usual(field: str, text: str, **bounds: Any) -> Any:
    """A field whose default the recipe of agent and suite has; `Field` of A2C's on Atari."""
    return Field(USUAL[field], description=f"{text}; {told(field)}", **bounds)


def _q(field: str, text: str, **bounds: Any) -> Any:
    """A field of agents that learn from what they keep; `Field` of DQN's on Atari."""
    return Field(_DQN[field], description=f"dqn, apex: {text}; {told(field)}", **bounds)


class RlConfig(Config):
    """An agent in an environment. What is not given is as published for the two: `rl.recipes`, and each field's help.

    A step is one update: of A2C on ``batch`` agent steps, ``envs`` games times ``batch / envs`` steps each; of PPO
    ``epochs`` times on these, ``minibatch`` at a time; DQN and Ape-X play ``batch`` agent steps and learn ``updates``
    times from ``minibatch`` of all that is kept.
    """

    task_field: ClassVar[str] = "env"
    PLACES: ClassVar[tuple[str, ...]] = ("threads", "cluster")
    DATA: ClassVar[tuple[str, ...]] = (
        "batch", "envs", "env", "agent", "frameskip", "sticky", "ramping", "noop_max", "life_loss", "clip_rewards",
        "restart", "max_frames",
    )  # fmt: skip

    env: str = Field(
        "MsPacman", description="a game of ale-py by any of its names, MsPacman, ms_pacman; or of MinAtar, "
        "minatar:breakout"
    )  # fmt: skip
    agent: AgentName = Field("a2c", description="what learns: stable-baselines3's A2C or PPO; "
                             "dqn, or apex, whose games explore each in their own measure (extra: apex)")  # fmt: skip
    steps: int = _usual("steps", "updates (10 M agent steps; MinAtar: 2 M)", ge=1, le=10**9)
    batch: int = _usual("batch", f"agent steps in an update: envs x 5 of a2c ({SB3}), x 128 of ppo ({ZOO})",
                        ge=2, le=2**20)  # fmt: skip
    envs: int = _usual("envs", f"games at a time ({ZOO})", ge=1, le=4096)
    log_every: int = _usual("log_every", "updates between two points of a curve", ge=1, le=10**9)
    preview_every: int = _usual("preview_every", "updates between two pictures of the games", ge=1, le=10**9)
    checkpoint_every: int = _usual("checkpoint_every", "updates between two checkpoints", ge=1, le=10**9)

    coord_layers: CoordLayers = Field(
        "first", description="which convolutions know coordinates: first, all, or names of layers"
    )
    with_r: bool = Field(False, description="the radius as a third coordinate")
    padding_mode: Padding = Field("none", description="padding of convolutions; none: as published")
    pooling: Pooling = Field("flatten", description="end of the convolutions: all places (as published), mean or max")
    heads: Heads = Field(
        "shared", description="one trunk for actor and critic; or one each, coordinates in the actor's alone"
    )
    kernels: str = _usual("kernels", "kernel size x stride of each convolution (Mnih et al. 2015; Young and Tian 2019)")
    width: int = _usual("width", "channels of the first convolution, the others have twice as many", ge=1, le=512)
    features_dim: int = _usual("features_dim", "of the dense layer behind the convolutions", ge=1, le=4096)

    lr: float = _usual("lr", f"learning rate (a2c: {SB3}; ppo: {ZOO})", gt=0, le=1)
    lr_schedule: Literal["constant", "linear"] = _usual(
        "lr_schedule", "linear: it falls to 0 over the run, and ppo's clip with it"
    )
    gamma: float = _usual("gamma", f"discount ({SB3})", gt=0, le=1)
    gae_lambda: float = _usual("gae_lambda", f"of generalised advantages, 1: plain returns ({SB3})", ge=0, le=1)
    entropy: float = _usual("entropy", f"weight of the entropy ({ZOO})", ge=0, le=1)
    value: float = _usual("value", f"weight of the critic's loss ({ZOO})", ge=0, le=10)
    max_grad_norm: float = _usual("max_grad_norm", f"gradients are cut to this length ({SB3})", gt=0, le=100)
    rms_decay: float = Field(
        USUAL["rms_decay"], ge=0, lt=1, description="a2c: RMSpropTFLike's decay of squared gradients (its default)"
    )
    rms_eps: float = Field(USUAL["rms_eps"], gt=0, le=1, description=f"a2c: RMSpropTFLike's epsilon ({ZOO})")
    epochs: int = Field(_PPO["epochs"], ge=1, le=100, description=f"ppo: times it learns from a batch ({ZOO})")
    minibatch: int = Field(_PPO["minibatch"], ge=2, le=2**20, description=f"ppo, dqn, apex: of one gradient ({ZOO})")
    clip: float = Field(_PPO["clip"], gt=0, le=1, description=f"ppo: bound of a choice's new chances ({ZOO})")
    adam_eps: float = Field(_PPO["adam_eps"], gt=0, le=1, description=f"ppo, dqn, apex: Adam's epsilon ({SB3})")

    updates: int = _q("updates", "of a step, after batch agent steps", ge=1, le=10**4)
    multi_step: int = _q("multi_step", "agent steps of a transition (Horgan et al. 2018)", ge=1, le=100)
    replay: int = _q("replay", f"transitions that are kept ({ZOO}; Horgan et al. 2018)", ge=2, le=10**8)
    replay_bytes: int = _q("replay_bytes", "memory that they may take", ge=1, le=10**13)
    learning_starts: int = _q("learning_starts", "agent steps before the first update, also when a run goes on",
                              ge=1, le=10**8)  # fmt: skip
    target_every: int = _q("target_every", "updates between two copies of the network as its own target",
                           ge=1, le=10**8)  # fmt: skip
    alpha: float = _q("alpha", "transitions are drawn in proportion to priority ** alpha", ge=0, le=1)
    beta: float = _q("beta", "how much of the bias of prioritised draws is weighed away", ge=0, le=1)
    explore: float = Field(_DQN["explore"], ge=0, le=1, description=f"dqn: share of the run over which random actions "
                           f"become as few as end_epsilon ({ZOO})")  # fmt: skip
    end_epsilon: float = Field(_DQN["end_epsilon"], ge=0, le=1, description=f"dqn: random actions then ({ZOO})")
    actors: int = Field(0, ge=0, le=4096, description="apex: Ray actors that share the games, each a process; 0: none, "
                        "all in this process (extra: cluster)")  # fmt: skip
    cluster: str = Field("", description="apex: address of a Ray cluster, auto, HOST:PORT or ray://HOST:PORT; without "
                         "one actors run on this machine")  # fmt: skip
    play_epsilon: float = _q("play_epsilon", "share of random actions in evaluation and film (ours)", ge=0, le=1)

    frameskip: int = _usual("frameskip", "Atari: emulator frames in an agent step", ge=1, le=64)
    sticky: float = _usual(
        "sticky", "probability that a frame repeats the action before (Atari's v5: 0.25)", ge=0, le=1
    )
    ramping: bool = Field(True, description="MinAtar: games become harder as they go on (Young and Tian 2019)")
    noop_max: int = _usual(
        "noop_max", "Atari: games start after fewer no-op frames than this, not counted in max_frames", ge=0, le=1000
    )
    life_loss: bool = _usual("life_loss", "Atari: a lost life ends the learner's episode (not in the evaluation)")
    clip_rewards: bool = _usual("clip_rewards", "the learner sees the sign of the reward (not in the evaluation)")
    restart: Restart = Field(
        "native", description="Atari, after a lost life: plays straight on; sb3: NOOP, FIRE and an emptied stack"
    )
    max_frames: int = _usual("max_frames", "a game is cut after so many frames (Atari: 30 minutes; MinAtar: ours)",
                             ge=4, le=10**7)  # fmt: skip
    games: int = Field(30, ge=1, le=10_000, description="whole games of the evaluation")
    saliency: int = Field(
        60, ge=0, le=2000, description="frames of the film of what the agent looks at; fewer than 2: no such film"
    )
    deterministic: bool = Field(
        False, description="the evaluated agent takes its likeliest action; off: draws it, as the Zoo does on Atari"
    )
    threads: int = Field(
        0, ge=0, le=1024, description="Atari: threads that emulate; 0: one a core (restart sb3: one a game)"
    )

    @classmethod
    def following(cls, values: Mapping[str, Any]) -> Mapping[str, Any]:
        """The recipe of the agent and the suite that are chosen."""
        own = {name: values.get(name, cls.model_fields[name].default) for name in ("agent", "env")}
        return recipe(str(own["agent"]), suite_name(str(own["env"])))

    @field_validator("env", mode="before")
    @classmethod
    def _one_name(cls, value: object) -> str:
        try:
            return canonical(str(value))
        except UserError as error:
            raise ValueError(str(error)) from None

    @field_validator("kernels")
    @classmethod
    def _convolutions(cls, value: str) -> str:
        return " ".join(f"{kernel}x{stride}" for kernel, stride in parse_kernels(value))

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.batch % self.envs:
            raise ValueError(f"batch ({self.batch}) must be a multiple of envs ({self.envs}), such as {5 * self.envs}")
        if self.agent == "ppo" and self.batch % self.minibatch:
            raise ValueError(f"minibatch ({self.minibatch}) must divide batch ({self.batch})")
        if self.cluster and not self.actors:
            raise ValueError("cluster is for actors: say how many, --actors N")
        if self.actors and self.envs % self.actors:
            raise ValueError(f"envs ({self.envs}) must be a multiple of actors ({self.actors}): they share the games")
        if self.keeps and self.minibatch > self.replay:
            raise ValueError(f"minibatch ({self.minibatch}) must not be larger than replay ({self.replay})")
        if self.keeps:
            self._replay_fits()
        usual = recipe(self.agent, self.suite)
        for name, owners in OWNERS.items():
            value, own = getattr(self, name), usual.get(name, type(self).model_fields[name].default)
            if not {self.agent, self.suite} & set(owners) and value != own:
                raise ValueError(f"{name} ({value}) is a setting of {' and '.join(owners)} alone: leave it out here")
        return self

    def _replay_fits(self) -> None:
        """What is played at a time must fit the replay, and something must be complete before it is learned from."""
        most = 2 * max(ROUND, self.n_steps) * self.envs
        if most > self.replay:
            raise ValueError(f"replay ({self.replay}) must hold at least {most}: twice what {self.envs} games (envs) "
                             f"play in {max(ROUND, self.n_steps)} steps")  # fmt: skip
        least = (self.multi_step - self.n_steps) * self.envs + 1
        if self.learning_starts < least:
            raise ValueError(f"learning_starts ({self.learning_starts}) must be at least {least}: before, no "
                             f"transition of {self.multi_step} steps (multi_step) is complete in {self.envs} games "
                             "(envs)")  # fmt: skip

    @property
    def suite(self) -> str:
        """``atari`` or ``minatar``: see `rl.suites.SUITES`."""
        return suite_name(self.env)

    @property
    def keeps(self) -> bool:
        """Whether the agent learns from all that it keeps, not from the newest play alone."""
        return self.agent in OWNERS["replay"]

    @property
    def n_steps(self) -> int:
        """Agent steps of each game in an update."""
        return self.batch // self.envs

    @classmethod
    def task_name(cls, text: str) -> str:
        """``MsPacman`` for ``ms_pacman`` or ``ALE/MsPacman-v5``, ``minatar_breakout`` for ``minatar:breakout``."""
        env = canonical(text)
        return env if suite_of(env) is SUITES["atari"] else suite_of(env).folder(env)

    @property
    def task_folder(self) -> str:
        """``ms_pacman`` or ``minatar_breakout``, as the study's own command names it."""
        return suite_of(self.env).folder(self.env)

    def protocol(self, *, learning: bool) -> Protocol:
        """Atari's rules of play: of training, or of the evaluation, which plays whole games for their own score."""
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
        fields: dict[str, Any] = {"envs": 2, "width": 4, "games": 2, "saliency": 4, "max_frames": 400}
        fields |= {"threads": 1} if self.suite == "atari" else {}
        fields |= {"minibatch": 2, "epochs": 2} if self.agent == "ppo" else {}
        fields |= {"minibatch": 2, "updates": 1, "replay": 500, "learning_starts": 20} if self.keeps else {}
        fields |= {"actors": min(self.actors, 2)} if self.actors else {}
        return super().shrunk().model_copy(update=fields)


def margin(config: RlConfig) -> Margin | None:
    """A twentieth of what lies between a random player and a person, in MinAtar the published actor-critic.

    None for a game without published references.
    """
    found = suite_of(config.env).references(config.env)
    if found is None:
        return None
    between = abs(found.top - found.random)
    reason = f"a twentieth of the {between:g} points between random play and {found.who}"
    return Margin(0.05 * between, reason, fresh_from=6 if suite_of(config.env) is SUITES["atari"] else 0)


def failed(config: RlConfig, scores: Scored) -> str:
    """Whether an agent plays no better than a random player."""
    found, value = suite_of(config.env).references(config.env), scores.get("score/return")
    beaten = found is None or value is None or value > found.random
    return "" if beaten or found is None else f"return {value:.4g}, random play has {found.random:g}"


_RETURN = Score(
    "score/return",
    "higher",
    "return of a whole game (points)",
    primary=True,
    curve="rollout/ep_rew_mean",
    margin=margin,
)
_BLIND = Score("score/return_without_coordinates", "higher", "return with every place's coordinates averaged (points)")
_NORMALISED = {
    "atari": Score("score/human_normalised", "higher", "human-normalised return (0 random, 1 human)", pooled=True),
    "minatar": Score(
        "score/published_normalised", "higher", "return (0 random, 1 the published actor-critic at 5 M frames)",
        pooled=True,
    ),
}  # fmt: skip


def scores(config: RlConfig) -> tuple[Score, ...]:
    """The scores of a run: MinAtar has no human tester."""
    return _RETURN, _NORMALISED[config.suite], _BLIND


CAPTIONS = Captions(
    counted="agent steps",
    samples="What the agents see as training ends: the newest picture of each game.",
    film="The arms side by side at play, each a game of its own.",
    film_name="play",
    films={
        "saliency": "What the choice of action hangs on, every arm asked about the same recorded game of random play. "
        "Orange: how many of its choices would be others if that place of the picture were blurred (MinAtar: emptied); "
        "blue, in arms with coordinates: if those there were an average place's. Full colour: a tenth of them "
        "or more.",
    },
    published="Liu et al. 2018, on nine Atari games of which they name Ms. Pac-Man alone: better on 6, similar on 2, "
    "slightly worse on 1.",
)
SPEC = StudySpec(
    "rl", "agents, A2C, PPO, DQN or Ape-X, on Atari's or MinAtar's games; ends with whole games and a film of play",
    RlConfig, scores, "rl.study:RlStudy", CAPTIONS, default="rl/mspacman", failed=failed,
)  # fmt: skip
