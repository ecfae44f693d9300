"""Where the rows of a job with a journal come from, and whether it is where they came from before."""

import hashlib
from collections.abc import Callable, Mapping
from enum import Enum
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Final

import orjson
from attrs import evolve, frozen

from sunshine_async.jobs.tasks.task import Mode, Task
from sunshine_async.journal import Journal, JournalError, Rules, SourceRow
from sunshine_async.rows import BadRow, Row, RowFile, SourceError
from sunshine_async.rows.lines import file_stamp

_BATCH: Final = 5000
SUMS: Final = ("requests", "resent", "throttled", "seconds", "held", "sessions")
"""What is summed up over the sessions of a run."""
STALE: Final = "stale"
"""Of what is said about a job: set where the file isn't the one whose rows the journal has."""
_RULES: Final[Mapping[Mode, Rules]] = {
    Mode.CREATE: Rules(once=True, skips=True),
    Mode.UPDATE: Rules(differ=True, marked=False),
    Mode.UPSERT: Rules(differ=True, skips=True),
    Mode.DELETE: Rules(),
}
_OPTIONS: Final = orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS


class Duplicates(Enum):
    """Which of the rows with the same key are sent."""

    LAST = "last"
    FIRST = "first"
    ALL = "all"
    """In their order, and never two at once."""
    FAIL = "fail"
    """None: the job doesn't start."""


@frozen(kw_only=True)
class Policy:
    """How a job goes on from its journal."""

    duplicates: Duplicates | None = None
    """None: the last, and all where the source can't be read twice."""
    retry_failed: bool = False
    retry_unknown: bool = False
    accept_changed_source: bool = False
    full: bool = False
    """Whether rows that haven't changed since they were last accepted are sent too."""
    keep_bodies: bool = False
    max_outage: float = 900.0

    def rules(self, mode: Mode, task: Task) -> Rules:
        """Return how rows go with what the journal has of their users."""
        rules = _RULES[mode]
        skips = rules.skips and not self.full
        aliased = rules.differ and task.key_includes_field
        return evolve(rules, skips=skips, by_count=self.accept_changed_source, aliased=aliased)


def noted(row: Row | BadRow, task: Task, *, keep_body: bool) -> SourceRow:
    """Return what the journal has of *row*."""
    if isinstance(row, BadRow):
        return SourceRow(row.line, None, b"", row.reason)
    try:
        body = orjson.dumps(row.data, option=_OPTIONS)
    except TypeError as error:
        return SourceRow(row.line, None, b"", f"not JSON: {error}")
    return SourceRow(
        row.line, task.key_of(row.data), _hashed(body), body=body if keep_body else None
    )


def hash_of(row: Row) -> bytes:
    """Return the hash that the journal has of *row*, if the row is as it was when it was read ahead."""
    return _hashed(orjson.dumps(row.data, option=_OPTIONS))


def _hashed(body: bytes) -> bytes:
    return hashlib.sha256(body).digest()[:16]


def read_ahead(
    journal: Journal,
    task: Task,
    rows: RowFile,
    *,
    said: Mapping[str, str],
    policy: Policy,
    rules: Rules,
    going_on: Callable[[], bool],
    check: bool = False,
) -> int:
    """Let *journal* have the rows of a file, each in its state; return how many were read in vain.

    Until all rows are read the journal stays as it is. With *check* rows that can't be sent are bad
    now, and not when their turn comes. Raise `JournalError` where an unfinished run
    had other rows, or where rows without a key can't be told from users who were created, unless
    the changed source is accepted. Raise `SourceError` for a file that is changed meanwhile.
    """
    source = {"digest": _digest(rows), "meant": rows.meant, "source": rows.name}
    about = journal.about()
    state = about.get("state")
    is_open = state not in (None, "finished")
    same = all(about.get(name) == source[name] for name in ("digest", "meant"))
    stale = policy.accept_changed_source and STALE in about and about[STALE] != "0"
    if state and same and not stale and (is_open or not policy.full):
        return 0
    if is_open and not policy.accept_changed_source:
        raise JournalError(_differs(journal.path, about, source))
    journal.begin()
    checked = map(partial(_checked, task), rows) if check else rows
    lines = (noted(row, task, keep_body=policy.keep_bodies) for row in checked)
    read = 0
    while many := journal.add(islice(lines, _BATCH)):
        read += many
        if not going_on():
            return read
    _check_duplicates(journal, policy)
    if rules.once and rules.skips and not rules.by_count and journal.has_new_people():
        raise JournalError(_NEW_PEOPLE.format(journal.path))
    if _digest(rows) != source["digest"]:
        raise SourceError(_CHANGED.format(rows.name))
    sums = {} if is_open else dict.fromkeys(SUMS, "0")
    more = {"state": "open", "turned": str(rows.turned), STALE: "0"}
    keep = policy.duplicates or Duplicates.LAST
    journal.ready(
        {**said, **source, **sums, **more},
        rules,
        keep=keep.value if keep in (Duplicates.FIRST, Duplicates.LAST) else None,
        going_on=is_open,
    )
    return 0


def _checked(task: Task, row: Row | BadRow) -> Row | BadRow:
    """Return *row*, or why it can't be sent."""
    entry = task.entry(row) if isinstance(row, Row) else row
    return entry if isinstance(entry, BadRow) else row


def check_job(journal: Journal, said: Mapping[str, str]) -> None:
    """Raise `JournalError` where *journal* is of a job at another place, or of another kind."""
    about = journal.about()
    for name, value in said.items():
        if about.get(name, value) != value:
            message = (
                f"{journal.path} is the journal of another job: its {_WORDS[name]} is "
                f"{about[name]}, not {value}. Name another journal"
            )
            raise JournalError(message)


_WORDS: Final = {
    "service": "service",
    "mode": "mode",
    "base_url": "base URL",
    "app": "app",
}


_CHANGED: Final = (
    "{} was changed or replaced while it was read: nothing was sent. Run the same again"
)
_NEW_PEOPLE: Final = (
    "{} has created users from rows without a key, and this is another file: rows without a key "
    "can't be told from those users, so nothing was sent. If the file has the same people, "
    "corrected, accept it (--accept-changed-source): then rows count as created by body and count. "
    "For new people use another journal"
)


def _digest(rows: RowFile) -> str:
    """Return the digest of the file that *rows* come from; raise `SourceError` if it is another now."""
    path = rows.path or Path()
    try:
        with path.open("rb") as file:
            if file_stamp(file) == rows.stamp:
                return hashlib.file_digest(file, "sha256").hexdigest()
        message = _CHANGED.format(path)
    except OSError as error:
        message = f"{path} can't be read: {error.strerror}"
    raise SourceError(message)


def _differs(path: Path, about: Mapping[str, str], source: Mapping[str, str]) -> str:
    changes: list[str] = []
    if about.get("digest") != source["digest"]:
        was = f"reading {about['source']}" if "source" in about else "given its rows one by one"
        changes.append(f"it was {was}, and {source['source']} is not the same")
    if about.get("meant", source["meant"]) != source["meant"]:
        changes.append(f"it read it as {about['meant']}, not as {source['meant']}")
    return (
        f"{path} has a run that isn't finished, of another source: {'; '.join(changes)}. "
        "Finish that one, or go on with the rows of this one (--accept-changed-source)"
    )


def _check_duplicates(journal: Journal, policy: Policy) -> None:
    many, first = journal.index()
    if many and policy.duplicates is Duplicates.FAIL:
        named = ", ".join(f"{line} as {before}" for line, before in first)
        message = (
            f"{many} rows have the key of an earlier one (lines {named}); nothing was sent. "
            "--duplicates last, first or all says what becomes of them"
        )
        raise SourceError(message)
