"""A brought network with the taps and the head that every network of this package promises."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from autostudent.build.network import Block
from autostudent.errors import TeacherError, first_line

STAGES = ("layer1", "layer2", "layer3", "layer4")  # torchvision's ResNets and their kin


class Foreign(nn.Module):
    """Wraps a network that maps ``(B, channels, H, W)`` to logits ``(B, C)``.

    Pictures come in [0, 1]; they are repeated over colour channels, resized and normalised as the network wants.
    ``taps`` maps promised names to ``(channels, stride)``: "penultimate", the input of the last linear layer, and
    "stage1", … as given, or found: a ResNet's layer1 to layer4, else the last map of each size on the way down.
    ``blocks``: what stages are sequences of, in order.

    Args:
        network: the module.
        shape: (channels, height, width) of the data.
        classes: of the data; a network with another number is refused.
        channels: that the network reads.
        mean, std: subtracted from and divided into the pixels, one a channel.
        resize: side in pixels to which pictures are brought before the network, None for their own size.
        stages: module paths by tap name, None to find them.

    Raises:
        TeacherError: when the network cannot read such pictures, or has another number of classes.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        network: nn.Module,
        shape: tuple[int, int, int],
        classes: int,
        channels: int,
        mean: Sequence[float],
        std: Sequence[float],
        resize: int | None = None,
        stages: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__()
        self.network, self.channels, self.resize = network, channels, resize
        if len(mean) == 1:
            mean, std = list(mean) * channels, list(std) * channels
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, -1, 1, 1), persistent=False)
        training = network.training
        network.eval()
        self._explore(shape, classes, dict(stages or {}))
        network.train(training)

    def _explore(self, shape: tuple[int, int, int], classes: int, stages: dict[str, str]) -> None:
        """One forward pass of two pictures, from which taps and head are read off."""
        pictures = torch.rand(2, *shape, generator=torch.Generator().manual_seed(0))
        seen = Trace(self.network, self.prepare(pictures).shape[-2:])
        try:
            with torch.no_grad(), seen:
                logits = logits_of(self.network(self.prepare(pictures)))
        except Exception as error:
            raise TeacherError(
                f"the network cannot read pictures of shape {shape} (resize: {self.resize}): {first_line(error)}"
            ) from None
        if logits.ndim != 2 or logits.shape[1] != classes:
            raise TeacherError(
                f"the network gives {tuple(logits.shape[1:])} logits, but the data has {classes} classes"
            )
        self.head_path = seen.head(logits)
        unknown = [path for path in stages.values() if path not in seen.maps]
        if unknown:
            raise TeacherError(f"teacher taps: no module {unknown[0]!r} gives a map; there are {', '.join(seen.maps)}")
        self.paths = stages or seen.stages()
        height = shape[1]
        self.taps = {name: (maps[0], max(1, round(height / maps[1]))) for name, maps in self._sizes(seen).items()}
        self.block_paths = self._inside(seen)
        found = enumerate(self.block_paths.items())
        sizes = [(name, depth, *seen.maps[path][:2]) for depth, (name, path) in found]
        self.blocks = tuple(Block(name, depth, c, max(1, round(height / side))) for name, depth, c, side in sizes)
        self.width = 0
        if self.head_path:
            self.width = self._linear().in_features
            self.taps["penultimate"] = (self.width, 0)  # a vector

    def _inside(self, seen: Trace) -> dict[str, str]:
        """Module paths of "block1", "block2", …: the outermost parts of sequences, in the order of execution.

        Where there are fewer of them than stages, the stages.
        """
        found: list[str] = []
        for path, module in self.network.named_modules():
            if isinstance(module, nn.Sequential) and not any(f"{path}.".startswith(f"{outer}.") for outer in found):
                parts = [(f"{path}.{name}".lstrip("."), part) for name, part in module.named_children()]
                found += [part for part, inside in parts if part in seen.maps and any(True for _ in inside.children())]
        ordered = sorted(found if len(found) >= len(self.paths) else self.paths.values(), key=[*seen.maps].index)
        return {f"block{number}": path for number, path in enumerate(ordered, 1)}

    def _sizes(self, seen: Trace) -> dict[str, tuple[int, int]]:
        return {name: (seen.maps[path][0], seen.maps[path][1]) for name, path in self.paths.items()}

    def _linear(self) -> nn.Linear:
        head = self.network.get_submodule(self.head_path)
        assert isinstance(head, nn.Linear)
        return head

    def prepare(self, x: Tensor) -> Tensor:
        """Pictures ``(B, channels of the data, H, W)`` in [0, 1] as the network wants them."""
        if x.shape[1] == 1 and self.channels > 1:
            x = x.expand(-1, self.channels, -1, -1)
        if self.resize is not None and x.shape[-2:] != (self.resize, self.resize):
            x = F.interpolate(x, (self.resize, self.resize), mode="bilinear", antialias=True)
        return (x - self.mean) / self.std

    def forward(self, x: Tensor) -> Tensor:
        """Logits ``(B, C)``."""
        return logits_of(self.network(self.prepare(x)))

    def features(self, x: Tensor, taps: Sequence[str]) -> tuple[Tensor, dict[str, Tensor]]:
        """Logits ``(B, C)`` and the named taps. Raises `TeacherError` for a tap that the network does not promise."""
        found: dict[str, Tensor] = {}
        hooks = []
        try:
            for name in taps:
                if name not in self.taps and name not in self.block_paths:
                    raise TeacherError(f"the teacher has no tap {name!r}; it has {', '.join(self.taps) or 'none'}")
                hooks.append(self._hook(name, found))
            return self.forward(x), found
        finally:
            for hook in hooks:
                hook.remove()

    def _hook(self, name: str, found: dict[str, Tensor]) -> torch.utils.hooks.RemovableHandle:
        if name == "penultimate":
            return self._linear().register_forward_pre_hook(lambda _, args: found.update({name: args[0]}))
        path = self.paths.get(name) or self.block_paths[name]
        stage = self.network.get_submodule(path)  # what follows may work in place on what it gives
        return stage.register_forward_hook(lambda _, args, output: found.update({name: output.clone()}))

    def head(self, penultimate: Tensor) -> Tensor:
        """Logits ``(B, C)`` of the penultimate tap ``(B, D)``. Raises `TeacherError` where there is no linear head."""
        if not self.head_path:
            raise TeacherError("this teacher does not end in a linear layer, so it has no head to apply")
        return self._linear()(penultimate)


class Trace:
    """Records, while it is entered, what the modules of a network read and give.

    ``maps``: (channels, height, width) of every module's output that is such a map of pictures of ``size`` (height,
    width), by path in the order of execution. Maps with channels last are told by their sides, which are not in the
    proportion of the picture's; they are left out.
    """

    def __init__(self, network: nn.Module, size: Sequence[int]) -> None:
        self.network, self.size = network, size
        self.maps: dict[str, tuple[int, int, int]] = {}
        self.linear: list[tuple[str, Tensor, Tensor]] = []

    def __enter__(self) -> Trace:
        self.hooks = [
            module.register_forward_hook(self._seen(path)) for path, module in self.network.named_modules() if path
        ]
        return self

    def __exit__(self, *exception: object) -> None:
        for hook in self.hooks:
            hook.remove()

    def _seen(self, path: str) -> Any:
        def hook(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
            if isinstance(output, Tensor) and output.ndim == 4 and self._in_proportion(output):
                self.maps.pop(path, None)
                self.maps[path] = (output.shape[1], output.shape[2], output.shape[3])
            if isinstance(module, nn.Linear) and isinstance(output, Tensor) and output.ndim == 2:
                self.linear.append((path, args[0], output))

        return hook

    def _in_proportion(self, output: Tensor) -> bool:
        """Whether the last two sides are those of the picture, shrunk and rounded."""
        (height, width), (rows, columns) = self.size, output.shape[-2:]
        return abs(rows * width - columns * height) <= max(height, width)

    def head(self, logits: Tensor) -> str:
        """Path of the linear layer whose output the logits are, "" where there is none."""
        return next((path for path, _, output in reversed(self.linear) if torch.equal(output, logits)), "")

    def stages(self) -> dict[str, str]:
        """Module paths of "stage1", "stage2", …"""
        if all(path in self.maps for path in STAGES):
            return {f"stage{number}": path for number, path in enumerate(STAGES, 1)}
        last: dict[int, str] = {}  # by pixels, falling in the order of execution
        for path, (_, height, width) in self.maps.items():
            if 1 < height * width <= min(last, default=height * width):
                last[height * width] = path
        return {f"stage{number}": path for number, path in enumerate(last.values(), 1)}


def logits_of(output: Any) -> Tensor:
    """The logits in what a network returns: a tensor, an object with ``logits``, or the first of several outputs."""
    output = getattr(output, "logits", output)
    if isinstance(output, tuple | list):
        output = output[0]
    if not isinstance(output, Tensor):
        raise TeacherError(f"the teacher returns {type(output).__name__}; expected logits of shape (B, classes)")
    return output
