"""The conformance suite for distillation methods, for this package's own and for plug-ins.

A test file subclasses `MethodSuite` and gives a pytest fixture ``method`` (its instances may be parameters)::

    class TestMine(MethodSuite):
        @pytest.fixture(params=[Mine(), Mine(weight=0.5)], ids=repr)
        def method(self, request):
            return request.param
"""

from __future__ import annotations

import dataclasses
import pickle
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from autostudent.distill.fit import Fit
from autostudent.distill.hinted import hint_taps
from autostudent.distill.job import Job, Source
from autostudent.distill.method import Method, Wrapper, knobs
from autostudent.distill.methods.ces_kd import CESKD
from autostudent.distill.methods.ctkd import CTKD
from autostudent.distill.methods.eskd import ESKD
from autostudent.distill.methods.ta_ensemble import TAEnsemble
from autostudent.distill.methods.takd import TAKD
from autostudent.distill.methods.teacher_sweet_spot import TeacherSweetSpot
from autostudent.distill.types import Batch, NetworkInfo, Output, Spec, State, View
from autostudent.errors import ConfigError
from autostudent.testing.toys import ToyNet, toy_job, toy_weights

BATCH, CLASSES, MAP = 12, 5, 4
WRAPPERS: tuple[type[Wrapper], ...] = (TAKD, CESKD, TAEnsemble, TeacherSweetSpot, CTKD, ESKD)


@dataclass(frozen=True)
class Bench:
    """One role of a method's plan, with a view to call it on and its own logits as a leaf."""

    role: str
    method: Method
    state: State
    view: View

    def objective(self) -> Tensor:
        """``(B,)``: what the training loop takes the mean of."""
        labels = nn.functional.cross_entropy(self.view.logits, self.view.batch.target, reduction="none")
        weight = self.method.label_weight(self.view, self.state)
        return weight * labels + self.method.loss(self.view, self.state)


def teachers_for(method: Method) -> int:
    """A number of teachers that the method takes: three where it may be many."""
    least, most = method.needs.teachers
    return max(least, 3) if most is None else most


def toy_info(name: str, width: int) -> NetworkInfo:
    """A network with three stages of ``width`` channels, and with up to three hint points."""
    taps = {f"stage{n}": (width, 2 ** (n - 1)) for n in (1, 2, 3)}
    hints = {tap: (width, 2**place) for n in (1, 2, 3) for place, tap in enumerate(hint_taps(n))}
    depths = {tap: (1 + place) / 3 for n in (1, 2, 3) for place, tap in enumerate(hint_taps(n))}
    return NetworkInfo(name, CLASSES, 100 * width, width, {**taps, **hints, "penultimate": (width, 0)}, depths)


def toy_spec(method: Method) -> Spec:
    """What `init` and `plan` are given."""
    teachers = tuple(toy_info(f"t{n}", 6 + n) for n in range(teachers_for(method)))
    return Spec(toy_info("student", 4), teachers, CLASSES, BATCH, seed=3)


def benches(method: Method, scale: float = 1.0, progress: float = 0.5, seed: int = 0) -> list[Bench]:
    """Every role of every stage, on random logits of standard deviation ``scale``; views hold what `needs` asks."""
    spec, rng, found = toy_spec(method), torch.Generator().manual_seed(seed), []
    for stage in method.plan(spec).stages:
        for role in stage.roles:
            own = method if role.method is None else role.method
            sources: list[NetworkInfo] = []
            for name in role.learns_from:
                sources += spec.teachers if name == "teachers" else [spec.student]
            torch.manual_seed(seed)
            state = own.init(spec)
            found.append(Bench(role.name, own, state, toy_view(own, spec.student, sources, scale, progress, rng)))
    return found


def toy_view(
    method: Method,
    student: NetworkInfo,
    sources: list[NetworkInfo],
    scale: float,
    progress: float,
    rng: torch.Generator,
) -> View:
    """A view with what the method's needs name."""
    needs = method.needs

    def output(info: NetworkInfo, names: Sequence[str]) -> Output:
        logits = torch.randn(BATCH, CLASSES, generator=rng) * scale
        shapes = {tap: (BATCH, info.taps[tap][0], *((MAP, MAP) if info.taps[tap][1] else ())) for tap in names}
        taps = {tap: torch.randn(shape, generator=rng) for tap, shape in shapes.items()}
        return Output(logits, taps)

    def head(info: NetworkInfo) -> nn.Module:
        return nn.Linear(info.width, CLASSES).requires_grad_(False)

    mine = output(student, needs.taps)
    mine = Output(mine.logits.requires_grad_(), {n: tap.requires_grad_() for n, tap in mine.taps.items()})  # type: ignore[union-attr]
    target = nn.functional.one_hot(torch.arange(BATCH) % CLASSES, CLASSES).float()
    every = {
        "difficulty": torch.arange(BATCH) / (BATCH - 1),
        "ladder_agreement": torch.arange(BATCH) % max(len(sources), 1),
        **toy_weights(BATCH, len(sources)),
    }
    return View(
        Batch(torch.zeros(BATCH, 1, 2, 2), target, torch.arange(BATCH), 0),
        mine,
        tuple(output(info, needs.teacher_taps) for info in sources),
        progress,
        0.1,
        None,
        tuple(head(info) if needs.access == "heads" else None for info in sources),
        {fact: every[fact] for fact in needs.derived},
        seed=11,
    )


def permuted(view: View, order: Tensor) -> View:
    """The same samples in another order."""

    def output(out: Output) -> Output:
        return Output(out.logits[order], {n: t[order] for n, t in out.taps.items()})  # type: ignore[index]

    batch = Batch(view.batch.x[order], view.batch.target[order], view.batch.index[order], view.batch.view)
    facts = {name: fact[order] for name, fact in view.facts.items()}
    return dataclasses.replace(
        view, batch=batch, own=output(view.own), sources=tuple(output(s) for s in view.sources), facts=facts
    )


def job_for(method: Method, epochs: int = 9, batch_size: int = 16, lr: float = 0.1) -> Job:
    """A complete training of a tiny network for ``method``."""
    job = toy_job(method, teachers=teachers_for(method), epochs=epochs)
    return dataclasses.replace(job, optim=dataclasses.replace(job.optim, batch_size=batch_size, lr=lr))


def taught_right(job: Job) -> Job:
    """The same job with a wider student and teachers whose logits know the labels."""

    def knowing(source: Source) -> Source:
        def outputs(batch: Batch, taps: Sequence[str]) -> Output:
            known = source.outputs(batch, taps)
            return Output(6.0 * nn.functional.one_hot(job.labels[batch.index], job.classes).float(), known.taps)

        return dataclasses.replace(source, outputs=outputs)

    sources = tuple(knowing(source) for source in job.sources)
    return dataclasses.replace(job, sources=sources, student=lambda seed: ToyNet(seed, 16))


class MethodSuite:
    """What every method promises. Subclasses give the fixture ``method``."""

    def test_gives_one_number_a_sample(self, method: Method) -> None:
        for bench in benches(method):
            assert bench.method.loss(bench.view, bench.state).shape == (BATCH,), bench.role
            assert bench.objective().shape == (BATCH,), bench.role

    def test_is_finite_at_huge_logits_with_finite_gradients(self, method: Method) -> None:
        for scale in (300.0, 1e4):
            for bench in benches(method, scale):
                bench.objective().sum().backward()
                assert bench.objective().isfinite().all(), (bench.role, scale)
                grad = bench.view.logits.grad
                assert grad is not None, (bench.role, scale)
                assert grad.isfinite().all(), (bench.role, scale)

    def test_gradient_reaches_the_student_and_all_that_is_learned_beside_it(self, method: Method) -> None:
        for bench in benches(method):
            bench.objective().sum().backward()
            grad = bench.view.logits.grad
            assert grad is not None, bench.role
            assert grad.abs().sum() > 0, bench.role
            for name, parameter in bench.state.named_parameters():
                assert parameter.grad is not None, (bench.role, name)

    def test_samples_in_another_order_give_the_same_numbers(self, method: Method) -> None:
        order = torch.randperm(BATCH, generator=torch.Generator().manual_seed(1))
        for bench in benches(method):
            mixed = dataclasses.replace(bench, view=permuted(bench.view, order))
            assert torch.allclose(bench.objective()[order], mixed.objective(), atol=1e-5), bench.role

    def test_pickles_and_compares_by_value(self, method: Method) -> None:
        assert pickle.loads(pickle.dumps(method)) == method  # noqa: S301 (what we just wrote)

    def test_defaults_lie_in_their_ranges_and_knobs_are_explained(self, method: Method) -> None:
        for name, default, allowed in knobs(type(method)):
            assert allowed["doc"], name
            if allowed["choices"]:
                assert default in allowed["choices"], name
            else:
                assert allowed["low"] <= default <= allowed["high"], name
                assert not allowed["log"] or allowed["low"] > 0, name

    def test_names_its_paper(self, method: Method) -> None:
        assert method.paper.title

    def test_too_few_teachers_are_refused_before_training(self, method: Method) -> None:
        least = method.needs.teachers[0]
        if least == 0:
            return
        try:
            Fit(toy_job(method, teachers=least - 1))
        except ConfigError:
            return
        raise AssertionError(f"{type(method).__name__} began with {least - 1} teachers")

    def test_stages_share_the_run_and_end_with_the_student(self, method: Method) -> None:
        stages = method.plan(toy_spec(method)).stages
        assert abs(sum(stage.epochs for stage in stages) - 1) < 1e-9
        assert "student" in [role.name for role in stages[-1].roles]
        assert stages[-1].metric_valid

    def test_every_wrapper_takes_it_or_refuses_it_with_a_reason(self, method: Method) -> None:
        for wrapper in WRAPPERS:
            try:
                wrapped = wrapper(inner=method)
            except ConfigError:
                continue
            for bench in benches(wrapped):
                assert bench.objective().isfinite().all(), wrapper.__name__
            Fit(job_for(wrapped)).run(1)

    def test_a_cut_anywhere_changes_nothing(self, method: Method) -> None:
        job = job_for(method, epochs=27, batch_size=24)
        whole, cut = Fit(job), Fit(job)
        whole.run(27)
        for start, end in pairwise((0, 3, 9, 27)):
            assert cut.epoch == start
            cut.run(end)
            cut = Fit.restore(job, cut.save())
        for a, b in zip(whole.student.state_dict().values(), cut.student.state_dict().values(), strict=True):
            assert torch.equal(a, b)

    def test_leaves_frozen_teachers_alone(self, method: Method) -> None:
        job = job_for(method)
        modules = [source.module for source in job.sources if source.module is not None]
        before = [{name: t.clone() for name, t in module.state_dict().items()} for module in modules]
        Fit(job).run(2)
        for module, old in zip(modules, before, strict=True):
            assert all(torch.equal(old[name], tensor) for name, tensor in module.state_dict().items())
            assert all(parameter.grad is None for parameter in module.parameters())

    def test_learns_a_few_samples_by_heart(self, method: Method) -> None:
        epochs = 30 * len(method.plan(toy_spec(method)).stages) ** 2  # what a stage learns rests on the one before
        job = taught_right(job_for(method, epochs, lr=0.03))
        fit = Fit(job)
        fit.run(epochs)
        student = fit.annealed()
        with torch.no_grad():
            right = student(job.images(job.bank.plain())).argmax(1) == job.labels
        assert right.float().mean() > 0.9
