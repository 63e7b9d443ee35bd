"""The page as text: what it says, what it must never contain, and that it survives odd studies."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from autostudent.report.effects import Effect
from autostudent.report.members import drawing, drawings
from autostudent.report.page import render
from autostudent.report.tables import effect_text
from autostudent.report.verdict import verdict
from autostudent.store.choose import shortlist
from tests.report.synthetic import study

HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)>"


class Tags(HTMLParser):
    """Counts start tags, keeps attributes, and checks that what is opened is closed."""

    VOID = ("meta", "br", "img", "link", "input", "hr")

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def parsed(page: str) -> Tags:
    tags = Tags()
    tags.feed(page)
    assert tags.open == []
    return tags


def charts(page: str) -> dict:
    found = re.search(r'<script type="application/json" id="charts">(.*?)</script>', page, re.S)
    assert found
    return json.loads(found[1])


def test_the_verdict_comes_first_and_names_what_is_saved() -> None:
    page = render(study())
    heading = re.search(r"<h1>(.*?)</h1>", page)
    assert heading
    kept = (
        "Student 21 keeps the teacher&#x27;s accuracy on the test split with 34× fewer parameters and 26× less memory."
    )
    assert heading[1] == kept
    assert "5 fresh seeds" in page


def test_the_teacher_stands_on_the_front_chart() -> None:
    front = charts(render(study()))["front"]
    assert front["teacher"] == 0.989
    kinds = {trace["name"] for trace in front["traces"]}
    assert {"teacher", "rival", "assistant", "kd", "takd"} <= kinds
    shown = [trace["name"] for trace in front["traces"] if trace.get("showlegend", True)]
    assert len(shown) == len(set(shown))


def test_every_student_of_the_front_has_a_row_with_its_recipe() -> None:
    contents = study()
    page = render(contents)
    for row in contents.front:
        assert f'<th scope="row">{row["trial"]}</th>' in page
    assert "<dt>params.target</dt>" in page


def test_nothing_is_fetched() -> None:
    page = render(study())
    for tag, attributes in parsed(page).seen:
        assert tag != "link"
        assert not (attributes.keys() & {"src", "href", "srcset"}), (tag, attributes)


def test_user_text_is_shown_as_text() -> None:
    page = render(study(hostile=HOSTILE))
    tags = parsed(page)
    assert [tag for tag, _ in tags.seen].count("script") == 3
    assert "img" not in [tag for tag, _ in tags.seen]
    assert "&lt;script&gt;alert(1)" in page
    for trace in charts(page)["front"]["traces"]:
        assert "<script" not in trace["name"]
        assert "<script" not in trace.get("hovertemplate", "")


@pytest.mark.slow
def test_ten_thousand_students_fit_in_ten_megabytes() -> None:
    contents = study(10_000)
    page = render(contents)
    assert len(page.encode()) < 10e6
    assert f"Of the {10_000 - len(contents.front):,} others about 150 are drawn." in page
    assert "are drawn" not in render(study())


def test_a_front_member_has_its_graph_drawn_beside_recipe_and_papers() -> None:
    contents = study()
    page = render(contents)
    graph = next(iter(contents.graphs.values()))

    assert page.count('<svg role="img"') == len(contents.graphs) == len(contents.front)
    assert page.count("<circle cx=") == sum(len(graph.nodes) for graph in contents.graphs.values())
    assert f"{graph.nodes[-1].op}, {graph.nodes[-1].width} channels" in page
    parsed(page)


def test_drawings_that_would_burst_the_page_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    contents = study()
    monkeypatch.setattr("autostudent.report.members.LARGEST", 1)
    assert '<svg role="img"' not in render(contents)


def test_the_graph_of_the_verdicts_student_is_the_last_to_be_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    contents = study()
    chosen = verdict(contents).row
    assert chosen is not None
    assert chosen["trial"] != max(contents.front, key=lambda row: row["accuracy"])["trial"]
    monkeypatch.setattr("autostudent.report.members.LARGEST", len(drawing(contents, chosen["trial"])))
    assert next(iter(drawings(contents, chosen["trial"]))) == chosen["trial"]


@pytest.mark.parametrize(
    ("points", "half", "says"),
    [(0.44, 0.31, "+0.4 ± 0.3"), (-0.04, 0.25, "+0.0 ± 0.2"), (-0.042, 0.031, "−0.04 ± 0.03"), (1.26, None, "+1.3")],
)
def test_an_effect_has_as_many_digits_as_its_interval_allows(points: float, half: float | None, says: str) -> None:
    assert effect_text(Effect("kd", 9, 9, points, half, 0.9, 1)) == says


def test_the_effects_of_every_searched_variable_stand_on_the_page() -> None:
    page = render(study(200))
    chart = charts(page)["effects"]
    assert any(label.startswith("kd.loss: ") for label in chart["traces"][0]["y"])
    assert "Which choices matter" in page


def test_failures_are_listed_by_cause_with_their_message() -> None:
    page = render(study())
    assert "<h2>What failed</h2>" in page
    assert "student 5: diverged: loss is nan" in page


@pytest.mark.parametrize("left", [0, 1])
def test_a_study_that_has_just_begun_has_a_page(left: int) -> None:
    whole = study()
    trials = [t for t in whole.trials if not t.state.finished]
    begun = replace(whole, trials=trials[:left], front=[], references=[])
    page = render(begun)
    parsed(page)
    assert "No student has finished its training yet." in page


def test_finished_students_that_miss_what_counts_are_not_called_unfinished() -> None:
    whole = study()
    floored = tuple(replace(o, reference=0.995) if o.name == "accuracy" else o for o in whole.objectives)
    page = render(replace(whole, front=[], objectives=floored))
    assert "No student has finished" not in page
    assert "finished, none with all that counts: accuracy at least 99.5 %" in page


def test_without_a_teacher_the_best_student_is_named() -> None:
    whole = study()
    front = [{**row, "params": float(row["params"])} for row in whole.front]  # as a store has it
    found = verdict(replace(whole, front=front, references=[]))
    assert found.row is not None
    assert found.sentence.endswith(f" with {found.row['params']:,.0f} parameters.")


def test_the_student_of_the_verdict_is_the_one_that_is_verified_by_default() -> None:
    contents = study()
    row, _ = shortlist(contents.front, 1, images=contents.validation_images)[0]
    assert verdict(contents).row == row
    assert f'<details class="member" open><summary>Student {row["trial"]}:' in render(contents)


def test_a_smaller_student_that_keeps_the_accuracy_too_is_named() -> None:
    contents = study(proof=False)
    weak = [replace(r, accuracy=0.965) if r.kind == "teacher" else r for r in contents.references]
    found = verdict(replace(contents, references=weak))
    assert found.keeps
    assert found.sentence.startswith("Student 21 keeps the teacher's accuracy")
    assert found.detail.startswith("Student 22 keeps it too, with 147× fewer parameters")


@pytest.mark.parametrize(
    ("low", "high", "points", "words"),
    [
        (-0.2, 0.9, 0.3, "keeps the teacher's accuracy on the test split with 34×"),
        (-0.1, 2.5, 1.2, "comes within 1.2 points of the teacher on the test split with 34×"),  # a wide interval
        (1.2, 2.0, 1.6, "comes within 1.6 points of the teacher on the test split with 34×"),
        (4.0, 6.0, 5.0, "is 5.0 points below the teacher on the test split with 34×"),
        (-2.0, 8.0, 3.0, "comes within 3.0 points of the teacher on the test split with 34×"),  # says nothing
        (-3.0, 4.0, 0.5, "comes within 0.5 points of the teacher on the test split with 34×"),  # nor does this
        (None, None, 0.5, "comes within 0.5 points of the teacher on the test split with 34×"),
        (-1.5, -0.5, -1.0, "keeps the teacher's accuracy on the test split with 34×"),
    ],
)
def test_a_verified_student_is_judged_on_the_test_split(
    low: float | None, high: float | None, points: float, words: str
) -> None:
    contents = study()
    claim = {**contents.claims[0], "low": low, "high": high, "points": points}
    judged = replace(contents, claims=[claim])
    assert words in verdict(judged).sentence
    assert ("<td>unknown</td>" in render(judged)) == (low is None)


def test_a_student_that_loses_accuracy_is_said_to_lose_it() -> None:
    contents = study(proof=False)
    strong = [replace(row, accuracy=0.9999) if row.kind == "teacher" else row for row in contents.references]
    page = render(replace(contents, references=strong))
    assert "points of the teacher with" in page
    assert "expect a little less on new data" in page


def test_teachers_are_shown_with_what_they_cost_and_who_uses_them() -> None:
    contents = study(12)
    page = render(contents)
    assert "<td>41 s</td><td>12</td>" in page
    users = {row["trial"]: row["share"] for row in contents.ledger["students"]}
    assert set(users.values()) == {41 / 12}
    assert page.count("<dt>own training</dt><dd>3 s</dd>") == len(contents.front)
    assert page.count("<dd>41 s (its share: 3 s)</dd>") == len(contents.front)
