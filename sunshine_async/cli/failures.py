"""List of the rows of a job that were not done, with content and reason: CSV for Excel, or JSON lines.

The content comes from the file that the job read, opened again with the same options, or from the
journal. A list keeps the columns, the delimiter and the encoding of a CSV file, so that the same
command imports the list; `rows` ignores the columns and the key that a list adds.
"""

import csv
import json
import shlex
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from itertools import islice
from pathlib import Path
from typing import Any, Final, Self, cast

from attrs import frozen

from sunshine_async import ConfigurationError
from sunshine_async.cli.files import Write, digest_of
from sunshine_async.cli.next_steps import with_option, without_option
from sunshine_async.cli.streams import json_line
from sunshine_async.jobs.source import COMMAND, PROGRESS, hash_of, is_finished
from sunshine_async.jobs.tasks import SERVICES
from sunshine_async.jobs.tasks.task import Mode
from sunshine_async.journal import Found, JournalQueries, JournalReader, State
from sunshine_async.journal.reader import PAGE
from sunshine_async.rows import BadRow, Row, RowFile, SourceError
from sunshine_async.rows.csv_records import guard_cell
from sunshine_async.rows.file import open_as
from sunshine_async.rows.header import OUTCOME_COLUMNS
from sunshine_async.rows.shape import OUTCOME_KEY, UTF_8, ReadOptions

_NOT_DONE: Final = (State.FAILED, State.UNKNOWN, State.BAD)
_MAKING: Final = (Mode.CREATE.value, Mode.MESSAGE.value)
"""Modes that make a user or a message for each row."""
_AFTER: Final = BadRow(sys.maxsize, "")
"""A row after the last row of a file."""
_TAB: Final = ".tsv"
_CSV: Final = (".csv", _TAB)
_JSON_LINES: Final = ("", ".jsonl", ".ndjson", ".json")
_OPTIONS_OF_SOURCE: Final[Mapping[str, bool]] = {
    "--format": False,
    "--encoding": False,
    "--map": False,
    "--skip": False,
    "--only-mapped": True,
}
"""Options of an import that apply to the names in the job's file, and not to JSON lines; True: a flag."""


def folders_of(journal: JournalQueries) -> Sequence[Path]:
    """Return where the job's file may be: the current directory, and that of a journal in a file."""
    return (Path(), *([journal.path.parent] if isinstance(journal, JournalReader) else ()))


@frozen
class JobSource:
    """The file that the job of a journal read; *path* is None if there is no such file any more."""

    path: Path | None
    is_same: bool
    """True if the file is as the job read it."""
    is_readable: bool = True
    """False if a file of the name can't be read."""

    @classmethod
    def find(cls, journal: JournalQueries) -> Self:
        """Find the file in the current directory, for a relative path, or next to the journal."""
        about = journal.about()
        folders = folders_of(journal) if "digest" in about else ()
        paths = [path for folder in folders if (path := folder / about["source"]).is_file()]
        digests: list[str | None] = []
        for path in paths:
            digests.append(digest_of(path))
            if digests[-1] == about["digest"]:
                return cls(path, is_same=True)
        return cls(next(iter(paths), None), is_same=False, is_readable=None not in digests)

    def open(self, about: Mapping[str, str]) -> AbstractContextManager[RowFile | None]:
        """Open the file with the options of the job; None if there is no file that can be read."""
        if self.path is None:
            return nullcontext()
        task = SERVICES[about["service"]].tasks[Mode(about["mode"])]
        try:
            return open_as(self.path, task.shape, about["meant"])
        except SourceError:  # a file that has changed
            return nullcontext()


class FailureList:
    """List for the file *out*, or for stdout: *rows* are the rows of *source*, if any."""

    def __init__(
        self, journal: JournalQueries, source: JobSource, rows: RowFile | None, out: Path | None
    ) -> None:
        self.journal: Final = journal
        self.source: Final = source
        self.rows: Final = rows
        self.out: Final = out
        self.about: Final = journal.about()
        meant = self.about.get("meant")
        self.options: Final = ReadOptions.from_text(meant) if meant else ReadOptions()
        """The options that the job's file was read with."""
        self.suffix: Final = out.suffix.lower() if out else ""
        """The end of the name, which gives the format."""

    @property
    def encoding(self) -> str:
        """The encoding: for CSV that of the job's file; in UTF-8 with a byte order mark, for Excel."""
        encoding = self.options.encoding if self.suffix in _CSV else UTF_8
        return "utf-8-sig" if self.suffix in _CSV and encoding == UTF_8 else encoding

    def write(self, write: Write) -> int:
        """Write the list; return the number of rows without content.

        Raise `ConfigurationError` for a name of no known format, and for CSV of a file of JSON lines.
        """
        if self.suffix in _JSON_LINES:
            return self._write_json(write)
        if self.suffix in _CSV:
            return self._write_csv(write)
        message = f"--out {self.out}: end the name in .csv, .tsv or .jsonl, as the format is to be"
        raise ConfigurationError(message)

    def _found(self) -> Iterator[tuple[Found, Row | BadRow | None]]:
        """Yield each row of the journal that wasn't done, and the row of the file, if any.

        Until the next step the row is the last row that `rows` has given. Of a file that has
        changed, a row counts if the row has not changed.
        """
        rows, row = iter(self.rows or ()), None
        for kept in self.journal.rows(*_NOT_DONE):
            with suppress(SourceError):  # of a file that has changed
                while row is None or row.line < kept["line"]:
                    row = next(rows, _AFTER)
            is_there = row is not None and row.line == kept["line"]
            is_same = isinstance(row, Row) and hash_of(row) == kept["hash"]
            yield kept, row if is_there and (is_same or self.source.is_same) else None

    def _write_json(self, write: Write) -> int:
        missing = 0
        for kept, row in self._found():
            about = _outcome(kept)
            body: dict[str, Any] = json.loads(kept["body"]) if kept["body"] else {}
            if isinstance(row, Row):
                body = body or row.data
            elif row is not None and not body:
                about["text"] = self._text()
            missing += row is None and not kept["body"]
            write(json_line({**body, OUTCOME_KEY: about}))
        return missing

    def _write_csv(self, write: Write) -> int:
        table = self.rows.table if self.rows is not None else None
        if self.rows is not None and table is None:
            message = (
                f"{self.rows.name} is JSON lines, which CSV can't hold: "
                f"--out {shlex.quote(str(Path(self.out or '').with_suffix('.jsonl')))}"
            )
            raise ConfigurationError(message)
        names = table.names if table is not None else ()
        own = [at for at, name in enumerate(names) if name not in OUTCOME_COLUMNS]
        delimiter = "\t" if self.suffix == _TAB else self.options.delimiter
        # CR LF, so that a cell with a lone CR is quoted, too
        lines = csv.writer(_Output(write), delimiter=delimiter, lineterminator="\r\n")
        lines.writerow(_guarded([*(names[at] for at in own), *OUTCOME_COLUMNS]))
        missing = 0
        for kept, row in self._found():
            cells = dict(enumerate((row and table and table.cells) or ()))
            text = self._text() if row is not None and not cells else ""
            about = _outcome(kept)
            last = (about["line"], about["outcome"], about["code"], about["reason"], text)
            lines.writerow(_guarded([*(cells.get(at, "") for at in own), *last]))
            missing += row is None
        return missing

    def _text(self) -> str:
        """Return the text of the last row."""
        return cast("RowFile", self.rows).text.rstrip("\r\n")

    def notes(self, missing: int) -> Iterator[str]:
        """Yield notes about a list with *missing* rows without content: the reason, the next step."""
        if missing:
            yield f"{missing:,} rows without content: {self._loss()}"
        if self.out is None or missing:
            return
        if not is_finished(self.about):
            yield "The job isn't finished: run the same command again, before the list is imported."
        elif next(self.journal.rows(*_NOT_DONE), None) is None:
            yield "All rows are done: the list is empty."
        elif self._is_refused():
            if words := self._words():
                again = shlex.join(with_option(words, "--accept-changed-source"))
                yield (
                    f"Rows without a key are done, or may be, and an import of {self.out} couldn't "
                    f"tell further rows from these. Correct the rows in {self.about['source']}, "
                    f"then run: {again}"
                )
        elif command := self._import_command():
            yield f"Correct the rows in {self.out}, then import the list: {command}"

    def _loss(self) -> str:
        """Return the reason why the rows have no content: the file, or the format of the list."""
        if self.suffix in _CSV and any(row["body"] for row in self.journal.rows(*_NOT_DONE)):
            name = shlex.quote(str(cast("Path", self.out).with_suffix(".jsonl")))
            return (
                f"the content is in the journal, and JSON lines can hold the content: --out {name}"
            )
        if "digest" not in self.about:
            return (
                "they came from a program or a pipe, and the journal has the content of readable "
                "rows only, if the job had --keep-bodies"
            )
        state = "has changed since"
        if self.source.path is None:
            state = "is gone"
        elif self.source.is_same or not self.source.is_readable:
            state = "can't be read: check the rights of the file, and the disk"
        return (
            f"{self.about['source']}, the file that the job read, {state}. Lines and reasons are "
            "listed"
        )

    def _is_refused(self) -> bool:
        """Return True if the journal refuses other rows without a key: a user or message may be new."""
        if self.about.get("mode") not in _MAKING:
            return False
        made = islice(self.journal.rows(State.DONE, State.UNKNOWN), PAGE)
        return any(row["key"] is None for row in made)

    def _words(self) -> list[str]:
        """Return the command of the job, for the journal as named; empty if the command is unknown."""
        words = shlex.split(self.about.get(COMMAND, ""))
        if self.about.get("source") not in words[2:]:
            return []
        if self.journal.name not in words:  # another folder, or a copy
            option = "--cluster" if PROGRESS in self.about else "--journal"
            words = with_option(words, option, self.journal.name)
        return words

    def _import_command(self) -> str | None:
        """Return the command of the job for the list, if the journal has the command."""
        words = self._words()
        if not words:
            return None
        words[words.index(self.about["source"], 2)] = str(self.out)
        if self.suffix in _JSON_LINES:
            for option, is_flag in _OPTIONS_OF_SOURCE.items():
                words = without_option(words, option, is_flag=is_flag)
        elif self.suffix == _TAB and self.options.delimiter != "\t":
            words = with_option(words, "--delimiter", "tab")
        return shlex.join(words)


@frozen
class _Output:
    """The output of a `csv.writer`."""

    write: Write


def _outcome(kept: Found) -> dict[str, Any]:
    return {
        "line": kept["line"],
        "outcome": State(kept["state"]).name.lower(),
        "code": kept["code"],
        "reason": kept["reason"],
    }


def _guarded(cells: Iterable[Any]) -> list[str]:
    return ["" if cell is None else guard_cell(str(cell)) for cell in cells]
