"""Real files, as Excel, exports of CRMs and shells make files: rows, bad rows, or one sentence."""

import io
import re
import shlex
import subprocess
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from attrs import frozen
from support.real_files import FILES, RealFile
from support.size import sized

from sunshine_async._codec.model import UNSET, Unset
from sunshine_async.rows import BadRow, Empty, Format, Row, Shape, SourceError, open_rows
from sunshine_async.rows.file import open_as
from sunshine_async.rows.header import match_columns
from sunshine_async.rows.json_lines import Pairs, check_unambiguous
from sunshine_async.rows.lines import NOT_UTF_8
from sunshine_async.rows.shape import ReadOptions
from sunshine_async.sunshine.models import UserCreateBody

USERS = Shape(UserCreateBody)
REFUSED = [file for file in FILES if file.refused]


def write(file: RealFile, folder: Path) -> Path:
    path = folder / file.name
    path.write_bytes(file.data)
    return path


def read(path: Path, **options: Any) -> list[Row | BadRow]:
    with open_rows(path, USERS, **options) as rows:
        return list(rows)


def data_of(path: Path, text: str, **options: Any) -> list[Any]:
    path.write_text(text)
    return [row.data if isinstance(row, Row) else row.reason for row in read(path, **options)]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_a_real_file(file: RealFile, tmp_path: Path) -> None:
    """Each file of the table is read, or refused in one sentence that names the file or the option."""
    path = write(file, tmp_path)
    if file.refused:
        with pytest.raises(SourceError) as caught:
            read(path, **file.options)
        assert file.refused in str(caught.value)
        assert file.name in str(caught.value) or "--" in str(caught.value)
        assert "\0" not in str(caught.value)
        return
    rows = read(path, **file.options)
    good = [row.data["externalId"] for row in rows if isinstance(row, Row)]
    bad = {row.line: row.reason for row in rows if isinstance(row, BadRow)}
    if file.name != "times-without-zone.csv":  # a job refuses these rows, not the reader
        assert "".join(good) == file.ids
    assert bad.keys() == file.bad.keys()
    for line, reason in file.bad.items():
        assert bad[line].startswith(reason)


@pytest.mark.parametrize(
    "file", [file for file in FILES if not file.refused], ids=lambda file: file.name
)
def test_the_options_of_a_file_as_text(file: RealFile, tmp_path: Path) -> None:
    """A file opened with the text of the options of another reading gives the same rows."""
    path = write(file, tmp_path)
    with open_rows(path, USERS, **file.options) as rows, rows.again() as again:
        with open_as(path, USERS, rows.meant) as same:
            assert list(rows) == list(again) == list(same)
        assert rows.meant == again.meant == same.meant


def test_options_that_change_rows_change_the_text(tmp_path: Path) -> None:
    """Each option of reading is a part of a job's identity; an encoding counts by its name."""
    path = tmp_path / "a.csv"
    path.write_text("externalId,signedUpAt\n")
    different: list[dict[str, Any]] = [
        {}, {"encoding": "cp1252"}, {"encoding": "latin-1"}, {"timezone": "UTC"},
        {"date_formats": ["%d/%m/%Y"]}, {"only_mapped": True}, {"skip": ["signedUpAt"]},
        {"renames": {"metadata.x": "signedUpAt"}}, {"empty": Empty.NULL},
    ]  # fmt: skip
    texts = []
    for options in [*different, {"encoding": "UTF8"}]:
        with open_rows(path, USERS, **options) as rows:
            texts.append(rows.meant)
    assert len(set(texts[:-1])) == len(different)
    assert texts[-1] == texts[0]
    with open_rows(path, USERS, format=Format.CSV) as rows:
        assert rows.meant == texts[0]


@pytest.mark.parametrize("file", REFUSED, ids=lambda file: file.name)
def test_options_in_a_message_can_be_pasted(file: RealFile, tmp_path: Path) -> None:
    """A shell splits the options in a message as meant, and the options lead to rows."""
    path = write(file, tmp_path)
    options: dict[str, Any] = {"renames": {}, "skip": [], **file.options}
    for _ in range(3):  # a wrong delimiter hides unknown columns
        try:
            read(path, **options)
        except SourceError as error:
            if not error.options:
                return
            text, added = str(error), list(error.options)
        else:
            return
        assert shlex.join(added) in text
        script = f"printf '%s\\0' {shlex.join(added)}"
        split = subprocess.run(  # noqa: S603 - the quoting is the test
            ["/bin/sh", "-c", script], capture_output=True, check=True, text=True
        )
        assert split.stdout.split("\0")[:-1] == added
        while added:
            match added.pop(0):
                case "--map":
                    name, _, column = added.pop(0).partition("=")
                    options["renames"] = {**options["renames"], name: column}
                case "--skip":
                    options["skip"] = [*options["skip"], added.pop(0)]
                case "--delimiter":
                    options["delimiter"] = {"tab": "\t"}.get(added[0], added[0])
                    added.pop(0)
                case other:
                    options[other.removeprefix("--").replace("-", "_")] = added.pop(0)
    pytest.fail(f"the options of the messages don't open {file.name}")


def test_a_very_wide_header(tmp_path: Path) -> None:
    """Of thousands of unknown columns the message names the first, and the way to skip all."""
    path = tmp_path / "wide.csv"
    path.write_text("externalId," + ",".join(f"q{number}" for number in range(5000)) + "\n")
    with pytest.raises(SourceError) as caught:
        read(path)
    assert caught.value.options == ["--only-mapped"]
    assert "'q0', 'q1', " in str(caught.value)
    assert "and 4,960 more" in str(caught.value)
    assert read(path, only_mapped=True) == []
    path.write_text(",".join(f"q{number}" for number in range(1000)) + ",external_id\n")
    with pytest.raises(SourceError) as caught:
        read(path)
    assert caught.value.options == ()  # external_id is no longer guessed
    assert "for COLUMN, for example: --map externalId=COLUMN --only-mapped\n" in str(caught.value)


class Name(str):
    """A name that counts its comparisons."""

    __slots__ = ()
    compared = 0

    def __eq__(self, other: object) -> bool:
        Name.compared += 1
        return str.__eq__(self, other)

    __hash__ = str.__hash__


def match(names: list[Name]) -> None:
    """Match a header, with half of the columns mapped."""
    renames: dict[str, str] = {f"metadata.d{name}": name for name in names[: len(names) // 2]}
    header = match_columns(names, USERS, ReadOptions(renames=renames), "a.csv")
    assert len(header.columns) == len(names)


def check(names: list[Name]) -> None:
    """Look for keys that stand twice."""
    check_unambiguous(Pairs((name, 1) for name in names), "")


@pytest.mark.parametrize("work", [match, check])
def test_wide_rows_are_read_in_linear_time(work: Callable[[list[Name]], None]) -> None:
    """Twice the columns, or keys, take about twice the comparisons of names."""
    counts: list[int] = []
    for width in (1000, 2000):
        Name.compared = 0
        work([Name(f"metadata.c{number}") for number in range(width)])
        counts.append(Name.compared)
    assert counts[1] <= 2.5 * counts[0] + 100


@pytest.mark.slow
@pytest.mark.costly
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-16-le", "cp1252", "latin-1"])
def test_memory_is_flat_in_each_encoding(encoding: str, tmp_path: Path) -> None:
    """A file in any encoding is read as it is taken: memory doesn't grow with the rows."""
    import tracemalloc  # noqa: PLC0415 - of this test only

    rows, path = sized(300_000, 20_000), tmp_path / "users.csv"
    path.write_bytes(("externalId,profile.surname\n" + "someone,Jürgen\n" * rows).encode(encoding))
    with open_rows(path, USERS, encoding=encoding.removesuffix("-le")) as found:
        first = next(iter(found))
        tracemalloc.start()
        count = sum(row.data == first.data for row in found if isinstance(row, Row))  # type: ignore[union-attr]
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert (count, found.consumed) == (rows - 1, found.size)
    assert peak < 2_000_000


@pytest.mark.parametrize(
    ("name", "lines"),
    [
        ("a.csv", ["sep=;\n", "externalId;metadata.x\n", 'a;"1\r\n2"\r\n', '"open\n', "b;2;3\n", "c;ü\n"]),
        ("a.jsonl", ['{"externalId": "a"}\n', "[]\n", '{"externalId": "ü"}\n', '{"x": "\udcff"}']),
    ],
)  # fmt: skip
def test_the_text_of_rows(name: str, lines: list[str], tmp_path: Path) -> None:
    """The text of each row, good or bad, below the header; the cells of each row that fits the header."""
    path = tmp_path / name
    path.write_bytes("".join(lines).encode(errors="surrogateescape"))
    lines = [line.replace("\udcff", "\ufffd") for line in lines]  # as `str` shows other bytes
    with open_rows(path, USERS) as rows:
        table = rows.table
        found = [(rows.text, table and table.cells) for _ in rows]
    assert [text for text, _ in found] == lines[2 if name == "a.csv" else 0 :]
    if table is None:
        assert name == "a.jsonl"
    else:
        assert table.names == ["externalId", "metadata.x"]
        assert [cells for _, cells in found] == [["a", "1\r\n2"], None, None, ["c", "ü"]]


def test_times_get_their_zone(tmp_path: Path) -> None:
    """A time without a zone is in the timezone; a date is the first moment of the day.

    A time that the service reads stays as written: a journal knows the row again, with the option
    and without.
    """
    text = "externalId,signedUpAt\na,{}\n"
    path = tmp_path / "a.csv"
    for zone, cell, expected in (
        ("Europe/Berlin", "2020-05-21", "2020-05-21T00:00:00+02:00"),
        ("Europe/Berlin", "2020-01-21 15:53", "2020-01-21T15:53:00+01:00"),
        ("Europe/Berlin", " 21/05/2020 15:53 ", "2020-05-21T15:53:00+02:00"),
        ("Europe/Berlin", "2020-05-21T15:53:30Z", "2020-05-21T15:53:30Z"),
        ("Europe/Berlin", "2020-05-21T15:53:30.197Z", "2020-05-21T15:53:30.197Z"),
        ("Europe/Berlin", "2020-05-21T15:53:30+05:30", "2020-05-21T15:53:30+05:30"),
        ("Europe/Berlin", "2020-05-21_15:53:30Z", "2020-05-21T15:53:30+00:00"),
        ("America/Sao_Paulo", "2018-11-04", "2018-11-04T01:00:00-02:00"),
        ("Atlantic/Azores", "2020-10-25", "2020-10-25T00:00:00+00:00"),
        (None, "21/05/2020 15:53 +0530", "2020-05-21T15:53:00+05:30"),
    ):
        formats = ["%d/%m/%Y %H:%M", "%d/%m/%Y %H:%M %z"]
        [data] = data_of(path, text.format(cell), timezone=zone, date_formats=formats)
        assert data["signedUpAt"] == expected


@pytest.mark.parametrize(
    ("form", "shown"),
    [
        ("%d/%m/%Y %H:%M", "25/10/2020 02:30"),
        ("%d/%m/%Y %I:%M %p", "25/10/2020 02:30 AM"),
        ("%d/%m/%Y %X", "25/10/2020 02:30:00"),
        ("%c", "Sun Oct 25 02:30:00 2020"),
    ],
)
def test_a_time_shown_twice_in_each_format(form: str, shown: str, tmp_path: Path) -> None:
    """No format makes a guess which of two equal times is meant."""
    options: dict[str, Any] = {"timezone": "Europe/Berlin", "date_formats": [form]}
    [reason] = data_of(tmp_path / "a.csv", f"externalId,signedUpAt\na,{shown}\n", **options)
    assert reason.startswith("signedUpAt: the clock in Europe/Berlin shows this time twice")


def test_hours_without_am_or_pm_are_refused(tmp_path: Path) -> None:
    """A format with hours up to 12, and without AM or PM, would take each time for the morning."""
    with pytest.raises(SourceError, match=r"'%d/%m/%Y %I:%M' has hours from 1 to 12 .* \(%p\)"):
        data_of(tmp_path / "a.csv", "signedUpAt\n", date_formats=["%d/%m/%Y %I:%M"])


def test_times_elsewhere_in_a_row(tmp_path: Path) -> None:
    """A value that is no text, and rows without times, stay as they are."""
    path = tmp_path / "a.jsonl"
    text = '{"signedUpAt": 5}\n{}\nnonsense\n'
    found = data_of(path, text, timezone="UTC")
    assert found[:2] == [{"signedUpAt": 5}, {}]
    with pytest.raises(SourceError, match="are for rows with times: leave them out"):
        open_rows(path, Shape(None, ids=("id",)), timezone="UTC")


def test_times_inside_an_object(tmp_path: Path) -> None:
    """A time in an object of the row is normalized; a row without the object stays."""

    @frozen(kw_only=True)
    class Trip:
        at: datetime | Unset = UNSET

    @frozen(kw_only=True)
    class Traveller:
        trip: Trip | Unset = UNSET

    path = tmp_path / "a.jsonl"
    path.write_text('{"trip": {"at": "2020-05-21"}}\n{"trip": 1}\n{"trip": {}}\n')
    with open_rows(path, Shape(Traveller), timezone="Europe/Berlin") as rows:
        data = [row.data for row in rows if isinstance(row, Row)]
    assert data == [{"trip": {"at": "2020-05-21T00:00:00+02:00"}}, {"trip": 1}, {"trip": {}}]


@pytest.mark.parametrize("body", [b'{"externalId": "a"}\n', b"externalId\na\n"])
def test_the_encoding_of_a_pipe(body: bytes) -> None:
    """An encoding applies to standard input, too."""
    data = body.decode().encode("utf-16")
    with open_rows("-", USERS, encoding="utf-16", stdin=io.BytesIO(data)) as rows:
        assert [row.data for row in rows if isinstance(row, Row)] == [{"externalId": "a"}]


def test_reasons_name_no_value() -> None:
    """The reason for a wrong encoding names an encoding to try."""
    assert re.search(r"--encoding cp1252$", NOT_UTF_8)
