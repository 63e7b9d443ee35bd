"""What students cost beside their size: seconds of their training, of what trained beside them, of what they share."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from autostudent.settings import rests_on


def ledger(
    rows: Iterable[Mapping[str, Any]], shared: Mapping[str, Mapping[str, Any]]
) -> dict[str, list[dict[str, Any]]]:
    """The three columns of every student, and the users of every teacher.

    Args:
        rows: of trials, with "trial", "method", "teachers" (names) and "seconds" by column.
        shared: of every frozen teacher by name: "seconds" (its training, and what it says of the view bank) and
            "taught_by", names of the teachers that it rests on.

    Returns:
        {"students": rows of "trial", "method", "student", "private", "shared" (seconds of all teachers that the student
        rests on, paid once) and "share" (its part of them, divided among their users), "teachers": rows of "name",
        "seconds", "users"}. Peers, online teachers, bridges, generations and meta passes are private.
    """
    rows = list(rows)
    rests = {row["trial"]: rests_on(row.get("teachers") or (), shared) for row in rows}
    users = Counter(name for names in rests.values() for name in names)
    students = []
    for row in rows:
        paid = [(float(shared[name]["seconds"]), users[name]) for name in rests[row["trial"]]]
        spent = row.get("seconds") or {}
        students.append(
            {
                "trial": row["trial"],
                "method": row.get("method"),
                "student": float(spent.get("student", 0.0)),
                "private": float(spent.get("private", 0.0)),
                "shared": sum(seconds for seconds, _ in paid),
                "share": sum(seconds / count for seconds, count in paid),
            }
        )
    teachers = [
        {"name": name, "seconds": float(about["seconds"]), "users": users[name]} for name, about in shared.items()
    ]
    return {"students": students, "teachers": teachers}
