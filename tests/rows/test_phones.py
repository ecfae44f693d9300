"""Phone numbers turned into E.164: only when it is asked for, and never by guessing."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from sunshine_async.dixa import CreateEndUserInput
from sunshine_async.jobs import DIXA, SMOOCH, SUNSHINE, Mode, dry_run
from sunshine_async.rows import BadRow, Row, Shape, SourceError, open_rows
from sunshine_async.rows.file import open_as
from sunshine_async.rows.phones import count_national

SHAPE = DIXA.tasks[Mode.CREATE].shape


def turned(file: Path, *rows: dict[str, Any], region: str = "DE") -> tuple[list[Any], int]:
    """Return what is read of *rows*, and how many numbers were turned."""
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with open_rows(file, SHAPE, default_region=region) as found:
        return [row.data if isinstance(row, Row) else row.reason for row in found], found.turned


def test_national_numbers_are_turned(file: Path) -> None:
    """Numbers as people of the region write them become E.164, in lists too; E.164 stays."""
    rows, number = turned(
        file,
        {"phoneNumber": "030 901820", "additionalPhoneNumbers": ["0151/23456789", "+4930901821"]},
        {"phoneNumber": "0049 30 901822", "email": "030 901820"},
        {"phoneNumber": "+45 33 92 33 33"},
        {"phoneNumber": "+999999"},
        {"phoneNumber": None, "additionalPhoneNumbers": [7]},
        region="de",
    )
    assert rows == [
        {"phoneNumber": "+4930901820", "additionalPhoneNumbers": ["+4915123456789", "+4930901821"]},
        {"phoneNumber": "+4930901822", "email": "030 901820"},
        {"phoneNumber": "+4533923333"},
        {"phoneNumber": "+999999"},
        {"phoneNumber": None, "additionalPhoneNumbers": [7]},
    ]
    assert number == 4


@pytest.mark.parametrize("text", ["", "none", "12", "030 90182-0 x17", "+49 1", "0" * 300])
def test_what_cannot_be_read_is_a_bad_row(file: Path, text: str) -> None:
    """A number that can't be one is refused with its field and why, without the value."""
    [first, second], number = turned(
        file, {"phoneNumber": text}, {"additionalPhoneNumbers": ["+4930901820", text]}
    )
    assert first.startswith("phoneNumber: ")
    assert second.startswith("additionalPhoneNumbers[1]: ")
    for reason in (first, second):
        assert "extension" in reason if "x" in text else "no phone number of DE" in reason
        assert not text or text not in reason
    assert number == 0


def test_without_it_nothing_is_rewritten(file: Path) -> None:
    """Without a region numbers are as they are in the file."""
    file.write_text('{"phoneNumber":"030 901820"}\n')
    with open_rows(file, SHAPE) as found:
        [row] = found
        assert row == Row(1, {"phoneNumber": "030 901820"})
        assert found.turned == 0


def test_bad_rows_stay_bad(file: Path) -> None:
    """A row that can't be read at all is passed on as it is."""
    file.write_text("[]\nno\n")
    with open_rows(file, SHAPE) as rows, open_rows(file, SHAPE, default_region="DE") as found:
        bad = [*rows]
        assert [*found] == bad
    assert [type(row) for row in bad] == [BadRow, BadRow]


def test_a_file_opened_again_is_meant_the_same(file: Path) -> None:
    """What says how a file is meant has the region: another region is another meaning."""
    file.write_text('{"phoneNumber":"030 901820"}\n')
    with open_rows(file, SHAPE, default_region="de") as german:
        with open_as(file, SHAPE, german.meant) as again:
            assert next(iter(again)) == Row(1, {"phoneNumber": "+4930901820"})
        with open_rows(file, SHAPE, default_region="DE") as same:
            assert same.meant == german.meant
        with open_rows(file, SHAPE) as other:
            assert other.meant != german.meant


@pytest.mark.parametrize(
    ("region", "said"),
    [
        ("Germany", "region GERMANY isn't a country's two letters, such as DE$"),
        ("UK", "UK isn't a country's two letters, such as DE; is it one of [A-Z, ]+"),
    ],
)
def test_a_region_that_is_none(file: Path, region: str, said: str) -> None:
    """What is no region is refused before anything is read."""
    file.write_text("{}\n")
    with pytest.raises(SourceError, match=said):
        open_rows(file, SHAPE, default_region=region)


@pytest.mark.parametrize(
    "shape",
    [
        *(task.shape for service in (SUNSHINE, SMOOCH) for task in service.tasks.values()),
        DIXA.tasks[Mode.DELETE].shape,
    ],
)
def test_rows_without_phone_numbers(file: Path, shape: Shape) -> None:
    """Where rows have no phone numbers in E.164 a region is refused."""
    file.write_text("{}\n")
    with pytest.raises(SourceError, match="is for rows with phone numbers"):
        open_rows(file, shape, default_region="DE")


def test_without_the_package(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the extra isn't installed the refusal says what to install."""
    monkeypatch.setitem(sys.modules, "phonenumbers", None)
    file.write_text("{}\n")
    with pytest.raises(SourceError, match=r"pip install 'sunshine-async\[cli\]'"):
        open_rows(file, Shape(CreateEndUserInput, phones=("phoneNumber",)), default_region="DE")


def test_a_rehearsal_counts_them(file: Path) -> None:
    """A dry run says how many numbers would be turned, and which rows would be refused."""
    file.write_text('{"phoneNumber":"030 901820"}\n{"phoneNumber":"x"}\n')
    with open_rows(file, SHAPE, default_region="DE") as rows:
        found = dry_run(DIXA, Mode.CREATE, rows)
    assert (found.turned, found.national, found.valid, found.bad) == (1, 0, 1, 1)


def test_a_rehearsal_counts_what_is_not_e164(file: Path) -> None:
    """Without a region a dry run says how many numbers aren't as the service wants them."""
    numbers = {"phoneNumber": "030 901820", "additionalPhoneNumbers": ["+4930901821", "1", 7]}
    file.write_text(json.dumps(numbers) + "\n" + '{"phoneNumber":"+4930901820"}\n{"email":"a"}\n')
    with open_rows(file, SHAPE) as rows:
        data = [row.data for row in rows if isinstance(row, Row)]
    assert [count_national(one, SHAPE) for one in data] == [2, 0, 0]
    assert count_national(numbers, Shape(None)) == 0
