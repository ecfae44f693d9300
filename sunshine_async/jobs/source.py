"""Load a source file into the journal; refuse a changed file.

A source is the same if the digest and the options that change the file's meaning are the same.
"""

import hashlib
from collections.abc import Callable, Mapping
from enum import Enum
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Final

import orjson

from sunshine_async.jobs.options import Duplicates, JobOptions
from sunshine_async.jobs.tasks.task import Task
from sunshine_async.journal import JobJournal, JournalError, Rules, SourceRow
from sunshine_async.rows import BadRow, Row, RowFile, SourceError
from sunshine_async.rows.lines import file_stamp

SUMS: Final = ("requests", "resent", "throttled", "seconds", "held", "sessions")
"""Names in the journal that are summed over the sessions of a run."""
LIVE: Final = "live"
"""Name in the journal for the counts of a running job, as JSON."""
STALE: Final = "stale"
"""Name in the journal for a file that differs from the rows in the journal: ``"1"``."""
PART: Final = "part"
"""Name in the journal for the part of the file whose rows the journal has; see `partition`."""
COMMAND: Final = "command"
"""Name in the journal for the command that ran the job, without secrets, as a line for a shell."""
PROGRESS: Final = "parts"
"""Name in the journal of an import in parts for the number of parts that have ended, in words."""
PART_COUNT: Final = "part_count"
"""Name in the journal of an import in parts for the number of all parts."""
REASON: Final = "reason"
"""Name in the journal of an import in parts for the reasons why parts gave up, or wait."""
OPEN: Final = {"state": "open"}
FINISHED: Final = {"state": "finished"}
_BATCH: Final = 5000
_OPTIONS: Final = orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS
_CHANGED: Final = (
    "{} was changed or replaced while it was read: nothing was sent. Run the same again"
)
_NO_TEXT: Final = (
    "{} has a name that isn't UTF-8, and neither a journal nor a database can hold the name: nothing "
    "was sent. Rename the file"
)
_NEW_PEOPLE: Final = (
    "{} has created users, or sent messages, from rows without a key, and this is another file: "
    "rows without a key can't be told from those, so nothing was sent. If the file has the same "
    "rows, corrected, accept it (--accept-changed-source): then rows count as done by body and "
    "count. For new people, or new messages, use another journal"
)
_OTHER_PART: Final = (
    "{} is the journal of {}, not of {}: a row may be in another part now, and would be sent twice. "
    "Give the same number of parts as before, or other journals"
)


class _Load(Enum):
    """Action on the rows of a file at the start of a job."""

    KEEP = "the journal has the rows of the file"
    REPLACE = "a new run: the rows of the file replace the rows of the run before"
    MERGE = "an unfinished run goes on with the rows of a different file"


def source_row(row: Row | BadRow, task: Task, *, keep_body: bool) -> SourceRow:
    """Return *row* as a row for the journal."""
    if isinstance(row, BadRow):
        return SourceRow(row.line, None, b"", row.reason)
    try:
        body = orjson.dumps(row.data, option=_OPTIONS)
    except TypeError as error:
        return SourceRow(row.line, None, b"", f"not JSON: {error}")
    return SourceRow(row.line, task.key_of(row.data), _hash(body), body=body if keep_body else None)


def hash_of(row: Row) -> bytes:
    """Return the hash of *row*: equal to the journal's hash if the row hasn't changed."""
    return _hash(orjson.dumps(row.data, option=_OPTIONS))


def _hash(body: bytes) -> bytes:
    return hashlib.sha256(body).digest()[:16]


def check_job(journal: JobJournal, identity: Mapping[str, str]) -> None:
    """Raise `JournalError` if *journal* belongs to a different service, mode, base URL or app."""
    about = journal.about()
    for name, value in identity.items():
        if about.get(name, value) != value:
            message = (
                f"{journal.name} is the journal of another job: its {name.replace('_url', ' URL')} is "
                f"{about[name]}, not {value}. Name another journal"
            )
            raise JournalError(message)


def load_file(
    journal: JobJournal,
    task: Task,
    rows: RowFile,
    *,
    identity: Mapping[str, str],
    options: JobOptions,
    rules: Rules,
    stopped: Callable[[], bool],
) -> int:
    """Load the rows of a file into *journal*; return 0, or the rows read before a stop, if known.

    The journal doesn't change until all rows are read. *rows* may end by a stop too, in a
    `SourceError`. With ``max_failures`` rows that can't be sent are bad at once, and not just before
    sending. Raise `JournalError` for the journal of another part. Unless the changed source is
    accepted, raise `JournalError` also if an unfinished run had different rows, or if rows without a
    key can't be told from users created before. Raise `SourceError` for a file that changes while
    loading.
    """
    part = str(rows.partition or "the whole file")
    source = {"digest": digest_of(rows), "meant": rows.meant, "source": rows.name, PART: part}
    before = journal.about()
    known = before.get(PART, "the whole file")
    if "state" in before and known != part:
        raise JournalError(_OTHER_PART.format(journal.name, known, part))
    load = _load_of(journal, source, options)
    if load is _Load.KEEP:
        return 0
    journal.begin()
    checked = rows if options.max_failures is None else map(partial(_checked, task), rows)
    lines = (source_row(row, task, keep_body=options.keep_bodies) for row in checked)
    read = 0
    try:
        while count := journal.add(islice(lines, _BATCH)):
            read += count
            if stopped():
                return read
    except SourceError:
        if not stopped():
            raise
        return read
    _check_duplicates(journal, options)
    if rules.once and rules.skips and not rules.by_count and journal.has_new_people():
        raise JournalError(_NEW_PEOPLE.format(journal.name))
    if digest_of(rows) != source["digest"]:
        raise SourceError(_CHANGED.format(rows.name))
    sums = {} if load is _Load.MERGE else dict.fromkeys(SUMS, "0")
    keep = options.duplicates or Duplicates.LAST
    journal.ready(
        {**identity, **source, **sums, **OPEN, "turned": str(rows.turned), STALE: "0"},
        rules,
        keep=keep.value if keep in (Duplicates.FIRST, Duplicates.LAST) else None,
        going_on=load is _Load.MERGE,
    )
    return 0


def _load_of(journal: JobJournal, source: Mapping[str, str], options: JobOptions) -> _Load:
    """Return the action for *source*; raise `JournalError` if an unfinished run forbids loading."""
    about = journal.about()
    is_new = "state" not in about
    is_open = not is_new and not is_finished(about)
    same = all(about.get(name) == source[name] for name in ("digest", "meant"))
    stale = options.accept_changed_source and about.get(STALE, "0") != "0"
    if not is_new and same and not stale and (is_open or not options.full):
        return _Load.KEEP
    if is_open and not options.accept_changed_source:
        raise JournalError(_difference(journal.name, about, source))
    return _Load.MERGE if is_open else _Load.REPLACE


def is_finished(about: Mapping[str, str]) -> bool:
    """Return True if a journal with the entries *about* has a finished run."""
    return FINISHED.items() <= about.items()


def _checked(task: Task, row: Row | BadRow) -> Row | BadRow:
    entry = task.entry(row) if isinstance(row, Row) else row
    return entry if isinstance(entry, BadRow) else row


def digest_of(rows: RowFile) -> str:
    """Return the digest of the file of *rows*, of which a journal or a plan keeps the name.

    Raise `SourceError` for a name that can't be kept, and if the file was replaced.
    """
    path = rows.path or Path()
    try:
        rows.name.encode()
        with path.open("rb") as file:
            if file_stamp(file) == rows.stamp:
                return hashlib.file_digest(file, "sha256").hexdigest()
        message = _CHANGED.format(path)
    except UnicodeEncodeError:
        message = _NO_TEXT.format(rows.name)
    except OSError as error:
        message = f"{path} can't be read: {error.strerror}"
    raise SourceError(message)


def _difference(name: str, about: Mapping[str, str], source: Mapping[str, str]) -> str:
    changes: list[str] = []
    if about.get("digest") != source["digest"]:
        was = f"read {about['source']}" if "source" in about else "was given its rows one by one"
        changes.append(f"the run {was}, and {source['source']} is not the same")
    if about.get("meant", source["meant"]) != source["meant"]:
        changes.append(f"the run read the file as {about['meant']}, not as {source['meant']}")
    return (
        f"{name} has a run that isn't finished, of another source: {'; '.join(changes)}. "
        "Finish that run, or go on with the rows of this source (--accept-changed-source)"
    )


def _check_duplicates(journal: JobJournal, options: JobOptions) -> None:
    count, first = journal.index()
    if count and options.duplicates is Duplicates.FAIL:
        lines = ", ".join(f"{line} as {before}" for line, before in first)
        found = "1 row has" if count == 1 else f"{count} rows have"
        message = (
            f"{found} the key of an earlier one (lines {lines}); nothing was sent. "
            "Choose the rows to send: --duplicates last, --duplicates first or --duplicates all"
        )
        raise SourceError(message)
