"""The numbers that a generator reads, and the edits that are applied to what it draws."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from autostudent.errors import ConfigError, InvalidDraw
from autostudent.records import Edit, Value
from autostudent.space.generators import Edges
from autostudent.space.graph import InputShape


class Knobs:
    """A candidate's configuration over the space's constants, read with defaults."""

    def __init__(self, config: Mapping[str, Value], fixed: Mapping[str, Value]) -> None:
        self._values = {**fixed, **config}

    def number(self, name: str, default: float) -> float:
        return float(self._values.get(name, default))

    def whole(self, name: str, default: int) -> int:
        return int(self._values.get(name, default))

    def word(self, name: str, default: str) -> str:
        return str(self._values.get(name, default))

    def stem_stride(self, shape: InputShape) -> int:
        """``stem.stride``, or as many halvings as bring the picture's shorter side down to ``stem.size``."""
        stride = self.whole("stem.stride", 1)
        size = self.whole("stem.size", max(shape.height, shape.width))
        while -(-min(shape.height, shape.width) // stride) > size:
            stride *= 2
        return stride

    @property
    def target(self) -> float:
        """The parameter count to reach from below. Raises `ConfigError` when the configuration has none."""
        if "params.target" not in self._values:
            raise ConfigError("params.target", None, "a parameter count, searched or fixed by the space")
        return self.number("params.target", 0)


@dataclass
class Edits:
    """Edits sorted by what they change; what is left after a draw fitted nothing in it."""

    graphs: dict[str, list[Edit]] = field(default_factory=dict)
    ops: dict[str, Edit] = field(default_factory=dict)
    widths: dict[int, int] = field(default_factory=dict)

    @classmethod
    def sort(cls, edits: tuple[Edit, ...]) -> Edits:
        """Raises `ConfigError` for an unknown kind of edit."""
        out = cls()
        for edit in edits:
            if edit.kind in ("reseed", "rewire"):
                out.graphs.setdefault(str(edit.data["graph"]), []).append(edit)
            elif edit.kind == "op":
                out.ops[str(edit.data["node"])] = edit
            elif edit.kind == "width":
                stage = int(edit.data["stage"])
                out.widths[stage] = out.widths.get(stage, 0) + int(edit.data["step"])
            else:
                raise ConfigError("edits", edit.kind, "reseed, rewire, op or width")
        return out

    def ratios(self, growth: float, stages: int) -> tuple[float, ...]:
        """Widths of the stages relative to the base: powers of ``growth``; a width step is a quarter of an octave."""
        if any(not 0 <= stage < stages for stage in self.widths):
            raise InvalidDraw(f"an edit changes the width of stage {max(self.widths)}, of {stages}")
        return tuple(growth**s * 2.0 ** (self.widths.get(s, 0) / 4) for s in range(stages))

    def require_used(self) -> None:
        """Raises `InvalidDraw` when an edit names a graph or node that was not drawn."""
        left = [*self.graphs, *self.ops]
        if left:
            raise InvalidDraw(f"an edit names {left[0]!r}, which this graph does not have")


def rewired(edges: Edges, n: int, edit: Edit) -> Edges:
    """The edges of a graph on n vertices with one moved; ``drop`` and ``add`` are written "smaller-larger"."""
    drop, add = (tuple(int(end) for end in str(edit.data[key]).split("-")) for key in ("drop", "add"))
    if drop not in edges or add in edges or not 0 <= add[0] < add[1] < n:
        raise InvalidDraw(
            f"{edit.data['graph']!r} has no edge {edit.data['drop']} that could move to {edit.data['add']}"
        )
    return tuple(sorted({*edges, (add[0], add[1])} - {(drop[0], drop[1])}))
