"""What an agent's choice of action hangs on, place by place: where it looks, and where it uses that it knows its place.

Both maps are made by occlusion (Zeiler and Fergus 2014, arXiv 1311.2901; captum's `Occlusion`): a square window slides
over the picture, and what it hides changes the distribution over actions. A pixel's value is that change, averaged
over the windows that hide it, as total variation: the share of choices that would be others, 0 to 1.

* The picture: inside the window it is blurred, in every picture of the stack. A black window would be a new thing on
  the screen; a blurred one only takes away (Greydanus et al. 2018, arXiv 1711.00138, blur Atari for that reason).
  MinAtar's planes of 0 and 1 have nothing to blur: the window is one place, and it is emptied of every kind of object.
* The coordinates: inside the window every coordinate layer is told those of an average place; the picture stays.

Only the policy's own answers enter, no gradient, so that a map cannot look the same whatever the weights are, as some
gradient maps do (Adebayo et al. 2018, arXiv 1810.03292). What moves a policy at one moment is no explanation of it
(Atrey et al. 2020, arXiv 1912.05743).
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import copy, deepcopy
from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from gymnasium import spaces
from jaxtyping import Float, UInt8
from stable_baselines3.common.policies import BasePolicy
from torch import Tensor, nn
from torchvision.transforms.v2.functional import gaussian_blur

from rl.vector import GameVecEnv
from sandbox.base.types import Frames, Sheet
from sandbox.film.grids import side_by_side
from sandbox.nn.coordconv import CoordConv2d

# Pixels of Atari's 84x84: a twentieth of the screen's height finds what is small, in 400 looks.
WINDOW, STRIDE = 8, 4
BLUR = 3.0  # pixels, standard deviation, as Greydanus et al. have it: a ball of two pixels is gone
# Share of choices from which on a place has full colour; the same in every film, so that arms compare. An agent of half
# a million steps of Ms. Pac-Man nearly reaches it at its most important place; one that hardly chooses stays grey.
FULL = 0.1
FPS = 8  # half the game's own speed: a heat that moves is hard to follow
INKS = {"picture": (255, 150, 0), "coordinates": (60, 190, 255)}
_AT_ONCE = 100  # windows in a batch
_LUMINANCE = (0.299, 0.587, 0.114)
_DIMMED = 0.6
_THICKEST = 0.75  # what is below full colour must still be seen


def coordinate_layers(policy: nn.Module) -> list[CoordConv2d]:
    """The layers of a policy that know coordinates; none in a plain one."""
    return [layer for layer in policy.modules() if isinstance(layer, CoordConv2d)]


@contextmanager
def knowing_only(policy: nn.Module, known: Float[Tensor, "b 1 h w"]) -> Iterator[None]:
    """Inside, every coordinate layer knows its coordinates in part of the picture.

    Where ``known`` is 0, their share of the layer's output is what it is on average over the picture: the layer cannot
    tell where it is, and nothing else changes.

    Args:
        policy: not compiled, or its graph would not hear of this.
        known: 0 to 1 over the picture, of any size; one for each picture of a batch, or one for all.
    """

    def blend(layer: CoordConv2d, inputs: tuple[Tensor], output: Tensor) -> Tensor:
        own = layer.position_map(inputs[0]).to(output.dtype)
        share = F.adaptive_avg_pool2d(known, (own.shape[-2], own.shape[-1])).to(output.dtype)
        return output + (1 - share) * (own.mean((-2, -1), keepdim=True) - own)

    handles = [layer.register_forward_hook(blend) for layer in coordinate_layers(policy)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def without_coordinates(policy: BasePolicy) -> Iterator[BasePolicy]:
    """A copy of a policy that cannot tell one place from another by its coordinates."""
    blind = _copied(policy)
    with knowing_only(blind, torch.zeros(1, 1, 1, 1, device=policy.device)):
        yield blind


def _copied(policy: BasePolicy) -> BasePolicy:
    """A copy to look into; of a compiled network, one that is not."""
    # The policy's newest distribution may hang on a graph, which cannot be copied; looks replace it.
    own: Any = cast(Any, policy).action_dist
    return deepcopy(policy, {id(own): copy(own)})


def has_planes(policy: BasePolicy) -> bool:
    """Whether a policy sees planes of 0 and 1, as of MinAtar, rather than pictures of bytes."""
    return bool(cast(spaces.Box, policy.observation_space).high.max() == 1)


def picture_map(
    policy: BasePolicy, picture: UInt8[Tensor, "c h w"], window: int = WINDOW, stride: int = STRIDE
) -> Float[Tensor, "h w"]:
    """Share of choices, 0 to 1, that would be others if a place of the picture were blurred; of planes: emptied.

    Of planes a window is one place, whatever ``window`` and ``stride`` say.
    """
    shown, kernel = picture[None].float(), 2 * int(3 * BLUR) + 1
    planes = has_planes(policy)
    hidden = torch.zeros_like(shown) if planes else gaussian_blur(shown, [kernel, kernel], [BLUR, BLUR])
    sizes = (1, 1) if planes else (window, stride)
    return _occluded(lambda known: _chances(policy, torch.lerp(hidden, shown, known)), picture, *sizes)


def coordinate_map(
    policy: BasePolicy, picture: UInt8[Tensor, "c h w"], window: int = WINDOW, stride: int = STRIDE
) -> Float[Tensor, "h w"]:
    """Share of choices, 0 to 1, that would be others if the coordinates of a place were an average place's."""
    shown = picture[None].float()

    def chances(known: Tensor) -> Tensor:
        with knowing_only(policy, known):
            return _chances(policy, shown.expand(len(known), -1, -1, -1))

    return _occluded(chances, picture, *((1, 1) if has_planes(policy) else (window, stride)))


def _chances(policy: BasePolicy, pictures: Float[Tensor, "b c h w"]) -> Float[Tensor, "b actions"]:
    distribution: Any = cast(Any, policy).get_distribution(pictures).distribution
    chances: Tensor = distribution.probs
    return chances.float()


@torch.no_grad()
def _occluded(
    chances: Callable[[Tensor], Tensor], picture: UInt8[Tensor, "c h w"], window: int, stride: int
) -> Float[Tensor, "h w"]:
    """What ``chances`` makes of masks, (b, 1, h, w) with 1 for what is known, in which a window is 0."""
    from captum.attr import Occlusion  # here: it brings half of matplotlib along

    all_known = torch.ones(1, 1, *picture.shape[1:], device=picture.device)
    own = chances(all_known)

    def likeness(known: Tensor) -> Tensor:
        return -(chances(known) - own).abs().sum(1) / 2  # captum takes what a window makes fall

    found: Tensor = Occlusion(likeness).attribute(
        all_known, (1, window, window), (1, stride, stride), perturbations_per_eval=_AT_ONCE
    )
    return found[0, 0]


def reference_game(
    env: GameVecEnv, frames: int, generator: torch.Generator, skipped: int, held: int
) -> tuple[UInt8[np.ndarray, "t c rows columns"], Frames]:
    """A game that depends on the environment's seed and the generator alone, whoever is to look at it.

    Random actions, each held for some steps. A trained agent's game would be its own: every agent must be asked about
    the same moments.

    Args:
        env: one game, with pictures in colour.
        frames: agent steps, after the first ``skipped``.
        generator: of the actions.
        skipped: steps before the film begins.
        held: steps that an action lasts.

    Returns:
        What an agent sees at each step, and the screen in colour at the same moment.
    """
    steps, actions = skipped + frames, int(cast(spaces.Discrete, env.action_space).n)
    drawn = torch.randint(actions, (-(-steps // held),), generator=generator)
    seen, screens, obs = [], [], cast(np.ndarray, env.reset())
    for step, action in enumerate(drawn.repeat_interleave(held)[:steps].tolist()):
        if step >= skipped:
            seen.append(obs[0])
            screens.append(np.array(env.get_images()[0]))
        obs = cast(np.ndarray, env.step(np.array([action]))[0])
    return np.stack(seen), np.stack(screens)


def saliency_film(policy: BasePolicy, seen: UInt8[np.ndarray, "t c rows columns"], screens: Frames) -> Sheet:
    """The game in grey, what the policy looks at in orange; right, where it has coordinates, what they decide in blue.

    Args:
        policy: of an agent; it is left as it is.
        seen: what the agent sees at each moment.
        screens: the same moments in colour, of any size.
    """
    looked_into = _copied(policy)
    looked_into.set_training_mode(False)
    makers = {"picture": picture_map} | ({"coordinates": coordinate_map} if coordinate_layers(looked_into) else {})
    pictures = torch.from_numpy(seen).to(policy.device)
    return side_by_side({
        name: overlay(screens, torch.stack([make(looked_into, picture) for picture in pictures]).cpu(), INKS[name])
        for name, make in makers.items()
    })  # fmt: skip


def overlay(screens: Frames, heat: Float[Tensor, "t h2 w2"], ink: tuple[int, int, int]) -> Frames:
    """Screens in dim grey under an ink as thick as the heat, thickest from `FULL` on."""
    grey = _DIMMED * (torch.from_numpy(screens).float() @ torch.tensor(_LUMINANCE))[..., None]
    size = screens.shape[1:3]
    if heat.shape[-1] * 8 <= size[1]:  # a place is a square of many pixels: its heat has edges, as it has
        stretched = F.interpolate(heat[:, None], size, mode="nearest")
    else:
        stretched = F.interpolate(heat[:, None], size, mode="bilinear", align_corners=False)
    thickness = _THICKEST * (stretched / FULL).clamp(0, 1).permute(0, 2, 3, 1)
    blended: np.ndarray = torch.lerp(grey, torch.tensor(ink, dtype=torch.float32), thickness).round().byte().numpy()
    return blended
