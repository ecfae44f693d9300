"""Dry run of a job: count the rows, the refusals and the requests, and send nothing."""

import sqlite3
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import closing
from math import ceil
from typing import Any, Final, cast

from attrs import define, field

from sunshine_async.jobs.calls import problem_of
from sunshine_async.jobs.entries import check_rows, row_of
from sunshine_async.jobs.report import KEPT, NAMED, Problem, Trouble, count_keys
from sunshine_async.jobs.tasks.task import Entry, Mode, Service, Task, check_service
from sunshine_async.rows import BadRow, Row, RowFile
from sunshine_async.rows.phones import count_national

MANY: Final = "other reasons, too many to list"
"""The reason of rows with a reason that isn't counted by itself."""
_ADD: Final = "INSERT INTO seen VALUES (?, ?) ON CONFLICT DO NOTHING"


@define
class RefusalCount:
    """A reason for which rows would be refused before sending."""

    trouble: Trouble
    reason: str
    rows: int = 0
    lines: list[int] = field(factory=list)
    """The lines of the first rows: at most `NAMED`."""

    def add(self, line: int) -> None:
        """Count the row at *line*."""
        self.rows += 1
        if len(self.lines) < NAMED:
            self.lines.append(line)

    def as_json(self) -> dict[str, Any]:
        """Return the reason as plain data."""
        return {
            "rows": self.rows,
            "outcome": self.trouble.value,
            "reason": self.reason,
            "first_lines": self.lines,
        }


@define
class DryRun:
    """Counts of a dry run: the rows of a source, and the requests that a job would send."""

    valid: int = 0
    bad: int = 0
    problems: list[Problem] = field(factory=list)
    """The first rows that would be refused before sending: at most `KEPT`."""
    refusals: dict[str, RefusalCount] = field(factory=dict)
    """The reasons of all such rows, by text; further reasons, after `KEPT`, count as `MANY`."""
    duplicates: int = 0
    """Number of valid rows with the key of an earlier row."""
    repeated: list[tuple[int, int]] = field(factory=list)
    """Lines of the first duplicates, each with the first line of the key."""
    beyond: Counter[str] = field(factory=Counter)
    """Keys that the model doesn't know; a job would send such keys unchanged."""
    turned: int = 0
    """Number of phone numbers that were turned into E.164."""
    national: int = 0
    """Number of phone numbers in valid rows that aren't E.164, if the service is said to want E.164."""
    rate: float | None = None
    most: int = 1
    """The most rows in a request."""

    @property
    def rows(self) -> int:
        """Number of rows."""
        return self.valid + self.bad

    @property
    def reasons(self) -> list[RefusalCount]:
        """The reasons of the rows that would be refused, that of most rows first."""
        return sorted(self.refusals.values(), key=lambda refusal: -refusal.rows)

    @property
    def requests(self) -> int:
        """The least number of requests; with batches look-ups come on top."""
        return ceil(self.valid / self.most)

    @property
    def seconds(self) -> float | None:
        """The least duration at *rate*; None without a rate: the duration depends on the service."""
        return None if self.rate is None else self.requests / self.rate

    def as_json(self) -> dict[str, Any]:
        """Return the counts as plain data."""
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
            "reasons": [refusal.as_json() for refusal in self.reasons],
            "problems": [problem.as_json() for problem in self.problems],
            "problems_left_out": self.bad - len(self.problems),
        }


def dry_run(
    service: Service,
    mode: Mode,
    rows: Iterable[Any],
    *,
    rate: float | None = None,
    on_problem: Callable[[Problem], None] | None = None,
) -> DryRun:
    """Read all *rows*, send nothing, and return the counts.

    *rows* is a file of `open_rows`, or any iterable of bodies, as for `Job.run`. A row is bad if a
    job would refuse the row before sending. *rate* is in requests a second; *on_problem* gets each
    bad row. Memory stays flat: keys go into a temporary file.
    """
    check_rows(rows)
    check_service(service)
    task = service.task(mode)
    found = DryRun(rate=rate, most=task.batch_size)
    with closing(sqlite3.connect("", isolation_level=None)) as database:
        database.execute("CREATE TABLE seen (key TEXT PRIMARY KEY, line INTEGER) WITHOUT ROWID")
        database.execute("BEGIN")
        for line, item in enumerate(rows, 1):
            row = item if isinstance(rows, RowFile) else row_of(line, item, task)
            entry = _entry(row, task)
            if isinstance(entry, Problem):
                found.bad += 1
                _count_problem(entry, found)
                if on_problem is not None:
                    on_problem(entry)
                continue
            found.valid += 1
            found.national += count_national(cast("Row", row).data, task.shape)
            count_keys(entry.unknown_keys, found.beyond)
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


def _count_problem(problem: Problem, found: DryRun) -> None:
    if len(found.problems) < KEPT:
        found.problems.append(problem)
    is_known = problem.reason in found.refusals or len(found.refusals) < KEPT
    reason = problem.reason if is_known else MANY
    found.refusals.setdefault(reason, RefusalCount(problem.trouble, reason)).add(problem.line)


def _count(key: str | None, line: int, found: DryRun, database: sqlite3.Connection) -> None:
    if key is None or database.execute(_ADD, (key, line)).rowcount:
        return
    found.duplicates += 1
    if len(found.repeated) < NAMED:
        [first] = database.execute("SELECT line FROM seen WHERE key = ?", (key,)).fetchone()
        found.repeated.append((line, first))


Rehearsal = DryRun
rehearse = dry_run
