"""The inbox in a SQLite file: damaged files, full disks, the owner, deleted bodies."""

import re
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from errno import EIO
from pathlib import Path

import pytest
from support.deliveries import counts
from support.inboxes import NONE, dead, event, exchange, handled, ids

from sunshine_async import ConfigurationError
from sunshine_async.journal import Journal
from sunshine_async.webhooks import InboxError
from sunshine_async.webhooks import inbox as inbox_module
from sunshine_async.webhooks import sqlite_inbox as sqlite_module
from sunshine_async.webhooks.deliveries import RawEvent
from sunshine_async.webhooks.inbox import EventState, HandlerSlots
from sunshine_async.webhooks.sqlite_inbox import SQLiteInbox


@pytest.fixture
def inbox(path: Path) -> Iterator[SQLiteInbox]:
    """Return an inbox."""
    with closing(SQLiteInbox(path)) as inbox:
        yield inbox


def test_bodies_are_deleted_once_handled(inbox: SQLiteInbox, path: Path) -> None:
    """Neither file has the body of a handled or dropped event, once the main file is written."""
    events = [RawEvent(str(number), "t", None, b'"the body %d"' % number) for number in range(200)]
    begun = exchange(inbox, events, slots=HandlerSlots(200, 200))
    exchange(inbox, [], handled(begun[1:]) + dead(begun[:1]))
    inbox.drop(["0"])
    inbox._database.rollback()
    inbox._checkpoint()
    inbox.close()

    assert b"the body" not in path.read_bytes()
    assert not Path(f"{path}-wal").exists()


def test_the_file_is_the_owner_s_alone(inbox: SQLiteInbox, path: Path) -> None:
    """The files have mode 0600."""
    exchange(inbox, [event("a")])

    for file in path.parent.iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_a_program_that_keeps_the_file_open_is_told_of(
    inbox: SQLiteInbox, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Rows don't move meanwhile: of a large ``-wal`` file, and of each double, there is a WARNING."""
    inbox._large = 8 << 20
    log = Path(f"{path}-wal")
    with closing(sqlite3.connect(path)) as reader:
        reader.execute("SELECT count(*) FROM events").fetchall()
        for number in range(20):
            exchange(inbox, [RawEvent(str(number), "t", None, b"x" * (1 << 20))], slots=NONE)
    assert log.stat().st_size > 20 << 20

    exchange(inbox, [RawEvent("last", "t", None, b"x" * (2 << 20))], slots=NONE)
    assert log.stat().st_size < 1 << 20
    assert [text.partition(":")[0] for text in caplog.messages] == [
        f"{log.name} has {size} MB and grows" for size in (8, 17)
    ]
    assert inbox._large > 8 << 20


@pytest.mark.slow
def test_a_second_process_is_refused(inbox: SQLiteInbox, path: Path) -> None:
    """While a process has the inbox, no other process opens the file."""
    exchange(inbox, [event("a")])
    program = (
        f"from sunshine_async.webhooks.sqlite_inbox import SQLiteInbox; SQLiteInbox({str(path)!r})"
    )
    ran = subprocess.run(  # noqa: S603 - our own program
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )

    assert "ConfigurationError" in ran.stderr
    assert "is in use by another process" in ran.stderr
    with pytest.raises(ConfigurationError, match="in use by another process"):
        SQLiteInbox(path)


@pytest.mark.parametrize("kind", ["text", "sqlite", "journal", "newer", "folder", "no wal"])
def test_a_file_of_another_kind_is_refused(path: Path, kind: str) -> None:
    """A foreign or incomplete file is refused, with the path and the reason, and stays as it is."""
    reason = "is no inbox"
    match kind:
        case "text":
            path.write_text("a text " * 1000)
        case "sqlite":
            with closing(sqlite3.connect(path)) as database:
                database.execute("CREATE TABLE t (x)")
        case "journal":
            Journal(path).close()
        case "newer":
            SQLiteInbox(path).close()
            with closing(sqlite3.connect(path)) as database:
                database.execute("PRAGMA user_version = 2")
            reason = "Use a newer release"
        case "folder":
            path.mkdir()
            reason = "is a directory"
        case _:
            with closing(SQLiteInbox(path)) as inbox:
                exchange(inbox, [event("a")])
                left = path.read_bytes()
            path.write_bytes(left)
            reason = "Move both files"
    before = path.read_bytes() if path.is_file() else None

    with pytest.raises(ConfigurationError, match=reason) as caught:
        SQLiteInbox(path)

    assert str(path) in str(caught.value)
    assert before is None or path.read_bytes() == before


def test_a_damaged_file_is_refused_or_an_error(path: Path) -> None:
    """A file with damaged pages ends in an error of the library, whenever the damage is met."""
    with closing(SQLiteInbox(path)) as inbox:
        exchange(inbox, [event(str(number)) for number in range(500)], slots=NONE)
    data = bytearray(path.read_bytes())
    data[4096:] = bytes(len(data) - 4096)
    path.write_bytes(data)

    with pytest.raises((ConfigurationError, InboxError), match="is damaged"):  # noqa: SIM117
        with closing(SQLiteInbox(path)) as damaged:
            exchange(damaged, [event("new")])


@pytest.mark.parametrize("name", ["", ":memory:", "nowhere/inbox.sqlite"])
def test_a_path_without_a_file_is_refused(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name that no file can have, or a missing folder, is refused."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigurationError, match="inbox"):
        SQLiteInbox(name)


def test_a_full_disk_changes_nothing(inbox: SQLiteInbox) -> None:
    """A refused exchange leaves the inbox as before; with room again the same exchange succeeds."""
    begun = exchange(inbox, [event("a")])
    inbox._database.execute("PRAGMA max_page_count = 1")
    body = b'"%s"' % (b"x" * 100_000)
    large = [RawEvent("large", "t", None, body)]

    with pytest.raises(InboxError, match="the disk is full"):
        exchange(inbox, large, handled(begun))
    assert counts(inbox) == {EventState.BEGUN: 1}

    inbox._database.execute("PRAGMA max_page_count = 1000000")
    assert ids(exchange(inbox, large, handled(begun))) == ["large"]


class Unmeasured(SQLiteInbox):
    """An inbox with files that the system, once *broken*, can't measure."""

    broken = False

    def _wal_size(self) -> int:
        if self.broken:
            raise OSError(EIO, "Input/output error")
        return super()._wal_size()


def test_a_fault_after_the_commit_is_none_of_the_exchange(path: Path) -> None:
    """An exchange that is on the disk returns the events that have begun, whatever fails then."""
    with closing(Unmeasured(path)) as inbox:
        inbox.broken = True
        assert ids(exchange(inbox, [event("a")])) == ["a"]


@pytest.mark.parametrize("suffix", ["", "-wal"])
@pytest.mark.parametrize("replaced", [True, False])
def test_a_file_that_is_gone_takes_nothing(
    inbox: SQLiteInbox, path: Path, tmp_path: Path, suffix: str, *, replaced: bool
) -> None:
    """Nothing is written to a file that is removed or replaced; the file put back goes on."""
    exchange(inbox, [event("a")], slots=NONE)
    path = path.with_name(path.name + suffix)
    moved = path.rename(tmp_path / "moved")
    if replaced:
        path.touch()
    for _ in range(2):
        with pytest.raises(InboxError, match="was removed or replaced while in use"):
            exchange(inbox, [event("b")])
    moved.replace(path)
    assert ids(exchange(inbox, [event("c")])) == ["a", "c"]


def test_a_main_file_alone_is_refused(inbox: SQLiteInbox, path: Path, tmp_path: Path) -> None:
    """A copy without the ``-wal`` file lacks events, and isn't taken for the inbox."""
    exchange(inbox, [event("a")])
    alone = tmp_path / "alone"
    alone.write_bytes(path.read_bytes())

    with pytest.raises(ConfigurationError, match="is a part of an inbox: the file alone-wal has"):
        SQLiteInbox(alone)


STATEMENTS = {
    name: text
    for name, text in [*vars(inbox_module).items(), *vars(sqlite_module).items()]
    if name != "_OUTCOMES"  # a part of two statements
    and isinstance(text, str)
    and re.match(r"(SELECT|INSERT INTO queues|INSERT OR|UPDATE|DELETE|WITH) ", text)
}


@pytest.mark.parametrize("name", STATEMENTS)
def test_every_statement_reads_through_an_index(inbox: SQLiteInbox, name: str) -> None:
    """No statement reads a whole table or index, so a long backlog slows nothing down."""
    text = STATEMENTS[name]
    values = ["[]" if "json_each" in text else 1] * text.count("?")
    plans = [row[3] for row in inbox._database.execute(f"EXPLAIN QUERY PLAN {text}", values)]

    whole = r"SCAN (events|queues)|(SCAN|SEARCH) (events|queues) USING INDEX (?!dead)\w+"
    assert plans
    assert [plan for plan in plans if re.fullmatch(whole, plan)] == []
