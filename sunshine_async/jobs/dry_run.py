"""A job without its requests: what would be sent, what would be refused, and how long it takes."""

import sqlite3
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import closing
from math import ceil
from typing import Any, Final, cast

from attrs import define, field

from sunshine_async.jobs.bodies import check_rows, row_of
from sunshine_async.jobs.job import problem_of
from sunshine_async.jobs.report import KEPT, NAMED, Problem, Trouble
from sunshine_async.jobs.tasks.task import Entry, Mode, Service, Task
from sunshine_async.rows import BadRow, Row, RowFile
from sunshine_async.rows.phones import count_national

_SEEN: Final = "CREATE TABLE seen (key TEXT PRIMARY KEY, line INTEGER) WITHOUT ROWID"
_ADD: Final = "INSERT INTO seen VALUES (?, ?) ON CONFLICT DO NOTHING"
_FIRST: Final = "SELECT line FROM seen WHERE key = ?"


@define
class Rehearsal:
    """What is in a file of rows, and what a job would make of it."""

    valid: int = 0
    bad: int = 0
    problems: list[Problem] = field(factory=list)
    """The first rows that would be refused before anything is sent: at most `KEPT`."""
    duplicates: int = 0
    """How many valid rows share their key with an earlier one."""
    repeated: list[tuple[int, int]] = field(factory=list)
    """The lines of the first of them, each with the line where its key came first."""
    beyond: Counter[str] = field(factory=Counter)
    """Keys that would be sent as they are, since the model doesn't know them."""
    turned: int = 0
    """Phone numbers that were turned into E.164."""
    national: int = 0
    """Phone numbers of valid rows that aren't E.164, where the service is said to want that."""
    rate: float | None = None
    most: int = 1
    """How many rows a request may have."""

    @property
    def rows(self) -> int:
        """How many rows there are."""
        return self.valid + self.bad

    @property
    def requests(self) -> int:
        """How many requests it takes at least: look-ups come on top where rows go together."""
        return ceil(self.valid / self.most)

    @property
    def seconds(self) -> float | None:
        """How long it takes at least at the *rate* given; None: that depends on the service."""
        return None if self.rate is None else self.requests / self.rate

    def as_json(self) -> dict[str, Any]:
        """Return it as plain data."""
        return {
            "rows": self.rows,
            "valid": self.valid,
            "bad": self.bad,
            "duplicates": self.duplicates,
            "repeated": [{"line": line, "first_line": first} for line, first in self.repeated],
            "requests": self.requests,
            "rate": self.rate,
            "phone_numbers_turned": self.turned,
            "phone_numbers_not_e164": self.national,
            "seconds": None if self.seconds is None else ceil(self.seconds),
            "keys_not_in_the_model": dict(self.beyond.most_common()),
            "problems": [problem.as_json() for problem in self.problems],
            "problems_left_out": self.bad - len(self.problems),
        }


def rehearse(
    service: Service,
    mode: Mode,
    rows: Iterable[Any],
    *,
    rate: float | None = None,
    on_problem: Callable[[Problem], None] | None = None,
) -> Rehearsal:
    """Read all *rows*, send nothing, and return what a job would make of them.

    *rows* is a file of `open_rows`, or any iterable of bodies, as for `Job.run`. A row is bad if it would be refused before anything of it is sent. Memory stays flat: keys
    are kept in a temporary file. *rate* is in requests a second; *on_problem* is called with each
    bad row.
    """
    check_rows(rows)
    task = service.tasks[mode]
    found = Rehearsal(rate=rate, most=task.batch_size)
    with closing(sqlite3.connect("", isolation_level=None)) as database:
        database.execute(_SEEN)
        database.execute("BEGIN")
        for line, item in enumerate(rows, 1):
            row = item if isinstance(rows, RowFile) else row_of(line, item, task)
            entry = _entry(row, task)
            if isinstance(entry, Problem):
                found.bad += 1
                if len(found.problems) < KEPT:
                    found.problems.append(entry)
                if on_problem is not None:
                    on_problem(entry)
                continue
            found.valid += 1
            found.national += count_national(cast("Row", row).data, task.shape)
            for key in entry.unknown_keys:
                if key in found.beyond or len(found.beyond) < NAMED:
                    found.beyond[key] += 1
            _count(task.key_of(cast("Row", row).data), row.line, found, database)
    found.turned = rows.turned if isinstance(rows, RowFile) else 0
    return found


def _entry(row: Row | BadRow, task: Task) -> Entry | Problem:
    entry = task.entry(row) if isinstance(row, Row) else row
    if isinstance(entry, BadRow):
        return Problem(entry.line, Trouble.BAD, "bad row", entry.reason)
    try:
        task.request(entry)
    except ValueError as error:
        return problem_of(entry.line, error, unknown=False)
    return entry


def _count(key: str | None, line: int, found: Rehearsal, database: sqlite3.Connection) -> None:
    if key is None or database.execute(_ADD, (key, line)).rowcount:
        return
    found.duplicates += 1
    if len(found.repeated) < NAMED:
        [first] = database.execute(_FIRST, (key,)).fetchone()
        found.repeated.append((line, first))
