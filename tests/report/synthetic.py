"""Studies made up for the page: accuracies follow size and method with noise, so that a front and a ranking exist."""

from __future__ import annotations

import numpy as np

from autostudent.front import nondominated
from autostudent.records import Candidate, Cause, Failure, Objective, Result, Trial, TrialState
from autostudent.report.contents import Contents, Reference
from autostudent.report.ledger import ledger
from autostudent.space.architecture import Architecture, InputShape, freeze
from autostudent.space.space import load_space
from autostudent.store.choose import recommended

OBJECTIVES = (
    Objective("accuracy", "maximize", "fraction"),
    Objective("params", "minimize", "parameters", limit=1e5, exact=True),
    Objective("memory_bytes", "minimize", "bytes", limit=393216, exact=True),
)
METHODS = {"none": "–", "kd": "main", "takd": "ta1", "ces_kd": "main, ta1, ta2"}
CLAIM = {"points": 0.4, "low": -0.1, "high": 0.9, "seeds": 5, "verdict": "tie"}
RUNGS = (3, 9, 27)


def trial(number: int, rng: np.random.Generator, method: str) -> Trial:
    params = float(np.exp(rng.uniform(np.log(3e3), np.log(9e4))))
    gain = {"none": 0.0, "kd": 0.006, "takd": 0.01, "ces_kd": 0.004}[method]
    final = 0.985 - 0.05 * (3e3 / params) ** 0.5 + gain + rng.normal(0, 0.004)
    costs = {"params": round(params), "macs": round(params * 130), "memory_bytes": round(params * 4 + 60_000)}
    reach = TrialState.COMPLETE if rng.random() < 0.6 else TrialState.PRUNED
    epochs = RUNGS if reach is TrialState.COMPLETE else RUNGS[: int(rng.integers(1, 3))]
    results = tuple(
        Result(e, {"accuracy": final - 0.35 / e**0.9 + 0.018}, seconds={"student": 1.1 * e}, order=3 * number + i)
        for i, e in enumerate(epochs)
    )
    config: dict = {
        "noise": float(rng.random()),
        "top.nodes": 4,
        "top.p": 0.4137,
        "params.target": params,
        "kd.loss": "none" if method == "none" else "kd",
    }
    return Trial(number, Candidate(config, number), f"f{number}", reach, costs, results, epochs[-1], 1)


def small_graph(seed: int) -> Architecture:
    """A plain ResNet of a size that follows the seed."""
    space = load_space("resnet_family", None)
    config = {**space.sample(np.random.default_rng(seed)), "params.target": 2e4}
    return freeze(Candidate(config, 0), space, InputShape(1, 28, 28, 10))


def study(students: int = 24, *, name: str = "digits", hostile: str = "", proof: bool = True) -> Contents:
    """``hostile`` is put wherever a user may write."""
    rng = np.random.default_rng(1)
    names = list(METHODS)
    methods = [names[n % 4] for n in range(students)]
    trials = [trial(n, rng, method) for n, method in enumerate(methods)]
    for number, cause in ((5, Cause.DIVERGED), (11, Cause.BUG)):
        broken = trials[number]
        failure = Failure(cause, f"loss is nan {hostile}", f"Traceback: {hostile}")
        trials[number] = Trial(number, broken.candidate, "x", TrialState.FAIL, broken.costs, failure=failure)
    complete = [t for t in trials if t.state is TrialState.COMPLETE]
    points = np.array([(-t.values["accuracy"], t.costs["params"], t.costs["memory_bytes"]) for t in complete])
    recipes = {n: (method + hostile, METHODS[method] + hostile) for n, method in enumerate(methods)}
    front = [
        {"trial": t.number, "accuracy": t.values["accuracy"], **t.costs, "method": recipes[t.number][0]}
        | {"teachers": [recipes[t.number][1]]}
        for t, keep in zip(complete, nondominated(points), strict=True)
        if keep
    ]
    references = [
        Reference("main" + hostile, "teacher", 0.989, params=1_080_000, macs=40_000_000, memory_bytes=4_900_000),
        Reference("ta1", "assistant", 0.986, params=310_000, macs=13_000_000, memory_bytes=1_600_000),
        Reference("resnet 8 × 6", "rival", 0.969, sd=0.004, seeds=3, params=14_000, macs=900_000, memory_bytes=91_000),
        Reference("resnet 8 × 12", "rival", 0.977, params=52_000, macs=3_100_000, memory_bytes=260_000),
    ]
    chosen, _ = recommended(front, images=288)
    if proof:
        references += [
            Reference("main" + hostile, "teacher", 0.985, "test", params=1_080_000, memory_bytes=4_900_000),
            Reference(
                f"student {chosen['trial']}", "student", 0.981, "test", 0.003, 5, int(chosen["params"]),
                memory_bytes=int(chosen["memory_bytes"]),
            ),
            Reference("no teacher" + hostile, "control", 0.972, "test", 0.005, 5, int(chosen["params"])),
            Reference("logistic regression", "baseline", 0.966, "test"),
        ]  # fmt: skip
    return Contents(
        study={"study": name + hostile, "data": {"name": "digits"}, "budget": {"trials": students, "rungs": RUNGS}},
        objectives=OBJECTIVES,
        trials=trials,
        front=front,
        references=references,
        recipes=recipes,
        validation_images=288,
        ledger=ledger(
            [{"trial": t.number, "teachers": ["main"], "seconds": {"student": 3.0}} for t in trials],
            {"main": {"seconds": 41.0, "taught_by": []}},
        ),
        environment={"autostudent": "0.1.0", "torch": "2.13.0"},
        graphs={row["trial"]: small_graph(row["trial"]) for row in front[:40]},
        papers={"kd" + hostile: ["Hinton et al. 2015" + hostile]},
        citations=["Hinton, Vinyals, Dean (2015). Distilling the Knowledge in a Neural Network. arXiv 1503.02531."],
        claims=[CLAIM | {"difference": f"main{hostile} - student {chosen['trial']}"}] if proof else [],
        commands=["autostudent search studies/digits.yaml", "autostudent report studies/digits.yaml"],
        created="2026-01-05",
    )
