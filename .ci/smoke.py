"""One training step with the installed package `jumpstart`, outside of the clone.

python -P .ci/smoke.py compiled    the compiled kernel and engine must be there
python -P .ci/smoke.py pure        neither must be there
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch

import jumpstart as package
from jumpstart import JumpstartRegularization
from jumpstart.engine.build import best_build
from jumpstart.extrema import kernel

clone = Path(__file__).resolve().parents[1]
assert clone not in Path(package.__file__).resolve().parents, f"{package.__file__} is the clone's own"
compiled = sys.argv[1] == "compiled"
assert kernel.available() == compiled, kernel.description()
assert (best_build() is not None) == compiled

model = torch.nn.Sequential(torch.nn.Linear(2, 4), torch.nn.ReLU(), torch.nn.Linear(4, 2))
with JumpstartRegularization(model) as jumpstart:
    model(torch.randn(8, 2))
    jumpstart.loss.backward()
assert model[0].weight.grad.count_nonzero()
sys.stdout.write(f"jumpstart {package.__version__}, {kernel.description()}\n")
