"""Derives losses.json from the papers' formulas, with Python's 50-digit decimals and nothing of this package.

Run `python tests/golden/derive_losses.py` to write it anew; a test checks that it still gives the same numbers.
"""

from __future__ import annotations

import json
from decimal import Decimal, getcontext
from pathlib import Path

getcontext().prec = 50
D = Decimal

STUDENT = [["1", "0", "-1", "0.5"], ["2", "-1", "0.25", "-2"], ["-0.5", "1.5", "3", "0"]]
TEACHERS = [
    [["2", "-1", "0.5", "-2"], ["-1", "1", "1.5", "0"], ["0", "0.5", "4", "-3"]],
    [["0.5", "0.25", "-0.75", "1"], ["3", "-2", "0", "1"], ["1", "2", "-1", "0.5"]],
    [["-1", "2", "1", "0"], ["0", "0", "0", "0"], ["-2", "-1", "5", "1"]],
]
LABELS = [0, 2, 2]
Row = list[Decimal]


def rows(table: list[list[str]]) -> list[Row]:
    return [[D(x) for x in row] for row in table]


def softmax(z: Row, temperature: str = "1") -> Row:
    powers = [(x / D(temperature)).exp() for x in z]
    return [p / sum(powers) for p in powers]


def kl(p: Row, q: Row) -> Decimal:
    return sum((a * (a.ln() - b.ln()) for a, b in zip(p, q, strict=True)), D(0))


def entropy(p: Row) -> Decimal:
    return -sum((a * a.ln() for a in p), D(0))


def drop(z: Row, label: int) -> Row:
    return z[:label] + z[label + 1 :]


def pearson(u: Row, v: Row) -> Decimal:
    mu, mv = sum(u) / len(u), sum(v) / len(v)
    cross = sum(((a - mu) * (b - mv) for a, b in zip(u, v, strict=True)), D(0))
    norms = [sum(((a - m) ** 2 for a in w), D(0)).sqrt() for w, m in ((u, mu), (v, mv))]
    return cross / (norms[0] * norms[1] + D("1e-8"))


def dot(u: Row, v: Row) -> Decimal:
    return sum((a * b for a, b in zip(u, v, strict=True)), D(0))


def directed(u: Row) -> Row:
    length = dot(u, u).sqrt()
    return [x / length if length else D(0) for x in u]


def huber(x: Decimal, y: Decimal) -> Decimal:
    far = abs(x - y)
    return far**2 / 2 if far < 1 else far - D("0.5")


def apart(u: Row, v: Row) -> Decimal:
    return sum(((a - b) ** 2 for a, b in zip(u, v, strict=True)), D(0))


def derive_maps() -> dict[str, list[Decimal]]:
    """Losses on maps: the first teacher's rows as two channels of two pixels, or as embeddings of four numbers."""
    s, teachers = rows(STUDENT), [rows(table) for table in TEACHERS]
    t, samples = teachers[0], range(len(s))
    out: dict[str, list[Decimal]] = {}
    out["hint"] = [apart(s[i], t[i]) / 4 for i in samples]
    looks = [[directed([(z[0] ** 2 + z[2] ** 2) / 2, (z[1] ** 2 + z[3] ** 2) / 2]) for z in table] for table in (s, t)]
    out["attention_transfer"] = [apart(looks[0][i], looks[1][i]) / 2 for i in samples]
    alike = [[directed([dot(u, v) for v in table]) for u in table] for table in (s, t)]
    out["similarity_preserving"] = [apart(alike[0][i], alike[1][i]) / 3 for i in samples]
    far = []
    for table in (s, t):
        found = [[apart(u, v).sqrt() for v in table] for u in table]
        mean = sum(x for row in found for x in row) / 6  # of the pairs that are not a sample with itself
        far.append([[x / mean for x in row] for row in found])
    out["relational_distance"] = [sum(huber(far[0][i][j], far[1][i][j]) for j in samples) / 3 for i in samples]
    out["relational_angle"] = []
    for i in samples:
        total = D(0)
        for j in samples:
            for k in samples:
                sides = [
                    [directed([a - b for a, b in zip(table[n], table[i], strict=True)]) for n in (j, k)]
                    for table in (s, t)
                ]
                total += huber(dot(*sides[0]), dot(*sides[1]))
        out["relational_angle"].append(total / 9)
    out["gram_distance"] = []
    for i in samples:  # three modalities each, in another order
        own = [directed(z[i]) for z in (s, teachers[1], teachers[2])]
        wanted = [directed(z[i]) for z in (t, teachers[2], teachers[1])]
        pairs = [(m, n) for m in range(3) for n in range(3) if m != n]
        out["gram_distance"].append(
            sum(((dot(own[m], own[n]) - dot(wanted[m], wanted[n])) ** 2 for m, n in pairs), D(0)) / 6
        )
    return out


def derive() -> dict[str, list[float]]:
    """Every loss on the same three samples, at T = 4 where it has a temperature."""
    s, teachers = rows(STUDENT), [rows(table) for table in TEACHERS]
    t, heat = teachers[0], D(4)
    samples = range(len(s))
    out = derive_maps()
    out["kd"] = [heat**2 * kl(softmax(t[i], "4"), softmax(s[i], "4")) for i in samples]
    out["forward_kl"] = [kl(softmax(t[i], "4"), softmax(s[i], "4")) for i in samples]
    out["reverse_kl"] = [kl(softmax(s[i], "4"), softmax(t[i], "4")) for i in samples]
    out["balanced_divergence"] = []
    for i in samples:  # emphasis 2.5
        p_s, p_t = softmax(s[i], "4"), softmax(t[i], "4")
        surer = entropy(p_s) < entropy(p_t)
        ahead, behind = (D("2.5"), D(1)) if surer else (D(1), D("2.5"))
        out["balanced_divergence"].append(ahead * kl(p_t, p_s) + behind * kl(p_s, p_t))
    out["nkd"] = []
    for i, y in enumerate(LABELS):  # gamma 1.5, T 3
        rest_s, rest_t = softmax(drop(s[i], y), "3"), softmax(drop(t[i], y), "3")
        cross = -sum((a * b.ln() for a, b in zip(rest_t, rest_s, strict=True)), D(0))
        out["nkd"].append(-softmax(t[i])[y] * softmax(s[i])[y].ln() + D("1.5") * 9 * cross)
    q = [softmax(s[i])[y] for i, y in enumerate(LABELS)]
    out["tf_nkd"] = [-(x + 1 - sum(q) / len(q)) * x.ln() for x in q]
    out["dkd"] = []
    for i, y in enumerate(LABELS):  # alpha 0.75, beta 8
        p_s, p_t = softmax(s[i], "4"), softmax(t[i], "4")
        binary = kl([p_t[y], 1 - p_t[y]], [p_s[y], 1 - p_s[y]])
        rest = kl(softmax(drop(t[i], y), "4"), softmax(drop(s[i], y), "4"))
        out["dkd"].append(heat**2 * (D("0.75") * binary + 8 * rest))
    soft_s, soft_t = [softmax(z, "4") for z in s], [softmax(z, "4") for z in t]
    columns = [pearson([p[c] for p in soft_s], [p[c] for p in soft_t]) for c in range(4)]
    intra = 1 - sum(columns) / 4  # beta 0.5, gamma 2
    out["dist"] = [heat**2 * (D("0.5") * (1 - pearson(soft_s[i], soft_t[i])) + 2 * intra) for i in samples]
    for reduction, share in (("mean", 4), ("sum", 1)):  # phi 0.75, margin 0.4
        squares = [
            sum(((a - D("0.75") * b) ** 2 for a, b in zip(s[i], t[i], strict=True)), D(0)) / share for i in samples
        ]
        out[f"continuation_{reduction}"] = [max(D(0), x - D("0.4") * D("0.75")) for x in squares]
    out["dgkd"] = [heat**2 * sum((kl(softmax(z[i], "4"), softmax(s[i], "4")) for z in teachers), D(0)) for i in samples]
    out["ta_ensemble"] = []  # weights .5, .3, .2
    for i in samples:
        voices = [softmax(z[i], "4") for z in teachers]
        shares = (D("0.5"), D("0.3"), D("0.2"))
        mixed = [sum((w * p[c] for w, p in zip(shares, voices, strict=True)), D(0)) for c in range(4)]
        out["ta_ensemble"].append(heat**2 * kl(mixed, softmax(s[i], "4")))
    out["ca_mkd_weights"] = []
    for i, y in enumerate(LABELS):
        wrong = softmax([-softmax(z[i])[y].ln() for z in teachers])
        out["ca_mkd_weights"] += [(1 - w) / 2 for w in wrong]
    out["ebkd_weights"] = []
    for i in samples:
        spread = [entropy(softmax(z[i])) for z in teachers]
        out["ebkd_weights"] += [1 - h / sum(spread) for h in spread]
    return {name: [float(x) for x in values] for name, values in out.items()}


if __name__ == "__main__":
    text = json.dumps(derive(), indent=1)
    Path(__file__).with_name("losses.json").write_text(text + "\n")
