"""Hierarchical random graphs after NAGO (Ru et al. 2020, arXiv 2004.01395).

A top graph of cells, every cell a graph of nodes, every node a graph of operations; each level has its own generator.
A graph's entries take its input, its several outputs are averaged. Cells are dealt to stages in order; every stage
halves the picture and multiplies the channels by ``stage.growth``.

Note: every sub-graph has its own seed (``wiring: shared`` gives the released code's one wiring for all); a cell brings
its inputs to its own size and width at its entry (the released code does so at every operation that takes the input);
convolutions before batch norm have no bias; the head's width follows the last stage instead of being 1,280.
"""

from __future__ import annotations

from autostudent.errors import InvalidDraw
from autostudent.space.draft import Draft, Widths
from autostudent.space.generators import Edges, Wiring, draw_edges, mix, orient
from autostudent.space.graph import InputShape, require_size
from autostudent.space.knobs import Edits, Knobs, rewired
from autostudent.space.ops import OPS
from autostudent.space.vocabulary import LEVELS


def deal(cells: int, shares: list[float]) -> list[int]:
    """How many cells each stage gets: one each, the rest one by one to the stage that is furthest below its share.

    Raises:
        InvalidDraw: with fewer cells than stages.
    """
    if cells < len(shares):
        raise InvalidDraw(f"{cells} cells cannot fill {len(shares)} stages")
    counts = [1] * len(shares)
    for _ in range(cells - len(shares)):
        gaps = [round(share * cells - count, 9) for share, count in zip(shares, counts, strict=True)]
        counts[gaps.index(max(gaps))] += 1
    return counts


class Hierarchy:
    """Draws one graph; call `draw` once. ``wirings`` and ``operations`` then tell what was drawn where."""

    def __init__(self, knobs: Knobs, ops: tuple[str, ...], seed: int, edits: Edits, shape: InputShape) -> None:
        self.knobs, self.seed, self.edits = knobs, seed, edits
        self.shared = knobs.word("wiring", "independent") == "shared"
        self.skip = knobs.word("skip", "none")
        weights = [(op, knobs.number(f"op.{op}", 1.0)) for op in ops]
        self.allowed = {False: weights, True: [(op, weight) for op, weight in weights if OPS[op].mixes]}
        self.stages = knobs.whole("stage.count", 3)
        self.generator = {level: self._generator(level) for level in LEVELS}
        merge = knobs.word("merge", "sum")
        self.merge = {level: knobs.word(f"{level}.merge", merge) for level in LEVELS}
        self.wirings: dict[str, tuple[int, Edges]] = {}
        self.operations: dict[str, tuple[str, bool]] = {}
        self.draft = Draft(shape)
        self.stage, self.stride = 0, 1

    def draw(self) -> tuple[Draft, Widths]:
        """The graph with free widths, and how its widths grow together.

        Raises:
            InvalidDraw: when a graph cannot be drawn, an edit fits nothing, or the picture is too small.
        """
        knobs, draft = self.knobs, self.draft
        stages = self.stages
        self.stride = knobs.stem_stride(draft.input)
        require_size(draft.input, self.stride << (stages - 1))
        early = knobs.number("stage.early", 1 / stages)
        rest = [(1 - early) / (stages - 1)] * (stages - 1) if stages > 1 else []
        counts = deal(self.generator["top"][1], [early, *rest])
        stem = self._stem(knobs.whole("stem.convs", 1))
        of_cell = [stage for stage, count in enumerate(counts) for _ in range(count)]
        top = self._wiring("top", ())
        outs: list[int] = []
        for cell, sources in enumerate(top.inputs):
            while self.stage < of_cell[cell]:
                self.stage, self.stride = self.stage + 1, self.stride * 2
            outs.append(self._cell(cell, tuple([outs[i] for i in sources]) or (stem,)))
            draft.blocks.append(outs[-1])
        last = self._join(tuple([outs[i] for i in top.outputs]), "mean")
        head = knobs.number("head.ratio", 0.0)
        if head:
            last = draft.add("conv1", stages + 1, self.stage, self.stride, (last,))
            draft.add("relu", stages + 1, self.stage, self.stride, (last,))
        else:
            draft.add("relu", stages, self.stage, self.stride, (last,))
        self.edits.require_used()
        ratios = self.edits.ratios(knobs.number("stage.growth", 2.0), stages)
        return draft, Widths(draft.input.channels, ratios, head, knobs.whole("width.multiple", 1))

    def _stem(self, convolutions: int) -> int:
        """At least as many convolutions as halvings; the first ones halve, the last one has no ReLU."""
        last, stride = 0, 1
        left = max(convolutions, self.stride.bit_length() - 1)
        while left:
            left, stride = left - 1, min(2 * stride, self.stride)
            last = self.draft.add("plain3_relu" if left else "plain3", 1, 0, stride, (last,))
        return last

    def _add(self, op: str, inputs: tuple[int, ...], merge: str) -> int:
        return self.draft.add(op, self.stage + 1, self.stage, self.stride, inputs, merge)

    def _join(self, inputs: tuple[int, ...], merge: str) -> int:
        """One tensor of the current size and width; a single input that already fits is taken as it is."""
        if len(inputs) == 1:
            node = self.draft.nodes[inputs[0]]
            if node.stride == self.stride and node.width == self.stage + 1:
                return inputs[0]
        return self._add("join", inputs, merge)

    def _cell(self, cell: int, sources: tuple[int, ...]) -> int:
        entry = self._join(sources, self.merge["top"])
        wiring = self._wiring("cell", (cell,))
        outs: list[int] = []
        for node, inner in enumerate(wiring.inputs):
            outs.append(self._node(cell, node, tuple([outs[i] for i in inner]) or (entry,)))
        out = self._join(tuple([outs[i] for i in wiring.outputs]), "mean")
        return self._add("join", (out, entry), "add") if self.skip == "cell" else out

    def _node(self, cell: int, node: int, sources: tuple[int, ...]) -> int:
        wiring = self._wiring("node", (cell, node))
        if len(sources) > 1 and (wiring.entries > 1 or self.skip == "node"):
            sources = (self._add("join", sources, self.merge["cell"]),)
        outs: list[int] = []
        for i, inner in enumerate(wiring.inputs):
            op = self._operation((cell, node, i), output=i in wiring.outputs)
            inputs = tuple([outs[j] for j in inner])
            merge = self.merge["node" if inputs else "cell"]
            outs.append(self._add(op, inputs or sources, merge))
        out = self._join(tuple([outs[i] for i in wiring.outputs]), "mean")
        return self._add("join", (out, sources[0]), "add") if self.skip == "node" else out

    def _generator(self, level: str) -> tuple[str, int, int, float, int]:
        knobs = self.knobs
        cells = 3 if self.stages == 2 else self.stages  # one a stage; no Watts-Strogatz graph has two
        return (
            knobs.word(f"{level}.graph", "er" if level == "cell" else "ws"),
            knobs.whole(f"{level}.nodes", cells if level == "top" else 1),
            knobs.whole(f"{level}.k", 2),
            knobs.number(f"{level}.p", 0.5),
            knobs.whole(f"{level}.m", 1),
        )

    def _wiring(self, level: str, path: tuple[int, ...]) -> Wiring:
        """The directed graph at a place of the hierarchy: top (), cell (cell,), node (cell, node)."""
        kind, n, k, p, m = self.generator[level]
        name = ".".join((level, *map(str, path)))
        seed = self._seed(len(path), path)
        edges: Edges | None = None
        for edit in self.edits.graphs.pop(name, ()):
            if edit.kind == "reseed":
                seed, edges = mix(seed, int(edit.data["salt"])), None
            else:
                edges = rewired(draw_edges(kind, n, k, p, m, seed) if edges is None else edges, n, edit)
        if edges is None:
            edges = draw_edges(kind, n, k, p, m, seed)
        self.wirings[name] = (n, edges)
        return orient(n, edges)

    def _seed(self, level: int, path: tuple[int, ...]) -> int:
        """A seed for each place; with shared wiring, for each level (and bottom vertex)."""
        place = level
        for i in path[2:] if self.shared else path:
            place = place * 4096 + i + 1
        return mix(self.seed, place)

    def _operation(self, path: tuple[int, int, int], output: bool) -> str:
        """The operation of a bottom vertex, drawn by weight; an output never pools."""
        name = f"{path[0]}.{path[1]}.{path[2]}"
        allowed = self.allowed[output]
        edit = self.edits.ops.pop(name, None)
        if edit is not None:
            op = str(edit.data["op"])
            if op not in dict(allowed):
                raise InvalidDraw(f"operation {op!r} cannot stand at {name}")
        else:
            total = sum([weight for _, weight in allowed])
            if total <= 0:
                raise InvalidDraw("every operation that may stand at an output has weight zero")
            point = self._seed(3, path) / 2.0**64 * total
            op = allowed[-1][0]
            for candidate, weight in allowed:
                point -= weight
                if point < 0:
                    op = candidate
                    break
        self.operations[name] = (op, output)
        return op
