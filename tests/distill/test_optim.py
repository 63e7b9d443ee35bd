"""The optimiser beside torch's own."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch import nn

from autostudent.distill.optim import SGD, decayed


def network() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Conv2d(3, 5, 3), nn.Flatten(), nn.Linear(5 * 36, 4))


@pytest.mark.parametrize("fused", [True, False])
def test_steps_are_those_of_torch(fused: bool) -> None:
    ours, theirs = network(), network()
    late = next(iter(ours.parameters())), next(iter(theirs.parameters()))  # no gradient at first

    def groups(module: nn.Module) -> list[dict[str, object]]:
        parameters = list(module.parameters())
        return [{"params": parameters[::2], "weight_decay": 5e-4}, {"params": parameters[1::2], "weight_decay": 0.0}]

    one = SGD(groups(ours), 0.1, 0.9, fused)
    two = torch.optim.SGD(groups(theirs), lr=0.1, momentum=0.9, nesterov=True, fused=fused, foreach=False)
    for parameter in theirs.parameters():
        two.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
    for step in range(5):
        x = torch.randn(7, 3, 8, 8, generator=torch.Generator().manual_seed(step))
        for module, optimizer in ((ours, one), (theirs, two)):
            for parameter in late:
                parameter.requires_grad_(step > 0)
            for group in optimizer.param_groups:
                group["lr"] = 0.1 / (step + 1)
            module(x).square().mean().backward()
            optimizer.step()
            optimizer.zero_grad()
        for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
            assert torch.equal(a, b)
            assert a.grad is None
    assert all(
        torch.equal(one.state[a]["momentum_buffer"], two.state[b]["momentum_buffer"])
        for a, b in zip(ours.parameters(), theirs.parameters(), strict=True)
    )


def test_weights_of_layers_decay_and_nothing_else_does() -> None:
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(8, 3))
    decaying, others = decayed(net)
    names = {id(parameter): name for name, parameter in net.named_parameters()}
    assert [names[id(parameter)] for parameter in decaying] == ["0.weight", "3.weight"]
    assert [names[id(parameter)] for parameter in others] == ["0.bias", "1.weight", "1.bias", "3.bias"]


LOADED = """
import sys
import torch
from autostudent.distill.fit import Fit
from autostudent.distill.methods.kd import KD
from autostudent.testing.toys import toy_job
Fit(toy_job(KD(), teachers=1)).run(1)
print("torch._dynamo" in sys.modules)
"""


@pytest.mark.slow
def test_a_training_does_not_load_the_compiler() -> None:
    done = subprocess.run([sys.executable, "-c", LOADED], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False"]
