"""Hint points: which blocks stand for all, that they are kept and offered as taps, and who has none."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import autostudent
from autostudent.assets import Assets
from autostudent.data.datasets import Dataset, load
from autostudent.data.views import images
from autostudent.data.vision_import import vision
from autostudent.distill.hinted import hint_taps
from autostudent.distill.recipe import read_recipe
from autostudent.distill.types import Batch
from autostudent.errors import ConfigError, TeacherError
from autostudent.measure.predict import seen
from autostudent.settings import roster_of
from autostudent.teach.catalogue import require_open
from autostudent.teach.foreign import Foreign
from autostudent.teach.hint_points import HintPoints, blocks_of, medoids, offered, points_of, pooled_blocks, similarity
from autostudent.teach.teacher import Teacher, live
from autostudent.teach.teachers import resolve


def drawn(*widths: int, samples: int = 40) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(samples, width, generator=generator, dtype=torch.float64) for width in widths]


def turned(x: Tensor) -> Tensor:
    random = torch.randn(x.shape[1], x.shape[1], generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return x @ torch.linalg.qr(random)[0]


def test_similarity_is_cka_by_kernels() -> None:
    first, second = drawn(6, 9)
    centring = np.eye(40) - 1 / 40
    kernels = [centring @ (x @ x.T).numpy() @ centring for x in (first, second)]
    expected = (kernels[0] * kernels[1]).sum() / np.sqrt((kernels[0] ** 2).sum() * (kernels[1] ** 2).sum())
    found = similarity([first, second])

    assert float(found[0, 1]) == pytest.approx(expected)
    assert torch.allclose(found.diagonal(), torch.ones(2, dtype=torch.float64))
    assert torch.allclose(found, found.T)


def test_points_do_not_change_when_channels_are_exchanged_turned_or_scaled() -> None:
    first, second, third = drawn(6, 9, 5)
    layers = {f"block{n}": x for n, x in enumerate((first, first + 0.1 * first.flip(1), second, third), 1)}
    points = points_of(layers)
    other = points_of({name: 3 * turned(x)[:, torch.randperm(x.shape[1])] + 1 for name, x in layers.items()})

    assert points == other
    assert set(points) == {tap for count in (1, 2, 3, 4) for tap in hint_taps(count)}
    assert [points[tap] for tap in hint_taps(4)] == list(layers)


def test_a_constant_block_is_like_no_other() -> None:
    assert similarity([drawn(4)[0], torch.ones(40, 3, dtype=torch.float64)])[0, 1] == 0


@pytest.mark.parametrize("count", [1, 2, 3])
def test_medoids_are_as_good_as_the_best_of_all(count: int) -> None:
    places = torch.tensor([0.0, 0.1, 0.2, 2.0, 2.1, 5.0, 5.1, 5.3])
    far = (places[:, None] - places).abs().double()
    best = min(float(far[list(some)].amin(0).sum()) for some in itertools.combinations(range(8), count))
    found = medoids(far, count)

    assert list(found) == sorted(set(found))
    assert float(far[list(found)].amin(0).sum()) == pytest.approx(best)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Teacher, Dataset, Assets]:
    assets, dataset = Assets(tmp_path_factory.mktemp("assets")), load({"name": "digits", "limit": 300})
    spec = {"resnet": {"depth": 14, "width": 4}, "epochs": 1}
    return resolve("main", spec, dataset, assets), dataset, assets


def test_points_are_found_once_and_are_taps_of_the_source(
    made: tuple[Teacher, Dataset, Assets], monkeypatch: pytest.MonkeyPatch
) -> None:
    teacher, dataset, assets = made
    hints, source = HintPoints(assets, dataset, teacher.key), live(teacher)
    assert hints.shown(source) is source
    points = hints.ensure(teacher)
    monkeypatch.delattr("autostudent.teach.hint_points.pooled_blocks")
    assert hints.ensure(teacher) == points

    shown = hints.shown(source)
    batch = Batch(torch.rand(3, 1, 8, 8), torch.zeros(3, 10), torch.arange(3))
    found = shown.outputs(batch, ("hint1of3", "stage2", "hint3of3")).taps
    plain = source.outputs(batch, (points["hint1of3"], "stage2", points["hint3of3"])).taps
    depths = [shown.info.depths[tap] for tap in hint_taps(3)]

    assert list(found) == ["hint1of3", "stage2", "hint3of3"]
    assert torch.equal(found["hint1of3"], plain[points["hint1of3"]])
    assert found["hint3of3"].shape[1] == shown.info.taps["hint3of3"][0]
    assert depths == sorted(set(depths))
    assert source.info.depths == {"stage1": 2 / 6, "stage2": 4 / 6, "stage3": 1.0}
    assert "hint1of3" not in source.info.taps


def test_blocks_are_averaged_over_pixels_on_a_fifth_of_the_pictures(made: tuple[Teacher, Dataset, Assets]) -> None:
    teacher, dataset, _ = made
    pooled = pooled_blocks(teacher, dataset)

    assert list(pooled) == [f"block{n}" for n in range(1, 7)]
    assert pooled["block6"].shape == (len(dataset.train.x), 16)  # a fifth would be too few here
    x = images(dataset.train.x[torch.from_numpy(np.sort(np.random.default_rng(0).permutation(len(dataset.train.x))))])
    with torch.no_grad():
        blocks = teacher.module.features(x, ["block1", "block2"])[1]  # type: ignore[operator]
    for name, maps in blocks.items():
        assert torch.allclose(pooled[name], maps.relu().double().mean((2, 3)), atol=1e-5)


@torch.no_grad()
def test_blocks_without_a_relu_of_their_own_are_compared_after_one(made: tuple[Teacher, Dataset, Assets]) -> None:
    teacher, dataset, _ = made
    names = [block.name for block in blocks_of(teacher.module)]

    class Lowered(torch.nn.Module):
        """The teacher's blocks, half of whose numbers are negative."""

        blocks = blocks_of(teacher.module)

        def features(self, x: Tensor, taps: Sequence[str]) -> tuple[Tensor, dict[str, Tensor]]:
            logits, found = teacher.module.features(x, taps)  # type: ignore[operator]
            return logits, {name: maps - 0.5 for name, maps in found.items()}

    lowered = dataclasses.replace(teacher, module=Lowered())
    pooled = pooled_blocks(lowered, dataset)
    assert list(pooled) == names
    assert all((found >= 0).all() for found in pooled.values())


def test_a_teacher_from_elsewhere_has_the_blocks_of_its_stages(tmp_path: Path) -> None:
    dataset = load({"name": "digits", "limit": 300})
    network = vision("models").resnet18(num_classes=10)
    torch.save(network.state_dict(), tmp_path / "weights.pt")
    spec: dict[str, Any] = {"torchvision": "resnet18", "weights": str(tmp_path / "weights.pt"), "resize": 32}
    teacher = resolve("main", spec, dataset, Assets(tmp_path / "assets"))
    blocks: Any = teacher.module.blocks
    taps = teacher.module.features(torch.rand(2, 1, 8, 8), [block.name for block in blocks])[1]  # type: ignore[operator]

    assert [block.channels for block in blocks] == [64, 64, 128, 128, 256, 256, 512, 512]
    assert [taps[block.name].shape[1] for block in blocks] == [block.channels for block in blocks]
    assert {"hint4of4", "stage4", "penultimate"} <= offered(teacher)


def test_a_teacher_with_too_few_blocks_is_refused(made: tuple[Teacher, Dataset, Assets]) -> None:
    teacher = made[0]
    recipe = read_recipe({"kd.loss": "pursuhint"}, roster_of({"main": {}}, None))
    taps = ("stage1", "stage2", "stage3", "penultimate")
    closed = dataclasses.replace(teacher, module=torch.nn.Flatten())

    require_open([recipe], {"main": teacher}, taps)
    with pytest.raises(ConfigError, match=r"teachers\.main: got 'no hint1of3, hint2of3, hint3of3'.*pursuhint look"):
        require_open([recipe], {"main": closed}, taps)


def test_a_student_learns_from_hint_points(tmp_path: Path) -> None:
    settings = ["data.name=digits", "data.limit=300", f"artifacts={tmp_path}"]
    outcome = autostudent.train_student(
        "resnet:8x2", "pursuhint", "resnet:14x4@1", settings=[*settings, "pursuhint.points=2"], epochs=1
    )

    assert (outcome["method"], outcome["teachers"]) == ("pursuhint", ["main"])


@pytest.mark.parametrize(("name", "count"), [("mobilenet_v2", 19), ("convnext_tiny", 8)])
def test_blocks_of_a_trunk_are_its_parts_in_order(name: str, count: int) -> None:
    network = vision("models").get_model(name, weights=None).eval()
    paths = [*Foreign(network, (3, 64, 64), 1000, 3, (0,) * 3, (1,) * 3).block_paths.values()]
    assert paths == [f"features.{place}" for place in range(count)]


def test_attributes_of_these_names_that_mean_something_else_are_none() -> None:
    for blocks in (3, torch.nn.Sequential(torch.nn.Identity()), (1, 2)):
        module = torch.nn.Identity()
        module.blocks = blocks
        assert blocks_of(module) == ()
    module.resize = torch.nn.Identity()
    assert seen(module, 8, 9) == (8, 9)


def test_points_are_not_looked_for_among_numbers_that_are_none() -> None:
    with pytest.raises(TeacherError, match="block2 of the teacher gives numbers that are not finite"):
        points_of({"block1": torch.rand(4, 2), "block2": torch.tensor([[math.nan]] * 4)})
    assert medoids(torch.full((4, 4), math.nan), 2) == (0, 3)
