"""The one training loop: any method, any roles, in segments that can be cut anywhere.

`Fit` holds everything that a training changes. `Fit.save` writes it, `Fit.restore` reads it back, and a training that
was cut at any epoch ends bit for bit like one that was not (on CPU, with one thread): random draws are functions of
(seed, purpose, step), never of how often a generator was used.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from autostudent.distill import checkpoint
from autostudent.distill.job import Job, Mixing, check_needs, check_taps, derive_seed, generator, network_info
from autostudent.distill.ledger import Stopwatch
from autostudent.distill.method import Method, objective
from autostudent.distill.optim import SGD, anneal_steps
from autostudent.distill.replay import Replay, can_replay
from autostudent.distill.roles import has_half, network_of, optimizer_of, own_draws
from autostudent.distill.types import Batch, Output, Probe, Role, Spec, Stage, State, View
from autostudent.errors import AutostudentError

META_BATCH = 1000  # samples of the meta split in one call of `Probe.meta`, the size that AMAL uses


class Diverged(AutostudentError):
    """The loss is no longer a finite number."""


class Fit:
    """A training in progress. ``epoch`` counts finished epochs of the student; ``seconds`` is the cost ledger."""

    def __init__(self, job: Job) -> None:
        check_needs(job.method, job)
        self.job = job
        self.epoch = 0
        self.step = 0
        self.stage_number = -1
        self.seconds: dict[str, float] = {"student": 0.0, "private": 0.0}
        self._watch = Stopwatch(job.device)
        self._watches: list[Stopwatch] = []  # of the steps whose seconds are not in the ledger yet
        self.networks: dict[str, nn.Module] = {}
        self.states: dict[str, State] = {}
        self.optimizers: dict[str, SGD] = {}
        self._replays: dict[str, Replay] = {}
        held = job.meta if job.method.needs.meta and job.meta is not None else torch.empty(0, dtype=torch.long)
        keep = torch.ones(len(job.labels), dtype=torch.bool)
        keep[held] = False
        self.positions, self.held = keep.nonzero().flatten(), held
        # What steps read lies where they run: a copy from the processor would make every step wait for the device.
        self._soft = torch.eye(job.classes, device=job.device)
        self._labels = job.labels.to(job.device)
        self._facts = {name: fact.to(job.device) for name, fact in job.facts.items()}
        self.steps_per_epoch = -(-len(self.positions) // job.optim.batch_size)
        self.total = self.steps_per_epoch * job.optim.epochs
        self._anneal: tuple[int, int, float] | None = None  # first step, steps, factor at the first step
        probe = network_of(job, "student", "student", self.stage_number)
        teachers = tuple(source.info for source in job.sources)
        info = network_info("student", probe, job.classes)
        self.spec = Spec(info, teachers, job.classes, len(job.labels), job.seed)
        check_taps(job.method, info, teachers)
        self.plan = job.method.plan(self.spec)
        self.stage_ends = self.plan.ends(job.optim.epochs)
        self.networks["student"] = probe
        self._enter(0)

    # ---- stages and roles -------------------------------------------------------------------------------------------

    @property
    def stage(self) -> Stage:
        """The stage that trains now."""
        return self.plan.stages[self.stage_number]

    def _enter(self, number: int) -> None:
        """Makes the networks, states and optimisers of a stage; roles of earlier stages stay as frozen sources."""
        ended = {name: network.state_dict() for name, network in self.networks.items()} if number else {}
        self.stage_number = number
        self.optimizers = {}
        for role in self.stage.roles:
            if number or role.name not in self.networks:
                self.networks[role.name] = network_of(self.job, role.name, role.model, number)
            network = self.networks[role.name]
            if role.start.startswith("role:"):
                network.load_state_dict(ended[role.start.removeprefix("role:")])
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(derive_seed(self.job.seed, "state", role.name, number))
                state = self._method(role).init(self.spec).to(self.job.device)
            self.states[role.name] = state
            self.optimizers[role.name] = optimizer_of(self.job, role, network, state)
        active = {role.name for role in self.stage.roles}
        for name, network in self.networks.items():
            network.train(name in active).requires_grad_(name in active)
        self._replays = {
            role.name: Replay(
                self.networks[role.name],
                self.optimizers[role.name],
                self._method(role).needs.taps,
                self.states[role.name],
            )
            for role in self.stage.roles
            if self.job.replay and can_replay(self.networks[role.name], self.job.device)
        }

    def _method(self, role: Role) -> Method:
        return self.job.method if role.method is None else role.method

    # ---- one step ---------------------------------------------------------------------------------------------------

    @property
    def progress(self) -> float:
        """Share of the full training that is done; of the stage alone where its schedule starts anew."""
        first, last = 0, self.job.optim.epochs
        if self.stage.schedule == "stage":
            first = self.stage_ends[self.stage_number - 1] if self.stage_number else 0
            last = self.stage_ends[self.stage_number]
        return (self.step - first * self.steps_per_epoch) / ((last - first) * self.steps_per_epoch)

    @property
    def lr(self) -> float:
        """The learning rate of the next step."""
        if self._anneal is not None:
            first, steps, factor = self._anneal
            return self.job.optim.lr * factor * (1.0 - (self.step - first + 1) / (steps + 1))
        return self.job.optim.lr * self.job.optim.factor(self.progress)

    def _batches(self, epoch: int) -> Iterator[Batch]:
        """The mini-batches of an epoch, nearly equal in size.

        On a GPU they are all of one size, and the few samples that are left over sit out, others in every epoch: there
        every new batch size costs a second or so, in which kernels are chosen for every layer.
        """
        number, device = epoch % self.job.bank.views, self.job.device
        pictures, mixing = self.job.bank.view(number, device), self.job.bank.mixing(number, device)
        order = self.positions[torch.randperm(len(self.positions), generator=generator(self.job.seed, "order", epoch))]
        if device.type == "cuda":
            order = order[: len(order) // self.steps_per_epoch * self.steps_per_epoch]
        for index in order.to(device).tensor_split(self.steps_per_epoch):
            yield self._batch(pictures, index, number, mixing)

    def _batch(self, pictures: Tensor, index: Tensor, view: int | None, mixing: Mixing | None = None) -> Batch:
        soft, labels = self._soft, self._labels
        target = soft[labels[index]] if mixing is None else mixing.targets(soft, labels, index)
        return Batch(self.job.images(pictures[index]), target, index, view)

    def _forward(self, role: Role, batch: Batch, taps: Sequence[str]) -> Output:
        x = batch.x
        if role.input != "batch":
            where, tap = role.input.removeprefix("teacher:").split(".", 1)
            x = self.job.sources[int(where)].outputs(batch, (tap,)).taps[tap]
        network, replay = self.networks[role.name], self._replays.get(role.name)
        run: Callable[[Tensor], Output] = lambda given: self._passed(network, given, taps)  # noqa: E731
        with own_draws(network, self.job.device, self.job.seed, "forward", role.name, self.step):
            told = replay.forward(x, run) if replay is not None and torch.is_grad_enabled() else None
            return run(x) if told is None else told

    def _passed(self, network: nn.Module, x: Tensor, taps: Sequence[str]) -> Output:
        half = has_half(self.job.device)  # losses are in single precision everywhere
        with torch.autocast(self.job.device.type, torch.bfloat16, enabled=half, cache_enabled=False):
            if not taps:
                return Output(network(x).float())
            logits, tapped = network.features(x, taps)  # type: ignore[operator]
        return Output(logits.float(), {name: tap.float() for name, tap in tapped.items()})

    def _sources(self, role: Role, batch: Batch, peers: Mapping[str, Output]) -> tuple[tuple[Output, ...], tuple]:
        """Outputs and heads of all that a role learns from, in order."""
        method, outputs, heads = self._method(role), [], []
        for name in role.learns_from:
            if name == "teachers":
                wanted = batch if not method.needs.live else dataclasses.replace(batch, view=None)
                for source in self.job.sources:
                    outputs.append(source.outputs(wanted, method.needs.teacher_taps))
                    heads.append(getattr(source.module, "head", None))
            elif name in peers:
                outputs.append(peers[name].detach())
                heads.append(getattr(self.networks[name], "head", None))
            else:  # a role of an earlier stage, frozen
                self._watch.lap(role.name)
                with torch.no_grad():
                    outputs.append(self._forward(Role(name), batch, method.needs.taps))
                self._watch.lap(name)
                heads.append(getattr(self.networks[name], "head", None))
        return tuple(outputs), tuple(heads)

    def _view(self, role: Role, batch: Batch, own: Output, peers: Mapping[str, Output]) -> View:
        outputs, heads = self._sources(role, batch, peers)
        facts = {name: fact[batch.index] for name, fact in self._facts.items()}
        seed = derive_seed(self.job.seed, "loss", self.step)
        return View(batch, own, outputs, self.progress, self.lr, None, heads, facts, seed)

    def _objective(self, role: Role, view: View) -> Tensor:
        """mean over the batch of (label weight x cross-entropy + the method's loss)."""
        method, state = self._method(role), self.states[role.name]
        smoothing = self.job.optim.smoothing
        labels = F.cross_entropy(view.logits, view.batch.target, reduction="none", label_smoothing=smoothing)
        return objective(method, view, state, labels).mean()

    def _update(self, roles: Sequence[Role]) -> None:
        for role in roles:
            optimizer = self.optimizers[role.name]
            if role.name in self._replays:
                self._replays[role.name].update(self.lr * role.lr_scale)
            for group in optimizer.param_groups:
                group["lr"] = self.lr * group["scale"]
            optimizer.step()
            optimizer.zero_grad()

    def _train_step(self, batch: Batch) -> Tensor:
        """One step of all roles; returns the student's objective, not yet read from the device."""
        batch = self.job.method.transform(batch, generator(self.job.seed, "transform", self.step))
        roles, joint = self.stage.roles, self.stage.order == "joint"
        self._watch = Stopwatch(self.job.device, (role.name for role in roles))
        outputs: dict[str, Output] = {}
        reported = torch.zeros(())
        for role in roles:
            with torch.set_grad_enabled(joint or role is roles[0]):
                outputs[role.name] = self._forward(role, batch, self._method(role).needs.taps)
            self._watch.lap(role.name)
        if joint:
            losses: dict[str, Tensor] = {}
            for role in roles:
                view = self._view(role, batch, outputs[role.name], outputs)
                run: Callable[[View], Tensor] = partial(self._objective, role)
                replay = self._replays.get(role.name)
                losses[role.name] = run(view) if replay is None else replay.objective(view, run)
                self._watch.lap(role.name)
            if ahead := [loss for loss in losses.values() if loss.requires_grad]:  # no backward pass yet
                torch.stack(ahead).sum().backward()
            self._update(roles)
            reported = losses.get("student", losses[roles[0].name]).detach()
        else:
            for number, role in enumerate(roles):
                if number:  # its own output under gradient again, the others' after their update
                    outputs = {name: out.detach() for name, out in outputs.items()}
                    with torch.no_grad():
                        before = roles[number - 1]
                        outputs[before.name] = self._forward(before, batch, self._method(before).needs.taps)
                    outputs[role.name] = self._forward(role, batch, self._method(role).needs.taps)
                loss = self._objective(role, self._view(role, batch, outputs[role.name], outputs))
                loss.backward()
                self._update([role])
                reported = loss.detach() if role.name == "student" else reported
                self._watch.lap(role.name)
        self._watch.stop()
        self._watches.append(self._watch)
        self.step += 1
        return reported

    # ---- adapt ------------------------------------------------------------------------------------------------------

    def _adapt_due(self, method: Method) -> bool:
        cadence = method.cadence
        if self.step == 0:
            return cadence.start
        if cadence.every <= 0:
            return False
        return int(self.step / self.total / cadence.every) > int((self.step - 1) / self.total / cadence.every)

    def _adapt(self) -> None:
        """Lets every role's method move what the gradient does not move."""
        for role in self.stage.roles:
            method = self._method(role)
            if not self._adapt_due(method):
                continue
            watch, self._watch = Stopwatch(self.job.device), Stopwatch(self.job.device)
            network = self.networks[role.name].eval()
            with torch.no_grad():
                method.adapt(self._probe(role), self.states[role.name])
            network.train()
            watch.lap("adapt")
            watch.stop()
            self._watches.append(watch)

    def _probe(self, role: Role) -> Probe:
        taps = (*self._method(role).needs.taps, "penultimate")
        calls = iter(range(1_000_000))

        def train(count: int) -> Iterator[list[View]]:
            views = []
            for batch in self._batches(self.epoch):
                own = self._forward(role, batch, taps)
                views.append(self._view(role, batch.smoothed(self.job.optim.smoothing), own, {}))
                if len(views) == count:
                    yield views
                    views = []
            if views:
                yield views

        def meta() -> View:
            draw = generator(self.job.seed, "meta", self.step, next(calls))
            index = self.held[torch.randperm(len(self.held), generator=draw)[:META_BATCH]]
            batch = self._batch(self.job.bank.plain(self.job.device), index.to(self.job.device), None)
            return View(batch, self._forward(role, batch, taps), (), self.progress, self.lr)

        return Probe(train, meta, self.progress, self.lr, generator(self.job.seed, "adapt", self.step))

    # ---- segments ---------------------------------------------------------------------------------------------------

    @property
    def student(self) -> nn.Module:
        """The student that counts, in training mode."""
        return self.networks["student"]

    @property
    def metric_valid(self) -> bool:
        """Whether the student has begun to be trained for its task."""
        reached = [self.plan.stages[n] for n in range(self.stage_number + 1)]
        return any(stage.metric_valid and any(role.name == "student" for role in stage.roles) for stage in reached)

    def run(self, until_epoch: int, on_epoch: Callable[[int], None] | None = None) -> None:
        """Trains until ``until_epoch`` epochs are done. Raises `Diverged` when the loss is not finite."""
        while self.epoch < until_epoch:
            if self.epoch == self.stage_ends[self.stage_number]:
                self._enter(self.stage_number + 1)
            losses: list[Tensor] = []
            started = time.perf_counter()
            for batch in self._batches(self.epoch):
                if self.job.device.type == "cpu" or not losses:  # a GPU is still busy with the step before
                    self.seconds["student"] += time.perf_counter() - started  # making the batch
                self._adapt()
                losses.append(self._train_step(batch))
                started = time.perf_counter()
            loss = float(torch.stack(losses).mean())  # waits here, and only here, for an accelerator
            self._settle()
            if loss != loss or abs(loss) == float("inf"):
                raise Diverged(f"the loss is {loss} in epoch {self.epoch + 1}")
            self.epoch += 1
            if on_epoch is not None:
                on_epoch(self.epoch)

    def _settle(self) -> None:
        """Puts the seconds of finished steps into the ledger."""
        for watch in self._watches:
            for column, spent in watch.columns().items():
                self.seconds[column] += spent
        self._watches.clear()

    def annealed(self) -> nn.Module:
        """The student as a rung scores it, in eval mode: a copy whose learning rate fell to zero over a few steps.

        At the end of the training these are the student's own weights.
        """
        if self.epoch >= self.job.optim.epochs or not self.metric_valid:
            return self.student.eval()
        started = time.perf_counter()
        copy = Fit.restore(self.job, self.save())
        if copy.epoch == copy.stage_ends[copy.stage_number]:
            copy._enter(copy.stage_number + 1)
        steps = min(anneal_steps(copy.total), copy.total - copy.step)
        copy._anneal = (copy.step, steps, copy.lr / copy.job.optim.lr)
        for batch in copy._endless():
            copy._train_step(batch)
            steps -= 1
            if not steps:
                break
        if self.job.device.type == "cuda":
            torch.cuda.synchronize(self.job.device)
        self.seconds["rung"] = self.seconds.get("rung", 0.0) + time.perf_counter() - started
        return copy.student.eval()

    def _endless(self) -> Iterator[Batch]:
        epoch = self.epoch
        while True:
            yield from self._batches(epoch)
            epoch += 1

    def save(self, owner: str = "") -> bytes:
        """Everything that the training changed, as safetensors bytes; ``owner`` stands in the header."""
        meta = {
            "owner": owner,
            "epoch": self.epoch,
            "step": self.step,
            "stage": self.stage_number,
            "seconds": self.seconds,
            "total": self.total,
            "views": self.job.bank.views,
        }
        return checkpoint.pack(self.networks, self.states, self.optimizers, meta)

    @classmethod
    def restore(cls, job: Job, data: bytes) -> Fit:
        """The training that `save` wrote, for the same job."""
        fit = cls(job)
        tensors, meta = checkpoint.unpack(data)
        if meta["total"] != fit.total or meta["views"] != job.bank.views:
            raise AutostudentError(
                f"the checkpoint is of a run of {meta['total']} steps over {meta['views']} views; "
                f"this one has {fit.total} steps over {job.bank.views}"
            )
        for number in range(1, meta["stage"] + 1):
            fit._enter(number)
        checkpoint.load(tensors, fit.networks, fit.states, fit.optimizers)
        fit.epoch, fit.step, fit.seconds = meta["epoch"], meta["step"], dict(meta["seconds"])
        return fit
