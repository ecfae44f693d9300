"""Rows that no tool should write, and files that break: a bad row each, and the rows behind."""

import gzip
import io
import json
import time
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.size import sized

from sunshine_async._codec import Misfit
from sunshine_async.jobs import SUNSHINE, Mode
from sunshine_async.rows import BadRow, Format, Row, Shape, SourceError, open_rows
from sunshine_async.rows.csv_records import bare_cell, guard_cell
from sunshine_async.sunshine.models import UserCreateBody

USERS = Shape(UserCreateBody)
GOOD = b'{"externalId": "good"}\n'
ODD_NUMBERS = ("nan", "inf", "０１", "1_000", "true", "0x10", "1.", ".5", "1 2", "١")  # noqa: RUF001


def read(data: bytes, format: Format = Format.JSONL, **options: Any) -> list[Row | BadRow]:
    with open_rows("-", USERS, format=format, stdin=io.BytesIO(data), **options) as rows:
        return list(rows)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"x": ' + b"[" * 990 + b"1" * 25 + b"]" * 990 + b"}", "nested too deep"),
        (b'{"x": ' + b'{"y": ' * 990 + b"1" * 25 + b"}" * 991, "nested too deep"),
        (b'{"x": ' + b"[" * 200_000 + b"]" * 200_000 + b"}", "not JSON: depth limit"),
        (b'{"x": ' + b"9" * 6000 + b"}", "not JSON: number is infinity"),
        (b'{"x": 1e400}', "not JSON: number is infinity"),
        (b'{"x": NaN}', "not JSON: "),
        (b'{"x": -Infinity}', "not JSON: "),
        (b'{"x": 1_000}', "not JSON: "),
        (b'{"x": "\\ud800"}', "not JSON: no low surrogate"),
        (b'{"x": "\xed\xa0\x80"}', "not UTF-8: "),
        (b'{"x": "\xff"}', "not UTF-8: "),
        (b'{"x": "\0"}', "not JSON: "),
        (b'\xef\xbb\xbf{"x": 1}', "not JSON: UTF-8 byte order mark"),
        (b'{"x": 1}\r{"x": 2}', "a carriage return in the middle: lines end in LF or CR LF"),
        (b'{"x": 1} x', "not JSON: unexpected content after document"),
        (b"null", "not a JSON object"),
        (b'{"x": 1, "y": {}, "x": 2}', "the key 'x' stands in it twice"),
        (b'{"a": [{"x": 1, "x": 2}]}', "a.0: the key 'x' stands in it twice"),
        (b'{"x": 1' + b"0" * 307 + b"}", "x: an integer past 64 bits"),
        (b'{"x": 1' + b"0" * 309 + b"}", "not JSON: number is infinity"),
        (b'{"y": 1, "x": 1, "x" : 2}', "the key 'x' stands in it twice"),
        (b'{"x": 1, "x"\t: 2}', "the key 'x' stands in it twice"),
        (b'{"x": 1, "x"\r: 2}', "the key 'x' stands in it twice"),
        (b'{"a": {"x" : 1, "y": [{"z": 1, "z"\t: 1}]}}', "a.y.0: the key 'z' stands in it twice"),
    ],
)
def test_a_hostile_line_is_a_bad_row(line: bytes, reason: str) -> None:
    """A line that can't be read, or that readers read in different ways, is bad by itself."""
    first, bad, last = read(GOOD + line + b"\n" + GOOD)
    assert (first, last) == (Row(1, {"externalId": "good"}), Row(3, {"externalId": "good"}))
    assert isinstance(bad, BadRow)
    assert bad.line == 2
    assert bad.reason.startswith(reason)


def test_a_long_key_makes_no_long_reason() -> None:
    """A report keeps reasons in flat memory: of a long key a reason has both ends."""
    key = b"k" * 300_000
    for line in (b'{"%s": 1, "%s": 1}' % (key, key), b'{"%s": {"a": %s}}' % (key, b"9" * 30)):
        [bad] = read(line)
        assert isinstance(bad, BadRow)
        assert len(bad.reason) < 1000
        assert bad.reason.endswith(("stands in it twice", "in quotes it is text"))


@pytest.mark.parametrize(
    ("line", "data"),
    [
        (b'{"x": "\\u0000"}', {"x": "\0"}),
        (b'{"x": "\\":", "y": "a\\" : b"}', {"x": '":', "y": 'a" : b'}),
        (b'{"x": {"x": 1}, "y": [{"x": 1}, {"x": 2}]}', {"x": {"x": 1}, "y": [{"x": 1}, {"x": 2}]}),
        (b'{"x": 1e-400}', {"x": 0.0}),
    ],
)
def test_an_unusual_line_is_a_row(line: bytes, data: dict[str, Any]) -> None:
    """Text that looks like a key, equal keys of different objects and tiny numbers are read."""
    assert read(line) == [Row(1, data)]


def test_a_skipped_key_may_stand_twice() -> None:
    """Values under a skipped key aren't looked at; a key of that name further in is."""
    assert read(b'{"n": 1, "n": 2, "x": 1}', skip=["n"]) == [Row(1, {"x": 1})]
    assert read(b'{"n": {"n": 1, "n": 2}, "x": 1}', skip=["n"]) == [Row(1, {"x": 1})]
    [bad] = read(b'{"x": {"n": 1, "n": 2}}', skip=["n"])
    assert bad == BadRow(1, "x: the key 'n' stands in it twice")


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers() | st.text()), max_size=5))
def test_no_key_is_dropped(pairs: list[tuple[str, Any]]) -> None:
    """A row has all keys of its line, or is a bad row."""
    line = "{" + ", ".join(f"{json.dumps(key)}: {json.dumps(value)}" for key, value in pairs) + "}"
    [row] = read(line.encode())
    if isinstance(row, Row):
        assert list(row.data.items()) == pairs


@pytest.mark.parametrize(
    ("cell", "value"),
    [
        ("9" * 5000, "the number is too large"),
        ("9" * 21, "the number is too large"),
        ("-" + "9" * 20, "the number is too large"),
        ("1e400", "the number is too large"),
        ("1e" + "9" * 5000, "the number is too large"),
        ("1." + "9" * 5000, 2.0),
        ("0" * 900 + "7", 7),
        ("1e-400", 0.0),
        ("+18446744073709551615", 2**64 - 1),
        *((odd, "expected a number such as 12 or 3.5") for odd in ODD_NUMBERS),
    ],
)
def test_a_number_cell(cell: str, value: object) -> None:
    """A number cell of any text is a number or a reason; the rows behind are read."""
    data = f"externalId,metadata.age:number\na,{cell}\nb,1\n".encode()
    row, last = read(data, Format.CSV)
    assert last == Row(3, {"externalId": "b", "metadata": {"age": 1}})
    if isinstance(value, str):
        assert row == BadRow(2, f"metadata.age: {value}")
    else:
        assert row == Row(2, {"externalId": "a", "metadata": {"age": value}})


@given(
    cell=st.text(st.characters(codec="utf-8"), min_size=1),
    kind=st.sampled_from(["number", "boolean", "text"]),
)
def test_a_cell_of_any_text(cell: str, kind: str) -> None:
    """A cell never ends the reading, and a number fits into 64 bits."""
    quoted = cell.replace('"', '""').encode()
    data = b"externalId,metadata.x:" + kind.encode() + b'\na,"' + quoted + b'"\nb,1\n'
    rows = read(data, Format.CSV)
    assert isinstance(rows[-1], Row)
    assert rows[-1].data["externalId"] == "b"
    assert len(rows) == 2


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (
            b"\xef\xbb\xbfexternalId,metadata.x",
            "a header again: were files joined?",
        ),
        (b'"a"b,c', "in a quoted cell there is a quote"),
        (b"a,\xff", "not UTF-8"),
        (b"\0" * 4096, "1 cell, where the header has 2"),
    ],
)
def test_a_hostile_record_is_a_bad_row(line: bytes, reason: str) -> None:
    """A record that can't be read, or where a second file begins, is bad by itself."""
    rows = read(b"externalId,metadata.x\na,1\n" + line + b"\nb,2\n", Format.CSV)
    assert [row.line for row in rows] == [2, 3, 4]
    assert isinstance(rows[1], BadRow)
    assert rows[1].reason.startswith(reason)
    assert isinstance(rows[2], Row)


@pytest.mark.parametrize(
    "encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"]
)
@pytest.mark.parametrize("text", ["externalId\na\n", '{"externalId": "a"}\n'])
def test_wide_encodings_are_named(encoding: str, text: str) -> None:
    """A file in UTF-16 or UTF-32 is refused with the next step, also without a mark."""
    with pytest.raises(SourceError, match=f"is {encoding[:6].upper()}: name its encoding"):
        open_rows("-", USERS, stdin=io.BytesIO(text.encode(encoding)))


@pytest.mark.parametrize("behind", [b"garbage", b"\x1f\x8bgarbage"])
def test_data_behind_gzip(tmp_path: Path, behind: bytes) -> None:
    """The rows of a gzip file are read before other data behind ends the reading."""
    path = tmp_path / "users.jsonl.gz"
    path.write_bytes(gzip.compress(GOOD) + behind)
    found: list[Row | BadRow] = []
    with (
        open_rows(path, USERS) as rows,
        pytest.raises(SourceError, match=r"after line 1: the gzip file is (damaged, or|cut short)"),
    ):
        found.extend(rows)
    assert found == [Row(1, {"externalId": "good"})]


def test_gzip_that_is_far_larger_inside(tmp_path: Path) -> None:
    """A line of many MB out of a small gzip file is a bad row, in flat memory."""
    path = tmp_path / "users.jsonl.gz"
    path.write_bytes(gzip.compress(b"0" * sized(50_000_000, 20_000_000) + b"\n" + GOOD, 1))
    tracemalloc.start()
    with open_rows(path, USERS) as rows:
        found = list(rows)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert [type(row) for row in found] == [BadRow, Row]
    assert peak < 6_000_000


@pytest.mark.parametrize(
    "error", [OSError(5, "Input/output error"), ValueError("closed"), IndexError()]
)
def test_an_error_of_any_kind_ends_the_reading_in_one_sentence(error: Exception) -> None:
    """An error while a file is read becomes a `SourceError` with the file and the line."""

    class Broken(io.BytesIO):
        def readinto(self, buffer: Any) -> int:
            read = super().readinto(buffer)
            if not read:
                raise error
            return read

    found: list[Row | BadRow] = []
    with (
        open_rows("-", USERS, stdin=Broken(GOOD)) as rows,
        pytest.raises(SourceError, match="standard input, after line 1: it can't be read on"),
    ):
        found.extend(rows)
    assert found == [Row(1, {"externalId": "good"})]


@pytest.mark.parametrize(
    "text", ["'" * 120_000 + "x", "T1Z[" * 240_000, "2020-05-21T15:53:30Z" + "[" * 900_000 + "]"]
)
def test_a_text_of_any_length_is_read_at_once(text: str) -> None:
    """A text as long as a row may be, in a cell or as a time, doesn't stop a job for minutes."""
    began = time.process_time()
    assert bare_cell(guard_cell(text)) == text
    entry = SUNSHINE.task(Mode.CREATE).entry(Row(1, {"signedUpAt": text}))
    assert isinstance(entry, BadRow)
    assert entry.reason.startswith("signedUpAt: expected a time with its zone")
    assert time.process_time() - began < 20


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (Misfit("expected a number", "metadata.age"), "metadata.age: expected a number"),
        (RecursionError("jane@example.org"), "nested too deep"),
        *(
            (kind("jane@example.org"), f"can't be read ({kind.__name__}). This is a defect: ")
            for kind in (KeyError, ValueError, TypeError, OverflowError, MemoryError, Exception)
        ),
    ],
)
def test_an_error_of_any_kind_has_a_reason(error: Exception, reason: str) -> None:
    """Any error of one row is a reason without a value of the row."""
    bad = BadRow.from_error(2, error)

    assert bad.line == 2
    assert bad.reason.startswith(reason)
    assert "jane" not in bad.reason
    named = BadRow.from_error(2, error, "profile.email").reason
    assert named.startswith(f"profile.email: {reason.removeprefix('metadata.age: ')}")
