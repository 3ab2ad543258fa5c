"""What a process imports before it trains."""

import subprocess
import sys

HEAVY = ("torchmetrics", "torchvision", "scipy.signal", "matplotlib", "pandas", "sklearn")
CODE = f"""
import sys
import sandbox.train.make, sandbox.train.study
print(*(name for name in {HEAVY} if name in sys.modules))
import lightning_fabric.utilities.imports as fabric
assert fabric._TORCHMETRICS_GREATER_EQUAL_1_0_0
import torchmetrics
assert torchmetrics.MeanMetric
"""


def test_training_imports_nothing_heavy_that_it_does_not_use_and_fabric_still_knows_the_version() -> None:
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.split() == []
