"""Header of a CSV file: the columns to read, and the options for the columns that match no field. Pure."""

import shlex
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, cast

from attrs import define, field, frozen

from sunshine_async.rows.columns import (
    Column,
    ColumnTarget,
    column_of,
    guess_field,
    guess_name,
    known_fields,
    needs_of,
    targets_of,
)
from sunshine_async.rows.shape import OUTCOME_KEY, FieldPath, ReadOptions, Shape, SourceError

OUTCOME_COLUMNS: Final = tuple(
    f"{OUTCOME_KEY}.{name}" for name in ("line", "outcome", "code", "reason", "text")
)
"""The columns that a list of rows that weren't done adds; reading ignores the columns."""
_DELIMITERS: Final[Mapping[str, str]] = {",": ",", ";": ";", "\t": "tab", "|": "|"}
"""The usual delimiters of cells, and the spelling as an option."""
_LISTED: Final = 40
"""The most columns that a message names."""
_GUESSED: Final = 1000
"""The most columns of a header that are compared with the fields."""


@frozen
class Header:
    """The columns to read, below the *names* of all columns."""

    names: Sequence[str]
    columns: Sequence[Column]
    ignored: frozenset[int]
    """Indexes of the columns that aren't read, whatever the cells hold."""
    width: int
    """Number of cells that each row has: up to the last column that has a name or is read."""

    def misfit(self, cells: Sequence[str]) -> str | None:
        """Return the reason why *cells* aren't a row of these columns; None for empty cells behind."""
        count, width = len(cells), self.width
        if count < width:
            return f"{count} cell{'s' * (count != 1)}, where the header has {width}"
        for at in range(width, count):
            if cells[at] and at not in self.ignored:
                if at >= len(self.names):
                    return f"{count} cells, where the header has {len(self.names)}"
                return f"a value in column {at + 1}, which has no name: --skip '#{at + 1}' leaves it out"
        return None


@define
class _Matching:
    """The columns of *names* matched so far."""

    source: str
    names: Sequence[str]
    options: ReadOptions
    targets: Mapping[str, ColumnTarget]
    places: dict[str, list[int]] = field(factory=lambda: defaultdict(list))
    """Indexes of the columns, by name."""
    unmatched: dict[int, str] = field(factory=dict)
    """The columns that match no field, by index, as a message names them."""
    taken: dict[FieldPath, Column] = field(factory=dict)
    """The columns by the path of the field."""

    def __attrs_post_init__(self) -> None:
        for index, name in enumerate(self.names):
            self.places[name].append(index)

    def find(self, column: str) -> list[int]:
        """Return the indexes of the columns called *column*, or of the column with that ``#number``."""
        number = column.removeprefix("#")
        if column in self.places:
            return self.places[column]
        if column == number or not (number.isascii() and number.isdigit() and len(number) < 8):  # noqa: PLR2004 - as no header is wider
            return []
        return [int(number) - 1] if 0 < int(number) <= len(self.names) else []

    def name(self, index: int) -> str:
        """Return the name of a column as an option says it: ``#number`` if the name isn't clear."""
        name = self.names[index]
        is_clear = name.strip() and name.isprintable() and len(self.places[name]) == 1
        return name if is_clear else f"#{index + 1}"

    def read(self, column: Column) -> None:
        self.taken[column.path] = column

    def refuse(self, index: int, found: Column | None) -> None:
        """Record a column that can't be read: *found* is the column of a field that has another."""
        name = self.names[index]
        subject = f"{name!r}" if name.strip() else "a column without a name"
        if found is not None:
            subject += f", where {found.name} has a column,"
        is_clear = self.name(index) == name
        self.unmatched[index] = subject if is_clear else f"{subject} (#{index + 1})"


def match_columns(names: Sequence[str], shape: Shape, options: ReadOptions, source: str) -> Header:
    """Return the header of the file *source*, with the columns *names*.

    Raise `SourceError` for a header with unknown, unnamed, repeated or missing columns: with all of
    these columns, and the options that would read the file.
    """
    match = _Matching(source, names, options, targets_of(shape))
    _check_names(match)
    used: set[int] = set()
    for target, column in options.renames.items():
        [index] = match.find(column)
        used.add(index)
        mapped = cast("Column", column_of(target, index, match.targets))  # `open_rows` has checked
        if mapped.path in match.taken:
            message = f"two options --map set {mapped.name}: leave one out"
            raise SourceError(message)
        match.read(mapped)
    used.update(index for column in options.skip for index in match.find(column))
    used.update(index for index, name in enumerate(names) if name in OUTCOME_COLUMNS)
    named = (at for at, name in enumerate(names, 1) if name.strip() and name not in OUTCOME_COLUMNS)
    width = max(named, default=0)
    for index, name in enumerate(names[:width]):
        if index in used:
            continue
        found = column_of(name, index, match.targets, source)
        if found is not None and found.path not in match.taken:
            match.read(found)
        elif not options.only_mapped and (found is not None or shape.body is not None):
            match.refuse(index, found)
    if match.unmatched:
        raise _unmatched(match, shape)
    if lacking := _lacking(shape, match, (column.name for column in match.taken.values())):
        raise _without_column(match, lacking)
    last = max(column.index for column in match.taken.values())
    ignored = range(width, len(names)) if options.only_mapped else used
    return Header(names, (*match.taken.values(),), frozenset(ignored), max(width, last + 1))


def _check_names(match: _Matching) -> None:
    """Raise `SourceError` if an option names a column that the file hasn't, or has twice."""
    uses = [(column, f"for {name}") for name, column in match.options.renames.items()]
    uses += [(column, "to skip") for column in match.options.skip]
    missing = [(column, use) for column, use in uses if not match.find(column)]
    if missing:
        known = {"".join(filter(str.isalnum, name.casefold())): name for name in match.names}
        near = " ".join(
            dict.fromkeys(
                f"Did you mean {guess}?"
                for column, _ in missing
                if (guess := guess_name(column, known))
            )
        )
        columns = ", ".join(f"no column {column!r} {use}" for column, use in missing)
        message = (
            f"{match.source} has {columns}. {near}{' ' * bool(near)}It has: {_list(match.names)}"
        )
        raise _with_delimiter(match, message)
    for name, column in match.options.renames.items():
        if len(indexes := match.find(column)) > 1:
            options = ("--map", f"{name}=#{indexes[0] + 1}")
            message = (
                f"{match.source} has {len(indexes)} columns {column!r} for {name}. Name one by its "
                f"number, such as {shlex.join(options)}"
            )
            raise SourceError(message, options=options)


def _lacking(
    shape: Shape, match: _Matching, names: Iterable[str]
) -> Sequence[tuple[str, Sequence[str]]]:
    """Return the needs of a row that no field in *names* meets: a description, and the fields."""
    given = {name.partition(".")[0] for name in names}
    lacking = [
        (text, fields) for text, fields in needs_of(shape).items() if not given.intersection(fields)
    ]
    return lacking or ([] if given else [("that is read", tuple(match.targets))])


def _unmatched(match: _Matching, shape: Shape) -> SourceError:
    """Return the error for the columns that match no field, with options for each.

    There are no options if the file would still lack a column: no other column is taken for an id.
    """
    taken = {".".join(path) for path in match.taken}
    maps: list[str] = []
    skipped: list[int] = []
    for count, index in enumerate(match.unmatched):
        is_shown = count < _GUESSED and len(taken) < _LISTED
        guess = guess_field(match.names[index], match.targets) if is_shown else ""
        if guess and guess not in taken:
            taken.add(guess)
            maps += ["--map", f"{guess}={match.name(index)}"]
        else:
            skipped.append(index)
    lacking = _lacking(shape, match, taken)
    skips = [word for index in skipped for word in ("--skip", match.name(index))]
    if skips and (lacking or len(skipped) > _LISTED):
        skips = ["--only-mapped"]
    columns = _list(match.unmatched.values())
    message = f"{match.source}: no field is known here for: {columns}"
    error = _with_delimiter(match, message)
    if error.options:
        return error
    needed = [word for _, fields in lacking for word in ("--map", f"{fields[0]}=COLUMN")]
    options = () if lacking else (*maps, *skips)
    keep = next((name for name, target in match.targets.items() if target.any_name), None)
    kept = shlex.join(("--map", f"{keep}.note={match.name((skipped or [0])[0])}"))
    how = ", with the name of the column for COLUMN" * bool(lacking)
    text = (
        f"{message}\n"
        + "".join(f"The rows need a column {text}\n" for text, _ in lacking)
        + f"Map or skip each column{how}, for example: {shlex.join((*needed, *maps, *skips))}\n"
        + f"Keep a column under a name of your own: {kept}\n" * bool(keep and skipped)
        + "Skip all columns that are neither mapped nor named as a field: --only-mapped\n"
        f"Fields: {known_fields(match.targets)}"
    )
    return SourceError(text, options=options)


def _without_column(match: _Matching, lacking: Sequence[tuple[str, Sequence[str]]]) -> SourceError:
    """Return the error for a file without the columns that each row needs."""
    read = {column.index for column in match.taken.values()}
    free = [
        index
        for index, name in enumerate(match.names)
        if index not in read and name.strip() and name not in OUTCOME_COLUMNS
    ]
    guesses = {guess_field(match.names[at], match.targets): at for at in reversed(free[:_LISTED])}
    found = [next((name for name in fields if name in guesses), None) for _, fields in lacking]
    shown = [
        word
        for name, (_, fields) in zip(found, lacking, strict=True)
        for word in (
            "--map",
            f"{name}={match.name(guesses[name])}" if name else f"{fields[0]}=COLUMN",
        )
    ]
    missing = " and no column ".join(text for text, _ in lacking)
    message = f"{match.source} has no column {missing}. It has: {_list(filter(None, match.names))}"
    error = _with_delimiter(match, message)
    if error.options or not free:
        return error
    options = () if None in found else shown
    return SourceError(f"{message}. Name the column: {shlex.join(shown)}", options=options)


def _with_delimiter(match: _Matching, message: str) -> SourceError:
    """Return the error *message*, with the delimiter that would make more columns, if there is one."""
    others = _DELIMITERS.keys() - {match.options.delimiter}
    cells = {sum(name.count(other) for name in match.names) + 1: other for other in others}
    if max(cells) <= len(match.names):
        return SourceError(message)
    options = ("--delimiter", _DELIMITERS[cells[max(cells)]])
    message += f". Are the cells separated otherwise? {shlex.join(options)}"
    return SourceError(message, options=options)


def _list(names: Iterable[str]) -> str:
    """Return *names*, for a message, as far as a person reads."""
    shown = list(names)
    more = f" and {len(shown) - _LISTED:,} more" if len(shown) > _LISTED else ""
    return ", ".join(shown[:_LISTED]) + more
