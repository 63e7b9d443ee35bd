"""A network as the bytes of other programs' formats, and whether they still say the same.

What goes out carries no paths of this machine: traces of the exporting program are dropped.
"""

from __future__ import annotations

import importlib
import io
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from autostudent.build.network import Network
from autostudent.data.views import images
from autostudent.errors import AutostudentError, ExtraMissing

INPUT, OUTPUT = "pictures", "logits"
BATCHES = (1, 2, 7, 64)  # sizes at which an export is run beside the original, and all pictures at once
TOLERANCE = 1e-4  # of the largest logit (at least 1): what other kernels' rounding may change
ONNX_PARTS = ("onnx", "onnxscript", "onnxruntime")

Runs = Callable[[Tensor], Tensor]


class ExportMismatch(AutostudentError):
    """An exported file gives other answers than the network it was made from."""


@dataclass(frozen=True)
class Parity:
    """How close an export is to the original on ``pictures`` real pictures, at every one of ``batch_sizes``.

    ``largest_difference`` is that of any logit, ``largest_logit`` the original's; ``same_class`` the share of pictures
    for which both choose the same class.
    """

    pictures: int
    batch_sizes: tuple[int, ...]
    largest_difference: float
    largest_logit: float
    same_class: float

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "batch_sizes": list(self.batch_sizes), "tolerance": self.tolerance}

    @property
    def tolerance(self) -> float:
        """The largest difference that is allowed."""
        return TOLERANCE * max(1.0, self.largest_logit)


def compare(name: str, original: Network, exported: Runs, pictures: Tensor) -> Parity:
    """Runs both on ``pictures`` ``(n, channels, H, W)`` uint8, at several batch sizes.

    Raises:
        ExportMismatch: when they differ by more than the tolerance, or one gives no numbers.
    """
    sizes = (*(size for size in BATCHES if size < len(pictures)), len(pictures))
    largest = scale = same = 0.0
    for size in sizes:
        x = images(pictures[:size])
        with torch.inference_mode():
            expected, found = original(x), exported(x.contiguous())
        if not expected.isfinite().all():
            raise ExportMismatch(f"{name}: the original's answers to real pictures are not all finite numbers")
        if found.shape != expected.shape:
            raise ExportMismatch(f"{name}: answers of shape {tuple(found.shape)}; expected {tuple(expected.shape)}")
        difference = float((found - expected).abs().max().nan_to_num(nan=float("inf")))
        largest, scale = max(largest, difference), max(scale, float(expected.abs().max()))
        same = float((found.argmax(1) == expected.argmax(1)).double().mean())
    parity = Parity(len(pictures), sizes, largest, scale, same)
    if not parity.largest_difference <= parity.tolerance:
        raise ExportMismatch(
            f"{name}: the exported network differs from the original by {largest:.2g} on real pictures; "
            f"allowed is {parity.tolerance:.2g}. Nothing was written"
        )
    return parity


def traced(network: Network) -> torch.export.ExportedProgram:
    """The network as a program whose batch size is free."""
    shape = network.architecture.input
    example = torch.zeros(2, shape.channels, shape.height, shape.width)
    batch = torch.export.Dim("batch", min=1)
    with quiet(), torch.no_grad():
        program = torch.export.export(network, (example,), dynamic_shapes=({0: batch},), strict=False)
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)
    return program


def to_pt2(program: torch.export.ExportedProgram) -> bytes:
    """The file that ``torch.export.load`` reads."""
    file = io.BytesIO()
    with quiet():
        torch.export.save(program, file)
    return file.getvalue()


def run_pt2(data: bytes) -> Runs:
    """The program in a ``.pt2`` file."""
    with quiet():
        module = torch.export.load(io.BytesIO(data)).module()
    return lambda x: module(x)


def require_onnx() -> None:
    """Raises `ExtraMissing` unless all that ONNX needs is installed."""
    for part in ONNX_PARTS:
        try:
            importlib.import_module(part)
        except ImportError:
            raise ExtraMissing(f"--format onnx needs {part}: pip install 'autostudent[onnx]'") from None


def to_onnx(program: torch.export.ExportedProgram) -> bytes:
    """The ONNX file of the program: one input ``pictures``, one output ``logits``, the batch size free."""
    with quiet(), tempfile.TemporaryDirectory() as folder:
        made = torch.onnx.export(
            program, (), dynamo=True, input_names=[INPUT], output_names=[OUTPUT], verbose=False, external_data=False
        )
        assert made is not None
        path = Path(folder) / "student.onnx"
        made.save(path, external_data=False)
        return path.read_bytes()


def run_onnx(data: bytes) -> Runs:
    """The network in an ONNX file, run by ONNX Runtime on the CPU."""
    import onnxruntime

    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    return lambda x: torch.from_numpy(session.run([OUTPUT], {INPUT: x.numpy()})[0])


@contextmanager
def quiet() -> Iterator[None]:
    """Exporters warn about their own deprecations."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
