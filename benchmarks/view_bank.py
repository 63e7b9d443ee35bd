"""What a bank of augmented views costs in accuracy, beside augmentation drawn anew for every student.

    python benchmarks/view_bank.py --npz FASHION.npz [--views 1,3,9] [--epochs 27] [--seeds 8] [--more 20] \
        [--results FOLDER]

A student of about 11,000 parameters learns by plain knowledge distillation from 10,000 pictures; epoch e walks through
view e mod V of a bank.

V = 1, 3, 9     fewer views than epochs, seen again and again
V = epochs      the default of a study: no view is seen twice, but every student sees the same ones
on-line         every picture is cropped anew in every epoch of every student, by torchvision's ``RandomCrop`` and
                torch's generator: neither the bank's code nor its random numbers

A bank of V = epochs is on-line augmentation by construction, as far as one student goes. What the default can lose is
what sharing one draw among all students, or a fault of the bank's own drawing, costs; so the control shares neither.
Student s reads the bank of seed s mod 4: an interval is about more than one bank. Banks of one seed begin with the
same views, so V = 1 is the first view of the others.

The teacher is live everywhere, in single precision; what it says of the views of a bank is remembered in this process,
nothing is rounded to halves. Students of one seed have the same initial weights and the same order of pictures in
every row; differences are paired, intervals are t-intervals of 95 %. As the default's difference is expected to be
nothing, its interval has to be short: ``--more`` seeds for it and the control, as many as set beforehand. Accuracy is
that of the last epoch on the pictures kept for tests. One process, one thread; finished trainings are not run again.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from machine import environment
from scipy import stats
from torch import Tensor
from trainings import RESULTS, Data, Line, data_of, latest, read, spread, table

from autostudent.assets import Assets
from autostudent.build.network import build
from autostudent.data.datasets import Dataset
from autostudent.data.views import Augment, ViewBank, images
from autostudent.data.vision_import import vision
from autostudent.distill.fit import Fit
from autostudent.distill.job import Bank, Job, Source, derive_seed
from autostudent.distill.methods import METHODS
from autostudent.distill.optim import Optim
from autostudent.distill.types import Batch, Output
from autostudent.measure.predict import predict
from autostudent.measure.quality import quality
from autostudent.records import digest
from autostudent.space.architecture import Architecture
from autostudent.teach.teacher import Teacher, live
from autostudent.teach.teachers import resolve

CODE = 1  # a change of what a training does must change this number: it is part of the lines' keys
STUDENT = 11_000
TEACHER = {"depth": 8, "width": 16}
BANKS = 4  # student s reads the bank of seed s mod this
ONLINE = "on-line"


@dataclass(frozen=True)
class OnLine:
    """Views of one student alone: each is drawn when it is asked for, by torchvision."""

    x: Tensor
    views: int
    seed: int
    augment: Augment

    def plain(self, device: torch.device | str = "cpu") -> Tensor:
        return self.x.to(device)

    def mixing(self, number: int, device: torch.device | str = "cpu") -> None:
        return None

    def view(self, number: int, device: torch.device | str = "cpu") -> Tensor:
        transforms = vision("transforms")
        padded = transforms.functional.pad(self.x, [self.augment.crop_pad])
        crop, mirror = transforms.RandomCrop(self.x.shape[2:]), transforms.RandomHorizontalFlip()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive_seed("on-line", self.seed, number))
            cropped = torch.stack([crop(picture) for picture in padded])
            view = torch.stack([mirror(picture) for picture in cropped]) if self.augment.flip else cropped
        return view.to(device)


class Remembered:
    """A live teacher whose answers to the views of one bank after the other are kept in memory, unrounded."""

    def __init__(self, teacher: Teacher, dataset: Dataset) -> None:
        self.teacher, self.dataset, self.answers = teacher, dataset, dict[int, Tensor]()
        self.bank = -1

    def source(self, bank: ViewBank) -> Source:
        """The teacher for a training on ``bank``."""
        asked = live(self.teacher)
        if bank.seed != self.bank:
            self.answers.clear()
            self.bank = bank.seed

        def outputs(batch: Batch, taps: Sequence[str]) -> Output:
            assert batch.view is not None
            assert not taps
            if batch.view not in self.answers:
                self.answers[batch.view] = predict(self.teacher.module, bank.view(batch.view), self.teacher.device)
            return Output(self.answers[batch.view][batch.index])

        return Source(asked.info, outputs, asked.module, asked.fresh)


def trained(
    dataset: Dataset, graph: Architecture, bank: Bank, source: Source, seed: int, epochs: int, batch: int
) -> dict[str, float]:
    """Accuracy on the test pictures after the last epoch, and processor seconds."""
    started = time.process_time()
    job = Job(
        student=lambda s: build(graph, s, dataset.mean, dataset.std),
        method=METHODS["kd"](),
        sources=(source,),
        bank=bank,
        labels=dataset.train.y,
        classes=len(dataset.classes),
        optim=Optim(epochs=epochs, batch_size=batch),
        seed=derive_seed("view_bank", seed),
        images=images,
    )
    fit = Fit(job)
    fit.run(epochs)
    spent = time.process_time() - started
    return {**quality(predict(fit.student.eval(), dataset.test.x), dataset.test.y), "cpu_s": spent}


def carry_out(data: Data, views: Sequence[int], epochs: int, seeds: int, more: int, path: Path, about: str) -> None:
    """Runs what the file does not hold yet: seed after seed, and of each bank's students one after the other."""
    done = {(line["row"], line["seed"]) for line in read(path) if line["about"] == about}
    rows = [f"V = {number}" for number in views] + [ONLINE]
    wanted = [(row, seed) for seed in range(max(seeds, more)) for row in rows]
    least = dict.fromkeys(rows, seeds) | {f"V = {epochs}": more, ONLINE: more}
    left = [(row, seed) for row, seed in wanted if seed < least[row] and (row, seed) not in done]
    if not left:
        return
    spec = {"resnet": {**TEACHER, "stem_stride": data.stem_stride}, "epochs": 12, "batch_size": data.batch_size}
    teacher = resolve("main", spec, data.dataset, Assets("runs/benchmarks/assets"))
    print(f"teacher: {100 * teacher.metrics['accuracy']:.1f} % on validation", flush=True)
    graph, remembered = data.student(STUDENT), Remembered(teacher, data.dataset)
    x, augment = data.dataset.train.x, data.dataset.augment
    path.parent.mkdir(parents=True, exist_ok=True)
    for number, (row, seed) in enumerate(sorted(left, key=lambda task: (task[1] // 8, task[1] % BANKS)), 1):
        if row == ONLINE:
            found = trained(
                data.dataset, graph, OnLine(x, epochs, seed, augment), live(teacher), seed, epochs, data.batch_size
            )
        else:
            bank = ViewBank(x, int(row.removeprefix("V = ")), seed % BANKS, augment)
            found = trained(data.dataset, graph, bank, remembered.source(bank), seed, epochs, data.batch_size)
        line = {"about": about, "row": row, "seed": seed, "epochs": epochs, **found}
        with path.open("a") as file:
            file.write(json.dumps(line) + "\n")
        print(f"{number}/{len(left)} {row} seed {seed}: {100 * found['accuracy']:.2f} %, {found['cpu_s']:.0f} s")


def paired(row: Mapping[int, float], control: Mapping[int, float]) -> tuple[int, float, float]:
    """(pairs, mean difference, half of its 95 % t-interval), in points."""
    gaps = [100 * (row[seed] - control[seed]) for seed in row if seed in control]
    if len(gaps) < 2:
        return len(gaps), statistics.fmean(gaps) if gaps else float("nan"), float("nan")
    half = stats.t.ppf(0.975, len(gaps) - 1) * statistics.stdev(gaps) / len(gaps) ** 0.5
    return len(gaps), statistics.fmean(gaps), float(half)


def report(lines: Sequence[Line]) -> str:
    """The table: rows by V, the control last."""
    rows: dict[str, dict[int, float]] = {}
    for line in lines:
        rows.setdefault(line["row"], {})[line["seed"]] = line["accuracy"]
    order = sorted(rows, key=lambda row: (row == ONLINE, int(row.removeprefix("V = ")) if row != ONLINE else 0))
    out = []
    for row in order:
        count, mean, half = paired(rows[row], rows.get(ONLINE, {}))
        told = "–" if row == ONLINE else f"{mean:+.2f} ± {half:.2f} ({mean - half:+.2f} to {mean + half:+.2f})"
        out.append([row, str(len(rows[row])), spread(list(rows[row].values()), 100, 2), str(count), told])
    titles = ["", "students", "test accuracy, %", "pairs", "difference from on-line, points (95 %)"]
    return table(titles, out)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--npz", required=True, help="Fashion-MNIST as an .npz file")
    parser.add_argument("--limit", type=int, default=10_000, help="pictures to train and validate on")
    parser.add_argument("--views", default="1,3,9", help="sizes of banks beside the default, comma separated")
    parser.add_argument("--epochs", type=int, default=27)
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--more", type=int, default=20, help="seeds of the default and of the control")
    parser.add_argument("--results", type=Path, default=RESULTS)
    given = parser.parse_args()
    torch.set_num_threads(1)
    data = data_of("fashion", given.npz, given.limit)
    views = [*(int(number) for number in given.views.split(",")), given.epochs]
    about = digest([CODE, data.dataset.fingerprint, given.epochs, data.batch_size, STUDENT, TEACHER, BANKS])
    path = given.results / "view_bank.jsonl"
    carry_out(data, views, given.epochs, given.seeds, max(given.more, given.seeds), path, about)
    print("\n" + environment() + "\n")
    print(report(latest(read(path))))


if __name__ == "__main__":
    main()
