"""What distillation costs beside plain training: samples a second of four ways to train the same student.

    python benchmarks/distill_throughput.py [--data digits|FILE.npz] [--limit N] [--students 10k,50k,270k] \
        [--space hnag_tiny|resnet] [--rounds 5] [--epochs 1] [--device cpu|cuda] [--json FILE]

labels      (a) the program's loop, labels only
knowledge   (b) the program's loop, knowledge distillation from the stored answers of the teacher
live        (c) the same, the teacher asked anew for every batch
textbook    (d) DataLoader, torchvision transforms, the live teacher, ``nn.KLDivLoss``: in this process, on a GPU with
            four processes that load
unrecorded  on a GPU, (b) without CUDA graphs

The teacher has the size of a ResNet-56; the textbook has its own copy in torch's default memory layout. Students are
graphs of the search space (of 99 draws of a size, that of median multiply-adds) or plain ResNets. A round trains every
way for its first ``--epochs``, everything included that a new training needs when the answers are already stored:
building the student, opening and checking the stored answers, making the views, recording. Rounds take turns in one
process and one thread; a way's speed is counted in its processor seconds, which a busy machine disturbs little, on a
GPU in seconds of the clock. Ratios are medians over rounds. Networks are untrained: speed does not depend on weights.
"""

from __future__ import annotations

import argparse
import copy
import dataclasses
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from machine import environment
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from autostudent.assets import Assets
from autostudent.build.network import build
from autostudent.data import datasets
from autostudent.data.views import ViewBank, images
from autostudent.data.vision_import import vision
from autostudent.distill.fit import Fit
from autostudent.distill.job import Job, Source, network_info
from autostudent.distill.method import Method
from autostudent.distill.methods import METHODS
from autostudent.distill.optim import Optim
from autostudent.records import Candidate
from autostudent.space.architecture import Architecture, freeze
from autostudent.space.cost import costs
from autostudent.space.resnet import resnet
from autostudent.space.space import load_space
from autostudent.teach.knowledge import Knowledge, stored
from autostudent.teach.ladder import nearest
from autostudent.teach.teacher import Teacher, live

transforms = vision("transforms")

WAYS = ("labels", "knowledge", "live", "textbook")
VIEWS = 9
DRAWS = 99
TEMPERATURE, WEIGHT = 4.0, 0.9


class Pictures(TorchDataset):
    """Pictures as the textbook has them: PIL images through torchvision transforms."""

    def __init__(self, part: datasets.Part, augment: Any) -> None:
        self.pixels = part.x.permute(0, 2, 3, 1).contiguous().numpy()
        self.labels = part.y.tolist()
        steps: list[Any] = [transforms.RandomCrop(self.pixels.shape[1:3], padding=augment.crop_pad)]
        steps += [transforms.RandomHorizontalFlip()] if augment.flip else []
        self.transform = transforms.Compose([*steps, transforms.ToTensor()])

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, place: int) -> tuple[Tensor, int]:
        pixels = self.pixels[place]
        return self.transform(Image.fromarray(pixels.squeeze(-1) if pixels.shape[-1] == 1 else pixels)), self.labels[
            place
        ]


def student_of(target: int, space: str, dataset: datasets.Dataset) -> Architecture:
    """A student of about ``target`` parameters."""
    if space == "resnet":
        return nearest(target, 20 if target > 100_000 else 8, dataset, 1)
    drawn, loaded = [], load_space(space)
    for seed in range(DRAWS):
        config = {**loaded.sample(np.random.default_rng((target, seed))), "params.target": float(target)}
        graph = freeze(Candidate(config, seed), loaded, dataset.input)
        drawn.append((costs(graph).macs, seed, graph))
    return sorted(drawn, key=lambda row: row[:2])[len(drawn) // 2][2]


def teacher_of(dataset: datasets.Dataset, device: torch.device) -> Teacher:
    """A frozen network as large as the ResNet-56 of CIFAR-10 (He et al. 2015, arXiv 1512.03385)."""
    graph = resnet(56, 16, dataset.input)
    module = build(graph, 0, dataset.mean, dataset.std).eval().requires_grad_(False)
    module = module.to(device, memory_format=torch.channels_last)
    info = network_info("main", module, len(dataset.classes))
    price = {name: float(value) for name, value in costs(graph).as_dict().items()}
    return Teacher("main", graph.fingerprint, info, module, {}, price, 0.0, {}, "", device)


@dataclasses.dataclass(frozen=True)
class Setting:
    """What all ways share."""

    graph: Architecture
    dataset: datasets.Dataset
    batch: int
    epochs: int
    device: torch.device

    def student(self, seed: int = 0) -> nn.Module:
        """The untrained student, on the CPU."""
        return build(self.graph, seed, self.dataset.mean, self.dataset.std)


def by_program(
    setting: Setting, bank: ViewBank, method: Method, sources: tuple[Source, ...], replay: bool = True
) -> None:
    """The first epochs in the program's loop."""
    job = Job(
        student=setting.student,
        method=method,
        sources=sources,
        bank=bank,
        labels=setting.dataset.train.y,
        classes=len(setting.dataset.classes),
        optim=Optim(epochs=VIEWS, batch_size=setting.batch),
        seed=0,
        images=images,
        device=setting.device,
        replay=replay,
    )
    Fit(job).run(setting.epochs)


def by_textbook(setting: Setting, teacher: nn.Module) -> None:
    """The first epochs as tutorials write them."""
    dataset, device = setting.dataset, setting.device
    student = setting.student().train().to(device)
    gpu = device.type == "cuda"
    loader = DataLoader(
        Pictures(dataset.train, dataset.augment),
        batch_size=setting.batch,
        shuffle=True,
        num_workers=4 if gpu else 0,
        pin_memory=gpu,
        persistent_workers=gpu,
    )
    optimizer = torch.optim.SGD(student.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4, nesterov=True)
    divergence, hard = nn.KLDivLoss(reduction="batchmean"), nn.CrossEntropyLoss()
    for _ in range(setting.epochs):
        for x, y in loader:
            x, y = x.to(device, non_blocking=gpu), y.to(device, non_blocking=gpu)
            with torch.no_grad():
                soft = torch.softmax(teacher(x) / TEMPERATURE, dim=1)
            logits = student(x)
            told = torch.log_softmax(logits / TEMPERATURE, dim=1)
            loss = WEIGHT * TEMPERATURE**2 * divergence(told, soft) + (1 - WEIGHT) * hard(logits, y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()


def clocks(device: torch.device) -> tuple[float, float]:
    """Processor seconds (on a GPU those of the clock, once it has done its work) and seconds of the clock."""
    if device.type == "cuda":
        torch.cuda.synchronize()
        return time.perf_counter(), time.perf_counter()
    return time.process_time(), time.perf_counter()


def measure(setting: Setting, rounds: int, folder: Path) -> dict[str, Any]:
    """Samples a second of each way, and the ratios of the rounds."""
    dataset, device = setting.dataset, setting.device
    assets, teacher = Assets(folder), teacher_of(dataset, device)
    plain = copy.deepcopy(teacher.module).to(memory_format=torch.contiguous_format)
    bank = ViewBank(dataset.train.x, VIEWS, 0, dataset.augment)
    Knowledge.ensure(assets, teacher, bank)
    kd = METHODS["kd"](temperature=TEMPERATURE, weight=WEIGHT)  # type: ignore[call-arg]

    def opened() -> Source:
        return stored(teacher, Knowledge.open(assets, teacher.key, bank))

    ways: dict[str, Callable[[], None]] = {
        "labels": lambda: by_program(setting, bank, METHODS["none"](), ()),
        "knowledge": lambda: by_program(setting, bank, kd, (opened(),)),
        "live": lambda: by_program(setting, bank, kd, (live(teacher),)),
        "textbook": lambda: by_textbook(setting, plain),
    }
    if device.type == "cuda":
        ways["unrecorded"] = lambda: by_program(setting, bank, kd, (opened(),), replay=False)
    spent: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for number in range(rounds + 1):
        for name in ways if number % 2 else reversed(ways):
            started = clocks(device)
            ways[name]()
            ended = clocks(device)
            if number:  # the first round warms up
                spent[name].append((ended[0] - started[0], ended[1] - started[1]))
    samples = len(dataset.train) * setting.epochs
    speeds = {name: [samples / counted for counted, _ in times] for name, times in spent.items()}
    ratio = lambda over, under: [a / b for a, b in zip(speeds[over], speeds[under], strict=True)]  # noqa: E731
    return {
        "params": costs(setting.graph).params,
        "macs": costs(setting.graph).macs,
        "samples_per_s": {name: statistics.median(values) for name, values in speeds.items()},
        "wall_samples_per_s": {name: statistics.median(samples / wall for _, wall in t) for name, t in spent.items()},
        **{f"knowledge/{other}": ratio("knowledge", other) for other in ways if other != "knowledge"},
    }


def shown(values: list[float]) -> str:
    """Median, least and most."""
    return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="digits", help="digits, or an .npz file with x_train and y_train")
    parser.add_argument("--limit", type=int, help="pictures to use, validation included")
    parser.add_argument("--students", default="10k,50k,270k", help="parameters, comma separated")
    parser.add_argument("--space", default="hnag_tiny", help="the search space of the students, or resnet")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=1, help=f"at most {VIEWS}")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--batch", type=int, help="32 for digits, else 128")
    parser.add_argument("--json", type=Path, help="also write all figures to this file")
    options = parser.parse_args()
    torch.set_num_threads(1)
    spec: dict[str, Any] = {"name": "digits"} if options.data == "digits" else {"npz": options.data}
    dataset = datasets.load({**spec, **({"limit": options.limit} if options.limit else {})})
    batch = options.batch or (32 if options.data == "digits" else 128)
    device = torch.device(options.device)
    ways = [*WAYS, "unrecorded"] if device.type == "cuda" else [*WAYS]
    others = [way for way in ("labels", "live", "textbook", "unrecorded") if way in ways]
    told = environment()
    print(told)
    print(
        f"{dataset.name}: {len(dataset.train)} pictures {dataset.shape}, batch {batch}, {options.rounds} rounds "
        f"of {options.epochs} epochs on {device.type}\n"
    )
    print("| parameters | MACs |", " | ".join([*ways, *(f"knowledge / {way}" for way in others)]), "|")
    print("|" + "---:|" * (2 + len(ways) + len(others)))
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for target in options.students.split(","):
            graph = student_of(round(1000 * float(target.removesuffix("k"))), options.space, dataset)
            row = measure(Setting(graph, dataset, batch, options.epochs, device), options.rounds, Path(folder))
            found.append(row)
            speeds = " | ".join(f"{row['samples_per_s'][way]:,.0f}" for way in ways)
            ratios = " | ".join(shown(row[f"knowledge/{other}"]) for other in others)
            print(f"| {row['params']:,} | {row['macs']:,} | {speeds} | {ratios} |", flush=True)
    if options.json:
        about = {"about": told, "data": dataset.name, "pictures": len(dataset.train), "batch": batch}
        about |= {"epochs": options.epochs, "device": device.type}
        options.json.write_text(json.dumps({**about, "space": options.space, "students": found}, indent=1))


if __name__ == "__main__":
    main()
