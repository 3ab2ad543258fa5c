"""Who wants the layer needs torch and jaxtyping, and nothing else of this project's."""

import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions

from shop import CHECKOUT

CODE = """
import sys
from importlib.abc import MetaPathFinder

class Blocked(MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name.partition(".")[0] in {blocked!r}:
            raise ModuleNotFoundError(f"{{name}} is blocked", name=name)

sys.meta_path.insert(0, Blocked())
import torch
from sandbox import CoordConv1d, CoordConv2d, CoordConv3d, coordify, decoordify, freeze_size
from sandbox.coordconv import from_concatenated, left_plain, to_concatenated
net = coordify(torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3, padding=1), torch.nn.ReLU()))
net(torch.randn(2, 3, 8, 8)).sum().backward()
freeze_size(net, 8, 8)(torch.randn(2, 3, 8, 8))
assert not {blocked!r} & set(sys.modules)
ours = ("sandbox", "gan", "vae", "rl", "vision")
print("done", *(name for name in sys.modules if name.partition(".")[0] in ours))
"""


def test_the_layer_s_files_import_torch_and_jaxtyping_alone() -> None:
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]
    extras = [each for group in project["optional-dependencies"].values() for each in group]
    wanted = {re.split(r"[\[<>=~! ;]", each)[0].lower().replace("_", "-") for each in project["dependencies"] + extras}
    wanted -= {"torch", "jaxtyping", "numpy", project["name"]}
    blocked = set()
    for module, names in packages_distributions().items():
        if {name.lower().replace("_", "-") for name in names} & wanted and not module.startswith("_"):
            blocked.add(module)
    assert {"pydantic", "torchvision", "stable_baselines3", "ale_py", "lightning_fabric"} <= blocked
    command = [sys.executable, "-c", CODE.format(blocked=blocked)]
    done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    modules = {"beside", "convolve", "coordconv", "coordify", "maps", "planes"}
    named = {"sandbox", "sandbox.coordconv", "sandbox.nn", *(f"sandbox.nn.{name}" for name in modules)}
    assert set(done.stdout.split()) == {"done", *named}
