"""Files of rows: what is read, what is bad, and what is said of it."""

import csv
import gzip
import io
import json
import os
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from attrs import field, frozen
from hypothesis import given
from hypothesis import strategies as st

from sunshine_async._codec.model import UNSET, Unset
from sunshine_async.dixa import PatchEndUserInput
from sunshine_async.rows import BadRow, Empty, Format, Row, Shape, SourceError, open_rows
from sunshine_async.rows.lines import MAX_ROW_BYTES
from sunshine_async.sunshine.models import UserCreateBody, UserUpdateBody

USERS = Shape(UserCreateBody)
CHANGES = Shape(UserUpdateBody, ids=("id", "externalId"), beside=("brandId",))
DELETIONS = Shape(None, ids=("id", "externalId"))


@frozen(kw_only=True)
class Person:
    """A model with every kind of field that a column can be."""

    age: int | Unset = UNSET
    weight: float | Unset | None = UNSET
    emails: list[str] | Unset = UNSET
    tags: list[int] | Unset = UNSET
    either: int | str | Unset = UNSET
    born: datetime | Unset = UNSET
    vip: bool | Unset = UNSET
    metadata: Mapping[str, Any] | Unset = UNSET
    extra: Mapping[str, Any] = field(factory=dict)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "users.csv"


def read(path: Path | str, shape: Shape = USERS, **options: Any) -> list[Row | BadRow]:
    with open_rows(path, shape, **options) as rows:
        return list(rows)


def read_text(
    path: Path, text: str | bytes, shape: Shape = USERS, **options: Any
) -> list[Row | BadRow]:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read(path, shape, **options)


def refusal(
    path: Path | str, text: str | bytes | None = None, shape: Shape = USERS, **options: Any
) -> str:
    with pytest.raises(SourceError) as caught:
        read(path, shape, **options) if text is None else read_text(path, text, shape, **options)
    return str(caught.value)


class TestTables:
    def test_columns_are_fields(self, path: Path) -> None:
        """A column sets the field that its name says, nested as on the wire; its cells are text."""
        [row] = read_text(
            path, "externalId,profile.givenName,metadata.tier,metadata.a.b\n00123,Zoë,gold,x\n"
        )
        assert row == Row(
            2,
            {
                "externalId": "00123",
                "profile": {"givenName": "Zoë"},
                "metadata": {"tier": "gold", "a.b": "x"},
            },
        )

    def test_columns_have_types(self, path: Path) -> None:
        """What a column says after a colon is what its cells are; a model's own types need none."""
        [row] = read_text(
            path,
            "metadata.n:number,metadata.f:number,metadata.b:boolean,metadata.x:y:text,toBeRetained,"
            "toBeRetained:boolean\n".replace(",toBeRetained:boolean", "")
            + "12, -3.5e2 , YES ,z,0\n",
        )
        assert row.data == {
            "metadata": {"n": 12, "f": -350.0, "b": True, "x:y": "z"},
            "toBeRetained": False,
        }
        assert type(row.data["metadata"]["n"]) is int

    def test_every_kind_of_field(self, path: Path) -> None:
        """Integers, numbers, lists, times, booleans and open objects can be columns."""
        [row] = read_text(
            path,
            "age,weight,emails,born,vip:boolean,metadata.x\n7,7.5,a@x.org|b@x.org,2020-05-21,no,y\n",
            Shape(Person),
        )
        assert row.data == {
            "age": 7,
            "weight": 7.5,
            "emails": ["a@x.org", "b@x.org"],
            "born": "2020-05-21",
            "vip": False,
            "metadata": {"x": "y"},
        }

    @pytest.mark.parametrize("column", ["tags", "either", "extra"])
    def test_fields_that_are_no_column(self, path: Path, column: str) -> None:
        """A field that a cell can't hold is no column."""
        assert f"no field is known here for: '{column}'" in refusal(
            path, f"{column}\n1\n", Shape(Person)
        )

    @pytest.mark.parametrize(
        ("column", "cell", "reason"),
        [
            ("metadata.n:number", "1,5", "expected a number such as 12 or 3.5"),
            ("metadata.n:number", "nan", "expected a number such as 12 or 3.5"),
            ("metadata.n:number", "1e999", "the number is too large"),
            ("metadata.n:number", "9" * 30, "the number is too large"),
            ("metadata.b:boolean", "ja", "expected one of true, yes, 1, false, no, 0"),
            ("toBeRetained", "2", "expected one of true, yes, 1, false, no, 0"),
        ],
    )
    def test_bad_cells(self, path: Path, column: str, cell: str, reason: str) -> None:
        """A cell that isn't what its column says fails its row, and the others go on."""
        name = column.partition(":")[0]
        rows = read_text(path, f'externalId;{column}\na;{cell}\nb;"1"\n', delimiter=";")
        assert rows[0] == BadRow(2, f"{name}: {reason}")
        assert isinstance(rows[1], Row)

    def test_empty_cells_are_left_out(self, path: Path) -> None:
        """An empty cell leaves its field out, and the object around it if nothing else is in it."""
        [row] = read_text(path, "externalId,profile.email,metadata.tier\na,,\n")
        assert row.data == {"externalId": "a"}

    def test_empty_cells_clear(self, path: Path) -> None:
        """With `Empty.NULL` an empty cell is null, where the service can clear the field."""
        [row] = read_text(
            path, "id,signedUpAt,profile.email,metadata.x\na,,,\n", CHANGES, empty=Empty.NULL
        )
        assert row.data == {"id": "a", "profile": {"email": None}, "metadata": {"x": None}}

    def test_lines_are_those_of_the_file(self, path: Path) -> None:
        """A row's line is the one it starts on, whatever lines its cells and blank ones take."""
        rows = read_text(
            path,
            'externalId,metadata.note\r\n\r\na,"one\r\ntwo"\r\n   \r\nb,x\r\nc\r\nd,y',
        )
        assert [row.line for row in rows] == [3, 6, 7, 8]
        assert rows[0].data["metadata"] == {"note": "one\r\ntwo"}
        assert rows[2] == BadRow(7, "1 cell, where the header has 2")

    def test_bad_rows_leave_the_others(self, path: Path) -> None:
        """A row that can't be read fails alone, with its line and why."""
        rows = read_text(
            path,
            b"\xef\xbb\xbfexternalId,metadata.note\n"
            b"a,1,2\n"
            b"b,\xff\n"
            b",\n"
            b'c,"never closed\n'
            b'd,"fine"\n'
            b'e,"not" doubled\n'
            b"f,car\rriage\n"
            b'g,"' + b"x" * 200_000 + b'"\n'
            b"h," + b"y" * 2 * MAX_ROW_BYTES + b"\n"
            b'i,"' + (b"z" * 999 + b"\n") * 2000 + b'"\n'
            b"j,ok\n",
        )
        good = [row.line for row in rows if isinstance(row, Row)]
        bad = {row.line: row.reason for row in rows if isinstance(row, BadRow)}
        assert good == [6, rows[-1].line]
        assert rows[-1].data["externalId"] == "j"
        assert [bad[line] for line in (2, 3, 5, 7, 8, 9, 10, 11)] == [
            "3 cells, where the header has 2",
            "not UTF-8: save the file as UTF-8, or name its encoding: --encoding cp1252",
            "in a quoted cell there is a quote (\") that isn't doubled",
            "in a quoted cell there is a quote (\") that isn't doubled",
            "a carriage return in the middle: lines end in LF or CR LF",
            "a cell is too long",
            f"the row is longer than {MAX_ROW_BYTES} bytes",
            "a cell is too long",
        ]

    def test_record_is_bounded(self, path: Path) -> None:
        """A quote that is never closed isn't looked for past what a row can be."""
        names = ",".join(f"metadata.c{number}" for number in range(12))
        rows = read_text(path, names + "\n" + ('"' + "x" * 100_000 + '\n",') * 12)
        assert rows[0] == BadRow(2, 'a quote (") is opened and never closed')

    def test_quote_at_the_end_of_the_file(self, path: Path) -> None:
        """A quote that the file's end leaves open fails its row."""
        rows = read_text(path, 'externalId\na\n"b\n')
        assert rows == [
            Row(2, {"externalId": "a"}),
            BadRow(3, 'a quote (") is opened and never closed'),
        ]

    @pytest.mark.parametrize(
        ("header", "line", "bad"),
        [
            ("externalId,metadata.x", "externalId,1", ()),
            ("externalId,metadata.x", "externalId,", ()),
            ("externalId,metadata.x", "sep=;,", ()),
            ("externalId,metadata.x", '"sep=,",1', ()),
            ("externalId,metadata.x", '"sep=,",', (3,)),
            ("externalId,metadata.x", "externalId,metadata.x", (3,)),
            ("externalId,,metadata.x", "externalId,,metadata.x", (3,)),
            ("externalId,metadata.x", "metadata.x,externalId", (3, 4)),
            ("externalId,metadata.x", "externalId,metadata.x,,", (3, 4)),
        ],
    )
    def test_rows_that_look_like_a_header(
        self, path: Path, header: str, line: str, bad: tuple[int, ...]
    ) -> None:
        """A header, or a line that names the delimiter, is no row; a row may have the name of a column.

        The rows below a second header are read where the header is the first again.
        """
        cells = ",1" * header.count(",")
        skip = ["#2"] if ",," in header else []
        rows = read_text(path, f"{header}\na{cells}\n{line}\nb{cells}\n", skip=skip)
        assert [row.line for row in rows] == [2, 3, 4]
        assert tuple(row.line for row in rows if isinstance(row, BadRow)) == bad
        assert rows[1].data["externalId"] in line if not bad else "a header again" in str(rows[1])

    def test_empty_lines_above_the_header(self, path: Path) -> None:
        """The header is the first line with text in a cell, and is called by the line's number."""
        assert read_text(path, ",,\n\nexternalId\na\n") == [Row(4, {"externalId": "a"})]
        assert "line 3, which names the columns: a quote" in refusal(path, ',,\n\n"open')

    def test_what_a_row_is(self, path: Path) -> None:
        """Blanks between delimiters are cells; a byte order mark inside of a cell stays."""
        rows = read_text(path, 'externalId,metadata.x\n,\n , \na,"1\n\ufeff2"\n')
        assert rows == [
            Row(3, {"externalId": " ", "metadata": {"x": " "}}),
            Row(4, {"externalId": "a", "metadata": {"x": "1\n\ufeff2"}}),
        ]

    def test_apostrophes_of_a_list_of_rows(self, path: Path) -> None:
        """The apostrophes that a list of rows has been given go, and only those."""
        text = "externalId,'=x,_row.line\n'007,'=1,2\n007,=1,3\n'a,''007,4\n"
        rows = read_text(path, text, renames={"metadata.x": "=x"})
        assert [row.data for row in rows if isinstance(row, Row)] == [
            {"externalId": "007", "metadata": {"x": "=1"}},
            {"externalId": "007", "metadata": {"x": "=1"}},
            {"externalId": "'a", "metadata": {"x": "'007"}},
        ]
        [row] = read_text(path, "externalId,'=x\n'007,1\n", renames={"metadata.x": "'=x"})
        assert row == Row(2, {"externalId": "'007", "metadata": {"x": "1"}})

    def test_deletions_pass_over_other_columns(self, path: Path) -> None:
        """Without a body, columns that say no user are passed over."""
        [row] = read_text(path, "notes,externalId\nx,a\n", DELETIONS)
        assert row.data == {"externalId": "a"}


class TestHeaders:
    @pytest.mark.parametrize(
        ("name", "text"),
        [
            ("users.csv", "customer_no,mail\n7,a@x.org\n"),
            ("users.jsonl", '{"customer_no": "7", "mail": "a@x.org"}\n'),
        ],
    )
    def test_renames(self, tmp_path: Path, name: str, text: str) -> None:
        """A column, or a key, is renamed; one may set two fields."""
        [row] = read_text(
            tmp_path / name,
            text,
            renames={"externalId": "customer_no", "profile.email": "mail", "metadata.m": "mail"},
        )
        assert row.data == {
            "externalId": "7",
            "profile": {"email": "a@x.org"},
            "metadata": {"m": "a@x.org"},
        }

    @pytest.mark.parametrize(
        ("header", "said"),
        [
            ("external_id", "--map externalId=external_id"),
            ("givenname", "--map profile.givenName=givenname"),
            ("quux", "Fields: externalId, brandId, signedUpAt, toBeRetained, profile.givenName"),
            (
                "quux",
                "Keep a column under a name of your own: --map metadata.note=quux",
            ),
            ("profile", "no field is known here for: 'profile'"),
            ("metadata", "no field is known here for: 'metadata'"),
            ("metadata.", "no field is known here for: 'metadata.'"),
            ("externalId;brandId", "--delimiter ';'"),
            ("externalId\tbrandId", "--delimiter tab"),
            ("a,a", "no field is known here for: 'a' (#1), 'a' (#2)"),
            ("externalId,,x", "a column without a name (#2), 'x'"),
            ("metadata.x:date", "a type that isn't known here: date. Known: number, boolean, text"),
            ("metadata.x:date", "metadata.x:date:text"),
            (
                "externalId:number",
                "'externalId:number' isn't a number to the service. Leave out :number",
            ),
            ("metadata.x,metadata.x:number", "where metadata.x has a column"),
            ('"open', "line 1, which names the columns: a quote"),
            ("\xff", "no field is known here for: "),
            (b"\xff", "line 1, which names the columns: not UTF-8"),
            (b"\xff\xfea\x00", "is UTF-16: name its encoding (--encoding utf-16)"),
            ("", "line 1, which names the columns: it is empty"),
            ("\n \n", "it is empty"),
        ],
    )
    def test_headers_that_are_refused(self, path: Path, header: Any, said: str) -> None:
        """A first line that can't be meant is refused, with what is known and what to do."""
        text = refusal(path, header)
        assert said in text
        assert str(path) in text

    @pytest.mark.parametrize(
        ("renames", "said"),
        [
            ({"externalId": "number"}, "no column 'number' for externalId. It has: customer_no"),
            ({"externalId": "custmer_no"}, "Did you mean customer_no?"),
            ({"external": "customer_no"}, "'external' isn't a field that is known here"),
            ({"customer_no": "externalId"}, "--map externalId=customer_no"),
            ({"external": "customer_no"}, "Did you mean externalId?"),
        ],
    )
    def test_renames_that_are_refused(self, path: Path, renames: dict[str, str], said: str) -> None:
        """A rename from a column that isn't there, or to a field that isn't known, is refused."""
        assert said in refusal(path, "customer_no\n1\n", renames=renames)

    @pytest.mark.parametrize("column", ["1", "#0", "#3", "#-1", "#", "#x", "#²", "#１"])  # noqa: RUF001
    def test_a_number_of_no_column(self, path: Path, column: str) -> None:
        """A number needs its sign, counts from 1, and is never another column's."""
        for options in ({"renames": {"externalId": column}}, {"skip": [column]}):
            said = refusal(path, "customer_no,brandId\n1,2\n", **options)
            assert f"has no column {column!r} " in said

    def test_two_columns_of_a_field(self, path: Path) -> None:
        """No column is chosen from two of the same field, also where other columns are ignored."""
        text = refusal(path, "externalId,note,externalId\na,b,c\n", DELETIONS)
        assert "'externalId', where externalId has a column, (#3)" in text

    def test_a_column_without_a_name_that_is_read(self, path: Path) -> None:
        """Each row has a cell for the last column that is read, named or not."""
        rows = read_text(path, "id,,\n1,2,a\n1,2\n", DELETIONS, renames={"externalId": "#3"})
        assert rows == [
            Row(2, {"externalId": "a", "id": "1"}),
            BadRow(3, "2 cells, where the header has 3"),
        ]

    def test_names_that_are_no_names(self, path: Path) -> None:
        """Blank names name nothing, and metadata is no field to map a column to."""
        assert "no column that is read" in refusal(path, " , \n1,2\n")
        assert read_text(path, "externalId, \na\n") == [Row(2, {"externalId": "a"})]
        assert "--map metadata=" not in refusal(path, "Metadata\n1\n")

    def test_a_field_of_another_service_is_guessed(self, path: Path) -> None:
        """A column with Sunshine's name of a field is mapped to the field of Dixa."""
        text = refusal(
            path, "profile.email,externalId\na@example.org,1\n", Shape(PatchEndUserInput)
        )
        assert "--map email=profile.email" in text

    def test_someone_must_be_meant(self, path: Path) -> None:
        """Where rows carry an id, a file without a column for it is refused."""
        with pytest.raises(SourceError) as caught:
            read_text(path, "customer_no\n1\n", DELETIONS)
        text = str(caught.value)
        assert "no column that says which user: id or externalId. It has: customer_no" in text
        assert text.endswith("Name the column: --map externalId=customer_no")
        assert caught.value.options == ["--map", "externalId=customer_no"]

    def test_a_name_that_columns_share(self, path: Path) -> None:
        """A column is mapped by its number where others have its name; the first is suggested."""
        with pytest.raises(SourceError, match="has 2 columns 'no' for externalId") as caught:
            read_text(path, "x,no,no\n1,2,3\n", renames={"externalId": "no"})
        assert caught.value.options == ["--map", "externalId=#2"]
        options: dict[str, Any] = {"renames": {"externalId": "#3"}, "only_mapped": True}
        assert read(path, **options) == [Row(2, {"externalId": "3"})]

    def test_no_column_is_guessed_to_be_an_id(self, path: Path) -> None:
        """A column that means nothing known is never suggested as the id of users to delete."""
        with pytest.raises(SourceError) as caught:
            read_text(path, "customer_no\n1\n", Shape(None, ids=("id",)))
        assert str(caught.value).endswith("Name the column: --map id=COLUMN")
        assert not caught.value.options

    @pytest.mark.parametrize("delimiter", ["", ";;", '"', "\n"])
    def test_delimiters_that_are_refused(self, path: Path, delimiter: str) -> None:
        """A delimiter is one character that can stand between cells."""
        assert "give one character" in refusal(path, "a", delimiter=delimiter)


class TestLines:
    def test_each_line_is_an_object(self, tmp_path: Path) -> None:
        """A line that isn't one whole JSON object fails alone, with its line and why."""
        rows = read_text(
            tmp_path / "users.jsonl",
            b'\xef\xbb\xbf{"externalId": "a", "new": 1}\r\n\n[1]\n{"a": \n"b"\n{"x": "\xff"}\n'
            b'{"y": "' + b"y" * MAX_ROW_BYTES + b'"}\n{}',
        )
        assert rows[0] == Row(1, {"externalId": "a", "new": 1})
        assert rows[-1] == Row(8, {})
        assert [(row.line, row.reason.partition(";")[0]) for row in rows[1:-1]] == [
            (3, "not a JSON object: one user a line, in { }"),
            (4, "not JSON: unexpected end of data (column 6)"),
            (5, "not a JSON object: one user a line, in { }"),
            (6, "not UTF-8: save the file as UTF-8, or name its encoding: --encoding cp1252"),
            (7, f"the row is longer than {MAX_ROW_BYTES} bytes"),
        ]

    def test_a_single_line_with_a_mark(self, tmp_path: Path) -> None:
        """A byte order mark is no part of a file's only line, with a line end or without."""
        for text in (b'\xef\xbb\xbf{"x": 1}', b'\xef\xbb\xbf{"x": 1}\n'):
            assert read_text(tmp_path / "users.jsonl", text) == [Row(1, {"x": 1})]

    def test_keys_are_renamed(self, tmp_path: Path) -> None:
        """A key is renamed, into an object where the field is in one."""
        rows = read_text(
            tmp_path / "users.ndjson",
            '{"no": "1", "mail": "a"}\n{"mail": "b", "profile": {"surname": "B"}}\n'
            '{"mail": "c", "profile": 1}\n{"z": 1}',
            renames={"externalId": "no", "profile.email": "mail"},
        )
        assert rows == [
            Row(1, {"externalId": "1", "profile": {"email": "a"}}),
            Row(2, {"profile": {"surname": "B", "email": "b"}}),
            BadRow(3, "profile: expected an object"),
            Row(4, {"z": 1}),
        ]

    def test_only_known_and_mapped_keys(self, tmp_path: Path) -> None:
        """With *only_mapped* a line has no key but those of fields and of renames."""
        lines = '{"externalId": "a", "no": 1, "note": 2, "profile": {"x": 3}}\n{"note": 2}\n'
        options: dict[str, Any] = {"only_mapped": True, "renames": {"metadata.no": "no"}}
        assert read_text(tmp_path / "users.jsonl", lines, **options) == [
            Row(1, {"externalId": "a", "profile": {"x": 3}, "metadata": {"no": 1}}),
            Row(2, {}),
        ]

    def test_outcomes_of_another_job(self, tmp_path: Path) -> None:
        """The outcome that a list of rows adds is no field; a line with nothing else is no row."""
        lines = '{"_row": {"line": 7}, "externalId": "a"}\n{"_row": {"line": 8}}\n{"_row": 0}\n'
        row, alone, empty = read_text(tmp_path / "users.jsonl", lines)
        assert (row, empty) == (Row(1, {"externalId": "a"}), Row(3, {}))
        assert alone == BadRow(2, "the row has only the outcome of another job, and no fields")

    def test_an_array_in_a_line(self, tmp_path: Path) -> None:
        """A whole array in the first line is a bad row; so is a line that is no JSON, with CR LF."""
        rows = read_text(tmp_path / "users.jsonl", "[1]\r\nno\r\n{}\r\n")
        assert [type(row) for row in rows] == [BadRow, BadRow, Row]
        assert rows[1].reason.startswith("not JSON: ")

    @pytest.mark.parametrize("text", ['[\n{"a": 1}\n]', '\n{\n"a": 1\n}', '[{"a": 1},\n{"a": 2}]'])
    def test_json_over_many_lines(self, tmp_path: Path, text: Any) -> None:
        """JSON that isn't JSON lines is refused, with how to make it so."""
        assert "jq -c '.[]'" in refusal(tmp_path / "users.jsonl", text)


class TestFiles:
    @pytest.mark.parametrize("name", ["users.csv.gz", "users.CSV", "users", "users.txt"])
    def test_tables_by_name_or_beginning(self, tmp_path: Path, name: str) -> None:
        """A table is known by its name, or by not beginning as JSON does; gzip by its first bytes."""
        text = b"externalId\na\n"
        path = tmp_path / name
        assert read_text(path, gzip.compress(text)) == [Row(2, {"externalId": "a"})]
        if not name.endswith(".gz"):
            assert read_text(path, text) == [Row(2, {"externalId": "a"})]

    @pytest.mark.parametrize("name", ["users.jsonl.gz", "users.ndjson", "users.json"])
    def test_lines_by_name_or_beginning(self, tmp_path: Path, name: str) -> None:
        """JSON lines are known by their name or by how they begin."""
        text = b'\n {"externalId": "a"}'
        assert read_text(tmp_path / name, gzip.compress(text)) == [Row(2, {"externalId": "a"})]

    @pytest.mark.parametrize(
        ("name", "text"),
        [
            ("a.CSV", b"[1],externalId\n,a\n"),
            ("a.csv.gz", b"{1},externalId\n,a\n"),
            ("a.NDJSON", b'null\n{"externalId": "a"}\n'),
            ("a.ndjson.gz", b'null\n{"externalId": "a"}\n'),
        ],
    )
    def test_a_name_goes_before_the_beginning(self, tmp_path: Path, name: str, text: bytes) -> None:
        """A file that begins as the other format does is what its name says."""
        data = gzip.compress(text) if name.endswith(".gz") else text
        found = read_text(tmp_path / name, data, only_mapped=True)
        assert found[-1] == Row(2, {"externalId": "a"})

    def test_format_is_said(self, path: Path) -> None:
        """What is said that the format is goes before the name."""
        assert read_text(path, "{}", format=Format.JSONL) == [Row(1, {})]

    @pytest.mark.parametrize(
        ("text", "rows"),
        [
            (b'{"externalId": "a"}\n', [Row(1, {"externalId": "a"})]),
            (b"externalId\na\n", [Row(2, {"externalId": "a"})]),
            (b"", []),
        ],
    )
    def test_standard_input(self, text: Any, rows: Any) -> None:
        """Standard input is what it begins as."""
        with open_rows("-", USERS, stdin=io.BytesIO(text)) as source:
            assert source.ready(0)
            assert list(source) == rows
            assert (source.size, source.consumed) == (None, len(text))
            assert source.name == "standard input"

    def test_pipe_is_waited_for(self) -> None:
        """A row is ready when it has come, and a pipe's end is no row but ready."""
        out, into = os.pipe()
        os.write(into, b'{"externalId": "a"}\n{"externalId"')
        with os.fdopen(out, "rb", buffering=0) as pipe, open_rows("-", USERS, stdin=pipe) as source:
            rows = iter(source)
            assert source.ready(0)
            assert next(rows) == Row(1, {"externalId": "a"})
            assert not source.ready(0)
            os.write(into, b': "b"}\n')
            assert source.ready(0)
            assert next(rows) == Row(2, {"externalId": "b"})
            assert not source.waiting
            os.close(into)
            assert source.ready(0)
            assert list(rows) == []
            assert source.waiting

    def test_pipe_with_a_name_is_read_once(self, path: Path) -> None:
        """A pipe has no size, and no path to read the same rows again, also where it has a name."""
        os.mkfifo(path)
        writer = os.open(path, os.O_RDWR)
        os.write(writer, b"externalId\na\n")
        with open_rows(path, USERS) as source:
            assert next(iter(source)) == Row(2, {"externalId": "a"})
            assert (source.size, source.path, source.share) == (None, None, None)
        os.close(writer)

    def test_gzip_on_a_pipe_is_always_ready(self) -> None:
        """What is compressed may have rows in what has come: it is not waited for."""
        source = open_rows("-", USERS, stdin=io.BytesIO(gzip.compress(b"{}\n")))
        assert source.ready(0)
        assert len(list(source)) == 1
        assert source.consumed > 0
        source.close()
        assert source.consumed == 0

    def test_what_cannot_be_waited_for_is_ready(self) -> None:
        """What isn't a file of the system's is taken to have something to say."""
        text = b'{"externalId": "a"}\n' * 9999
        with open_rows("-", USERS, stdin=io.BytesIO(text)) as source:
            rows = iter(source)
            while source.waiting:
                next(rows)
            assert source.ready(0)

    def test_real_standard_input(self) -> None:
        """Without a stream of its own ``-`` is the process's."""
        saved = os.dup(0)
        out, into = os.pipe()
        try:
            os.dup2(out, 0)
            os.write(into, b"{}")
            os.close(into)
            assert read("-") == [Row(1, {})]
            os.close(0)
            assert "standard input can't be read: Bad file descriptor" in refusal("-")
        finally:
            os.dup2(saved, 0)
            os.close(saved)
            os.close(out)

    def test_what_was_read_is_counted(self, path: Path) -> None:
        """How far a file has been read is known while it is, and after."""
        path.write_bytes(b"externalId\n" + b"a\n" * 100_000)
        rows = open_rows(path, USERS)
        assert rows.size == 200_011
        assert 0 < rows.consumed < rows.size
        assert rows.share == rows.consumed / 200_011
        with rows.again() as again:
            again.stop()
            with pytest.raises(SourceError, match="after line 1: the reading was stopped"):
                rows.raise_if_stopped()
        assert sum(1 for _ in rows) == 100_000
        assert (rows.consumed, rows.share, rows.lines) == (rows.size, 1.0, 100_001)
        rows.close()
        assert rows.consumed == rows.size

    def test_a_file_that_is_written_to(self, path: Path) -> None:
        """A write is seen, and the part of the file that was read is never more than the whole."""
        path.write_bytes(b"externalId\na\n")
        with open_rows(path, USERS, timezone="UTC") as rows:
            assert not rows.changed
            with path.open("ab") as file:
                file.write(b"b\n" * 100_000)
            assert rows.changed
            assert sum(1 for _ in rows) == 100_001
            assert (rows.share, rows.turned) == (1.0, 0)

    def test_what_cannot_be_opened(self, tmp_path: Path, path: Path) -> None:
        """A file that can't be opened is named, with what to do."""
        assert refusal(path) == f"{path} isn't there: check the path and its spelling"
        assert "is a directory: name the file in it" in refusal(tmp_path)
        assert "can't be opened: File name too long" in refusal(tmp_path / ("x" * 999))
        assert "can't be opened: embedded null byte" in refusal("a\0b")

    @pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
    def test_what_may_not_be_read(self, path: Path) -> None:
        """A file that may not be read is named, with what to do."""
        path.write_text("externalId\n")
        path.chmod(0)
        assert "may not be read by you: check its permissions" in refusal(path)

    def test_gzip_that_is_none(self, tmp_path: Path) -> None:
        """A file called gzip that isn't is refused; an empty one has no rows."""
        path = tmp_path / "users.jsonl.gz"
        assert "isn't a gzip file: take .gz off its name" in refusal(path, "{}\n")
        assert read_text(path, "") == []

    @pytest.mark.slow
    @pytest.mark.parametrize(("keep", "said"), [(0.5, "is cut short"), (None, "is damaged")])
    def test_gzip_that_is_broken(self, tmp_path: Path, keep: float | None, said: str) -> None:
        """A gzip file that breaks off or is damaged says so, after the rows that were there."""
        path = tmp_path / "users.jsonl.gz"
        lines = "".join(f'{{"externalId": "{os.urandom(20).hex()}"}}\n' for _ in range(20_000))
        data = bytearray(gzip.compress(lines.encode()))
        if keep:
            del data[int(len(data) * keep) :]
        else:
            data[len(data) // 2] ^= 255
            data[-8] ^= 255
        path.write_bytes(data)
        rows = []
        with (
            open_rows(path, USERS) as source,
            pytest.raises(SourceError, match=rf"after line \d+: the gzip file {said}"),
        ):
            rows.extend(source)
        assert len(rows) > 100

    def test_what_breaks_while_it_is_read(self) -> None:
        """An error of the disk is named, at first and on the way."""

        class Broken(io.RawIOBase):
            first = b""

            def readable(self) -> bool:
                return True

            def readinto(self, buffer: Any) -> int:
                if not self.first:
                    raise OSError(5, "Input/output error")
                buffer[: len(self.first)] = self.first
                size, self.first = len(self.first), b""
                return size

        assert "can't be read: Input/output error" in refusal("-", stdin=Broken())
        raw = Broken()
        raw.first = b"{}\n"
        with open_rows("-", USERS, stdin=raw) as rows:
            assert next(iter(rows)) == Row(1, {})
            with pytest.raises(SourceError, match="after line 1: it can't be read on: Input"):
                next(iter(rows))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@pytest.mark.slow
@given(rows=st.lists(st.dictionaries(st.text(), JSON, max_size=4), max_size=6))
def test_json_lines_come_back(rows: Any) -> None:
    """Any objects written as JSON lines come back equal, each with its line."""
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    stdin = io.BytesIO(text.encode())
    with open_rows("-", USERS, format=Format.JSONL, stdin=stdin) as found:
        if text.startswith("\ufeff"):
            return
        assert list(found) == [Row(line, row) for line, row in enumerate(rows, 1)]


TEXT = st.text(st.characters(codec="utf-8"), min_size=1)


@given(
    rows=st.lists(st.tuples(TEXT.filter(str.strip), st.none() | TEXT, st.none() | TEXT)),
    delimiter=st.sampled_from(",;\t|"),
    ending=st.sampled_from(["\n", "\r\n"]),
    packed=st.booleans(),
)
def test_tables_come_back(rows: Any, delimiter: str, ending: str, packed: Any) -> None:
    """Any texts written as CSV come back equal, whatever is in them; empty ones are left out."""
    names = ("externalId", "profile.surname", "metadata.x")
    out = io.StringIO(newline="")
    writer = csv.writer(out, delimiter=delimiter, lineterminator=ending, quoting=csv.QUOTE_ALL)
    writer.writerows([names, *rows])
    data = out.getvalue().encode()
    stdin = io.BytesIO(gzip.compress(data) if packed else data)
    with open_rows("-", USERS, format=Format.CSV, delimiter=delimiter, stdin=stdin) as found:
        for row, (external_id, surname, x) in zip(found, rows, strict=True):
            assert isinstance(row, Row), row
            assert row.data["externalId"] == external_id
            assert row.data.get("profile", {}).get("surname") == surname
            assert row.data.get("metadata", {}).get("x") == x


@pytest.mark.slow
def test_memory_is_flat(path: Path) -> None:
    """A file is read as it is taken: nothing of the rows before is kept."""
    import tracemalloc  # noqa: PLC0415 - of this test only

    path.write_bytes(b"externalId,profile.surname\n" + b"someone,of some name\n" * 20_000)
    with open_rows(path, USERS) as rows:
        next(iter(rows))
        tracemalloc.start()
        for _ in rows:
            pass
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert peak < 1_000_000


class TestSkipped:
    def test_skipped_columns_and_keys_are_passed_over(self, path: Path, tmp_path: Path) -> None:
        """What stands in a column or key that is skipped isn't looked at."""
        assert read_text(path, "Notes,externalId\n1,a\n", skip=["Notes"]) == [
            Row(2, {"externalId": "a"})
        ]
        lines = '{"Notes": 99999999999999999999, "externalId": "a"}\n{}\n'
        assert read_text(tmp_path / "users.jsonl", lines, skip=["Notes"]) == [
            Row(1, {"externalId": "a"}),
            Row(2, {}),
        ]

    def test_skipped_columns_are_there(self, path: Path) -> None:
        """A column to skip that isn't there is a mistake; one that isn't known may be skipped."""
        assert "has no column 'notes' to skip. Did you mean Notes?" in refusal(
            path, "Notes,externalId\n", skip=["notes"]
        )
        assert "--skip Notes" in refusal(path, "Notes,externalId\n")


@pytest.mark.parametrize(
    ("text", "path_in_row"),
    [
        ('{"a": 18446744073709551616}', "a"),
        ('{"a": -9223372036854775809}', "a"),
        ('{"metadata": {"n": [1, {"m": 99999999999999999999999}]}}', "metadata.n.1.m"),
        (f'{{"a": {"9" * 300}}}', "a"),
    ],
)
def test_integers_past_64_bits_are_refused(tmp_path: Path, text: str, path_in_row: str) -> None:
    """An integer that would be sent as another number makes its row bad, by the field's name."""
    [row] = read_text(tmp_path / "users.jsonl", text)
    assert row == BadRow(1, row.reason)
    assert row.reason.startswith(f"{path_in_row}: an integer past 64 bits")


def test_long_numbers_that_are_kept(tmp_path: Path) -> None:
    """The longest integers that are kept, long text and long fractions are what they are."""
    text = '{"a": 18446744073709551615, "b": -9223372036854775808, "c": "99999999999999999999", "d": 0.12345678901234567890}'
    [row] = read_text(tmp_path / "users.jsonl", text)
    assert row.data == {
        "a": 2**64 - 1,
        "b": -(2**63),
        "c": "99999999999999999999",
        "d": 0.12345678901234568,
    }
