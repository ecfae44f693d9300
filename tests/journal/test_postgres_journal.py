"""The journal in PostgreSQL: one fenced owner, lost connections and answers, tables, reasons."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from random import Random
from threading import Event, Thread
from typing import Any, ClassVar

import psycopg
import pytest
from attrs import define, evolve, field
from support.frames import leaks
from support.journals import CREATE, UPSERT, end_ownership, lines, load, opened, owner_of, states
from support.patience import PATIENCE
from support.postgres import PostgresServer, share_session
from support.servers import unused_port
from support.size import sized

from sunshine_async.errors import ConfigurationError
from sunshine_async.journal import (
    PENDING,
    REACH,
    VERSION,
    JournalAwayError,
    JournalError,
    JournalInUseError,
    JournalRow,
    LeaseState,
    Rules,
    SourceRow,
    State,
    Update,
    open_journal,
    open_reader,
    place_of,
    postgres_journal,
    postgres_match,
    postgres_sql,
)
from sunshine_async.journal.postgres_database import Address, PostgresPlace
from sunshine_async.journal.postgres_journal import PostgresJournal, PostgresReader

PASSWORD = "pass-word"
TESTS = str(Path(__file__).parents[1])
FORKING = """
import os, sys
from support.journals import opened
from sunshine_async.journal import JournalError

journal = opened(sys.argv[1])
child = os.fork()
if child == 0:
    try:
        journal.describe(a="child")
    except JournalError as error:
        print(str(error).partition("was ")[2], flush=True)
    journal.close()
    os._exit(0)
_, status = os.waitpid(child, 0)
journal.describe(a="parent")
print(journal.about())
journal.close()
sys.exit(status)
"""


class Impatient(PostgresJournal):
    """A journal that doesn't wait for a server."""

    patience: ClassVar[float] = 0.0


def place_at(url: str) -> PostgresPlace:
    place = place_of(url)
    assert isinstance(place, PostgresPlace)
    return place


@pytest.fixture
def journal(journal_url: str) -> Iterator[PostgresJournal]:
    with closing(PostgresJournal(place_at(journal_url))) as journal:
        yield journal


@pytest.fixture
def reader(journal_url: str) -> Iterator[PostgresReader]:
    with closing(PostgresReader(place_at(journal_url))) as reader:
        yield reader


def execute(url: str, *statements: str) -> None:
    """Execute *statements* as another program does, in the schema of the journal at *url*."""
    place = place_at(url)
    with place.address.connect("a test") as connection:
        for statement in (f"SET search_path = {place.schema}", *statements):
            connection.execute(statement.encode())


def end_sessions(url: str) -> None:
    """End all connections to the database of *url*."""
    execute(
        url,
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
        "WHERE datname = current_database() AND pid <> pg_backend_pid()",
    )


def kill(journal: PostgresJournal) -> None:
    """Leave *journal* as a kill leaves a journal, with a lease that ends at once."""
    journal._lease.end()
    journal._fetch_all("UPDATE owner SET lease = '0' RETURNING token")
    journal._disconnect()


def test_a_lost_journal_is_written_no_more(journal: PostgresJournal, journal_url: str) -> None:
    """An owner that another process has replaced is refused with each change, and may still read."""
    journal.add(lines("a", "b"))
    end_ownership(journal_url)
    with closing(opened(journal_url)) as other:
        for change in (
            lambda: journal.write([Update(1, State.DONE, 1.0)]),
            lambda: journal.add(lines("c")),
            lambda: journal.describe(state="finished"),
            lambda: journal.meet(lines("d"), UPSERT),
            journal.begin_session,
            journal.begin,
        ):
            with pytest.raises(JournalError, match=r"another owner: .* sends nothing more"):
                change()
        assert journal.lease is not None
        assert journal.lease.state is LeaseState.LOST
        assert states(other) == states(journal) == {1: State.WAITING, 2: State.WAITING}
        assert other.about() == {}
        journal.close()
        assert owner_of(journal_url) == other._owner["token"]  # type: ignore[attr-defined]


def test_the_next_owner_corrects_what_a_kill_has_left(
    journal: PostgresJournal, journal_url: str
) -> None:
    """After the lease another process has the journal, with all that was sent marked as begun."""
    journal.add(lines("a", "b", "c"))
    journal.write([], about={REACH: "2"}, done={("created", 1): {1: "id"}})
    kill(journal)
    with closing(opened(journal_url)) as other:
        assert states(other) == {1: State.DONE, 2: State.BEGUN, 3: State.WAITING}


@pytest.mark.parametrize("kept", ["nothing", "schema", "job", "table"])
def test_a_journal_that_no_job_has_used(journal_url: str, kept: str) -> None:
    """A refused job leaves no schema, unless another had made or uses the schema, or a job ran."""
    schema = place_at(journal_url).schema
    find = "SELECT to_regnamespace(%s) IS NOT NULL, to_regclass(%s || '.other') IS NOT NULL"
    if kept == "schema":
        execute(journal_url, f"CREATE SCHEMA {schema}")
    journal = PostgresJournal(place_at(journal_url))
    journal.begin_session()
    if kept == "job":
        journal.describe(state="open")
    if kept == "table":
        execute(journal_url, f"CREATE TABLE {schema}.other ()")
    journal.discard()
    with place_at(journal_url).address.connect("a test") as connection:
        found = connection.execute(find.encode(), (schema, schema)).fetchall()
    assert found == [(kept != "nothing", kept == "table")]
    with closing(PostgresJournal(place_at(journal_url))) as again:
        assert again.about().get("state") == ("open" if kept == "job" else None)


def test_a_journal_in_use(journal: PostgresJournal, journal_url: str, reader: Any) -> None:
    """A second owner is refused while the first renews the lease; a reader sees each commit."""
    place = place_at(f"{journal_url}&lease=1")
    journal.close()
    assert not reader.running
    with closing(PostgresJournal(place)) as owner:
        assert reader.running
        with pytest.raises(JournalInUseError, match="is in use by another process"):
            PostgresJournal(place)
        owner.add(lines("a"))
        assert states(reader) == {1: State.WAITING}
    assert not reader.running


@pytest.mark.parametrize("hours", [-1, 1])
def test_the_clock_of_the_server_is_set(journal_url: str, hours: int) -> None:
    """A clock that is set neither takes the journal from its owner, nor keeps others out for long."""
    set_clock = f"UPDATE owner SET seen_at = seen_at + make_interval(hours => {-hours})"  # noqa: S608
    with closing(PostgresJournal(place_at(f"{journal_url}&lease=1"))) as owner:
        execute(journal_url, set_clock)
        with pytest.raises(JournalInUseError, match="is in use by another process"):
            opened(journal_url)
        owner.add(lines("a"))
        kill(owner)
        execute(journal_url, set_clock)
        with closing(opened(journal_url)) as other:
            assert states(other) == {1: State.WAITING}


def test_an_owner_that_renews_at_the_last_moment(
    journal: PostgresJournal, journal_url: str
) -> None:
    """A lease that is renewed while another process takes the journal stays with its owner."""
    kill(journal)
    execute(
        journal_url,
        """CREATE FUNCTION renew() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            UPDATE owner SET lease = '60', seen_at = clock_timestamp(); RETURN NULL; END $$""",
        "CREATE TRIGGER renewed BEFORE DELETE ON owner FOR EACH ROW EXECUTE FUNCTION renew()",
    )
    with pytest.raises(JournalInUseError, match="is in use by another process"):
        opened(journal_url)


def test_a_process_that_is_stopped_within_a_write(
    journal: PostgresJournal, journal_url: str
) -> None:
    """The next owner ends the write of a stopped process; nothing of that write is kept."""
    journal.add(lines("a"))

    def stop(database: Any) -> None:
        database.execute("UPDATE rows SET state = 2")
        execute(journal_url, "UPDATE owner SET lease = '0'")
        with closing(opened(journal_url)) as other:
            assert states(other) == {1: State.WAITING}
            database.execute("SELECT 1")

    with pytest.raises(JournalError, match="another owner"):
        journal._commit(stop)


def test_a_write_holds_other_owners_up(journal: PostgresJournal, journal_url: str) -> None:
    """Until a write has ended nobody takes the journal, nor reads if it was committed; renewals go on."""
    wait = postgres_sql.WAIT.replace("%(token)s", str(journal._owner["token"]))

    def hold(_: Any) -> None:
        for statement in ("DELETE FROM owner", wait):
            with pytest.raises(psycopg.errors.LockNotAvailable):
                execute(journal_url, "SET lock_timeout = '1ms'", statement)
        assert journal._renew()

    journal._commit(hold)
    execute(journal_url, wait)


@pytest.mark.slow
def test_connections_that_are_lost(journal: PostgresJournal, journal_url: str, reader: Any) -> None:
    """Lost connections are made anew: for writes, reads, renewals, and the reader."""
    assert journal._renew()
    assert reader.about() == {}
    end_sessions(journal_url)
    with pytest.raises(psycopg.OperationalError):
        journal._renew()
    assert journal._renew()
    journal.add(lines("a"))
    assert states(journal) == {1: State.WAITING}
    with pytest.raises(JournalError, match=r"has ended the connection|can't be reached"):
        reader.about()
    assert states(reader) == {1: State.WAITING}


def test_the_end_waits_a_moment_for_an_answer(
    journal_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once closed, a journal waits some seconds for a server that may hang, and no longer."""
    journal = PostgresJournal(place_at(journal_url))
    journal.close()
    assert not journal._is_late()
    later = postgres_journal.now() + 6
    monkeypatch.setattr(postgres_journal, "now", lambda: later)
    assert journal._is_late()


@pytest.mark.slow
def test_a_server_that_hangs(journal_url: str) -> None:
    """A server that keeps its connections and answers nothing is away: all waits end."""
    hangs = "the server keeps the connection, and hasn't answered for too long"
    with closing(Impatient(place_at(f"{journal_url}&lease=1"))) as journal:
        assert journal._renew()
        journal._lease.end()
        with place_at(journal_url).address.connect("a test") as other:
            schema = place_at(journal_url).schema.encode()
            other.execute(b"BEGIN; LOCK TABLE " + schema + b".owner")
            with pytest.raises(psycopg.OperationalError, match=hangs):
                journal._renew()
        with pytest.raises(JournalAwayError, match=rf"can't be reached: {hangs}\. Run the same"):
            journal._fetch_all(f"SELECT pg_sleep({PATIENCE})")
        assert journal.about() == {}


class Impatiently(PostgresReader):
    """A reader that waits a moment for a word of the server."""

    _SILENCE = 0.2


def test_a_reader_waits_for_no_server_that_hangs(journal: PostgresJournal) -> None:
    """A look at a journal ends, too, where the server keeps the connection and answers nothing."""
    with closing(Impatiently(journal._place)) as reader:
        assert reader.about() == {}
        with pytest.raises(JournalAwayError, match=r"hasn't answered for too long\. Run the same"):
            reader._fetch_all(f"SELECT pg_sleep({PATIENCE})")
        assert reader.about() == {}


@define(eq=False)
class Relay:
    """A connection to PostgreSQL through a proxy that cuts the connection at a word, once."""

    client: socket.socket
    server: socket.socket
    asked: list[bytes]
    """The word; empty: no cut."""
    forwarded: bool
    at_cut: Callable[[], object]
    _is_lost: Event = field(factory=Event)
    _has_answered: Event = field(factory=Event)

    def ask(self) -> None:
        """Forward what the client sends, up to the cut; the server then keeps its end."""
        with suppress(OSError):
            while data := self.client.recv(65536):
                if self.asked and self.asked[0] in data:
                    self._cut(data)
                    return
                self.server.sendall(data)
        self.end()

    def answer(self) -> None:
        """Forward what the server sends, but no answer that is to be lost."""
        with suppress(OSError):
            while data := self.server.recv(65536):
                if self._is_lost.is_set():
                    self._has_answered.set()
                    return
                self.client.sendall(data)
        self.end()

    def end(self) -> None:
        """End the connection on both sides: nobody waits for a side that is gone."""
        for one in (self.client, self.server):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def _cut(self, data: bytes) -> None:
        self.asked.clear()
        self._is_lost.set()  # before the server can answer
        if self.forwarded:
            self.server.sendall(data)
            assert self._has_answered.wait(PATIENCE)
        self.at_cut()
        self.client.shutdown(socket.SHUT_RDWR)


@contextmanager
def losing_answers(
    port: int, *, forwarded: bool, at_cut: Callable[[], object] = list
) -> Iterator[tuple[int, list[bytes]]]:
    """Run a proxy to PostgreSQL at *port* that cuts the connection at the next commit asked for.

    Yield the port, and a list: a word in the list asks for the cut. If *forwarded*, the server gets
    the commit, and only the answer is lost. *at_cut* is called before the connection ends.
    """
    asked: list[bytes] = []

    def accept() -> None:
        with suppress(OSError):
            while True:
                client, _ = listener.accept()
                links.append(client)
                try:
                    server = socket.create_connection(("127.0.0.1", port))
                except ConnectionError:  # in a crash
                    client.close()
                    continue
                links.append(server)
                relay = Relay(client, server, asked, forwarded, at_cut)
                for work in (relay.ask, relay.answer):
                    Thread(target=work, daemon=True).start()

    links: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = Thread(target=accept)
        thread.start()
        try:
            yield listener.getsockname()[1], asked
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()
            for link in links:
                link.close()


@pytest.mark.parametrize("forwarded", [True, False])
def test_a_commit_without_an_answer(
    postgres: PostgresServer, journal_url: str, *, forwarded: bool
) -> None:
    """A write whose commit had no answer is made once, if the server has committed or not."""
    with (
        losing_answers(postgres.port, forwarded=forwarded) as (port, asked),
        closing(opened(journal_url.replace(f":{postgres.port}/", f":{port}/"))) as journal,
    ):
        journal.add(lines("a"))
        asked.append(b"COMMIT")
        journal.write([], begun={1: "id"})
        [row] = journal.rows()

        assert not asked
        assert (row["attempts"], row["state"], row["remote_id"]) == (1, State.BEGUN, "id")


@pytest.mark.slow
def test_a_commit_at_a_crash_of_the_server(postgres: PostgresServer, journal_url: str) -> None:
    """A write that a crash of the server has undone is made again, whatever was written since."""

    def crash() -> None:
        connection = journal._connection  # type: ignore[attr-defined]
        os.kill(connection.info.backend_pid, signal.SIGKILL)  # all connections end, then recovery

    with (
        losing_answers(postgres.port, forwarded=False, at_cut=crash) as (port, asked),
        closing(opened(journal_url.replace(f":{postgres.port}/", f":{port}/"))) as journal,
    ):
        journal.add(lines("a"))
        asked.append(b"COMMIT")
        journal.write([], begun={1: "id"})
        assert states(journal) == {1: State.BEGUN}


@pytest.mark.slow
def test_a_server_that_is_away_for_too_long(
    postgres: PostgresServer, journal_url: str, reader: Any
) -> None:
    """After the patience a method raises an error with the next step; closing is no error."""
    with closing(Impatient(place_at(journal_url))) as journal:
        journal.add(lines("a"))
        assert journal._renew()
        postgres.stop(signal.SIGQUIT)
        try:
            for call in (journal.about, lambda: journal.write([Update(1, State.DONE, 1.0)])):
                with pytest.raises(
                    JournalAwayError, match="the same again once the server"
                ) as caught:
                    call()
                assert leaks(caught.value, PASSWORD) == []
            for _ in range(2):
                with pytest.raises(psycopg.OperationalError):
                    journal._renew()
            with pytest.raises(JournalAwayError, match="can't be reached"):
                reader.report()
            journal.close()
        finally:
            postgres.start()
    with closing(PostgresReader(place_at(journal_url))) as later:
        assert states(later) == {1: State.WAITING}


def test_a_journal_that_is_closed_on_a_dead_connection(journal_url: str) -> None:
    """A journal whose connection has ended is released all the same: the next owner waits for nothing."""
    journal = opened(journal_url)
    end_sessions(journal_url)
    journal.close()
    with closing(PostgresReader(place_at(journal_url))) as reader:
        assert not reader.running


def test_no_server() -> None:
    """Without a server a journal can't be opened; no text and no frame has the password."""
    place = place_at(f"postgresql://u:{PASSWORD}@127.0.0.1:{unused_port()}/imports?job=may")
    for call in (open_journal, lambda place: open_reader(place).about()):
        with pytest.raises(JournalError, match="can't be reached") as caught:
            call(place)
        assert str(caught.value).startswith(f"{place} ")
        assert leaks(caught.value, PASSWORD) == []


def test_a_journal_that_is_not_there(journal_url: str) -> None:
    """A journal that must exist, and one that is read, isn't created."""
    place = place_at(journal_url)
    for _ in range(2):
        with pytest.raises(JournalError, match="isn't there: check the database, and the name"):
            open_journal(place, must_exist=True)
        with (
            closing(open_reader(place)) as reader,
            pytest.raises(JournalError, match="isn't there"),
        ):
            reader.about()


def test_tables_of_another_version(journal: PostgresJournal, journal_url: str) -> None:
    """A journal of another version is refused, and stays as it is."""
    execute(journal_url, "UPDATE version SET number = number + 1")
    journal.close()
    with pytest.raises(JournalError, match=f"than version {VERSION} of this release"):
        opened(journal_url)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("REVOKE ALL ON SCHEMA {schema} FROM weak_owner", "lacks a privilege"),
        ("DROP TABLE {schema}.about CASCADE", r"UndefinedTable \(42P01\)"),
    ],
)
def test_the_reasons_of_the_server(
    journal: PostgresJournal, journal_url: str, change: str, reason: str
) -> None:
    """A refusal by the server is told at once, with the reason and the next step."""
    place = place_at(journal_url)
    journal.close()
    execute(
        journal_url,
        "DROP ROLE IF EXISTS weak_owner",
        "CREATE ROLE weak_owner LOGIN",
        f"GRANT ALL ON SCHEMA {place.schema} TO weak_owner",
        f"GRANT ALL ON ALL TABLES IN SCHEMA {place.schema} TO weak_owner",
        change.format(schema=place.schema),
    )
    weak = evolve(place, address=Address({**place.address.parts, "user": "weak_owner"}))
    try:
        with pytest.raises(JournalError, match=reason):
            PostgresJournal(weak)
    finally:
        execute(journal_url, "DROP OWNED BY weak_owner", "DROP ROLE weak_owner")


def test_an_error_that_does_not_pass(journal: PostgresJournal, journal_url: str) -> None:
    """An error that no waiting mends is raised at once, and ends no lease."""
    execute(journal_url, "DROP TABLE about")
    with pytest.raises(JournalError, match=r"UndefinedTable \(42P01\)\. Look into the log"):
        journal.about()
    assert journal.lease is not None
    assert journal.lease.state is LeaseState.VALID


def test_a_pooler_in_transaction_mode(
    journal: PostgresJournal, journal_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A session that others share is refused, and left as it was: they would get its schema."""
    place = place_at(journal_url)
    journal.close()
    session = share_session(journal_url.partition("?")[0], monkeypatch)
    settings = "SELECT name, setting FROM pg_settings WHERE context = 'user'"
    before = session.execute(settings.encode()).fetchall()
    for call in (open_journal, lambda place: open_reader(place).about()):
        with pytest.raises(JournalError, match="behind a pooler in transaction mode") as caught:
            call(place)
        assert str(caught.value).startswith(f"{place} ")
        assert leaks(caught.value, PASSWORD) == []
    assert session.execute(settings.encode()).fetchall() == before
    psycopg.Connection.close(session)


def test_a_server_without_a_connection_to_spare(journal_url: str) -> None:
    """A journal opens also where the look for a pooler can't have a connection."""
    place = place_at(journal_url)
    execute(
        journal_url,
        "DROP ROLE IF EXISTS single_owner",
        "CREATE ROLE single_owner LOGIN CONNECTION LIMIT 1",
        "GRANT CREATE ON DATABASE {} TO single_owner".format(place.address.parts["dbname"]),
    )
    single = evolve(place, address=Address({**place.address.parts, "user": "single_owner"}))
    try:
        with closing(open_journal(single)) as journal:
            assert journal.about() == {}
    finally:
        execute(journal_url, "DROP OWNED BY single_owner CASCADE", "DROP ROLE single_owner")


@pytest.mark.parametrize("code", ["40001", "40P01"])
def test_a_transaction_that_gives_way(
    journal: PostgresJournal, reader: PostgresReader, code: str
) -> None:
    """What the server has rolled back for another transaction is repeated, and written once."""
    gives_way = f"DO $$ BEGIN RAISE USING ERRCODE = '{code}'; END $$"
    tries = iter((gives_way, "SELECT 1"))
    journal.add(lines("a"))
    number = journal._commit(
        lambda database: (
            database.execute("UPDATE rows SET attempts = attempts + 1"),
            database.execute(next(tries)),
            7,
        )[-1]
    )
    assert number == 7
    assert [row["attempts"] for row in journal.rows()] == [1]
    with pytest.raises(JournalAwayError, match=code):
        reader._fetch_all(gives_way)


def test_texts_of_all_kinds(journal: PostgresJournal) -> None:
    """Keys, ids and reasons come back as given, whatever is in the text; a very long key is cut."""
    texts = ["a\0b", 'quoted " \\ text', "Zoë\n\u2028☃", "x" * 1999]
    long = "☃" * 5000
    journal.begin_session()
    met = journal.meet(lines(*texts, long, f"{long}!"), UPSERT, states=PENDING)
    assert [row and row.number for row in met] == [1, 2, 3, 4, 5, 6]
    failed = [
        Update(n, State.FAILED, 1.0, code="c", reason=text, remote_id=text)
        for n, text in enumerate(texts, 1)
    ]
    journal.write(failed)
    rows = [*journal.rows()]
    assert [row["key"] for row in rows[:4]] == texts
    assert [row["reason"] for row in rows[:4]] == [row["remote_id"] for row in rows[:4]] == texts
    assert {len(row["key"]) for row in rows[4:]} == {100 + len("... ") + 64}
    assert journal.meet([SourceRow(9, long, b"9")], UPSERT, states=PENDING) != [None]
    journal.begin_session()
    assert journal.meet(lines(*texts, long), UPSERT)[4] == JournalRow(5, State.WAITING)


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_fork_leaves_the_journal_to_the_parent(journal_url: str) -> None:
    """A child is refused, and its end leaves the connections and the lease of the parent as they are."""
    ran = subprocess.run(  # noqa: S603 - our own program
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", FORKING, journal_url],
        env={**os.environ, "PYTHONPATH": TESTS},
        capture_output=True, text=True, check=False, timeout=PATIENCE,
    )  # fmt: skip

    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout.startswith("opened before a fork: open the journal after the fork")
    assert ran.stdout.endswith("{'a': 'parent'}\n")


def test_the_journal_of_another_process(journal: PostgresJournal, journal_url: str) -> None:
    """A journal that was opened before a fork says so, and closes without a word to the server."""
    mine = journal._process
    journal._process = 0  # type: ignore[misc]
    with pytest.raises(JournalError, match="was opened before a fork"):
        journal.about()
    connection = journal._connection
    journal.close()
    journal._disconnect()
    assert connection is not None
    assert not connection.closed
    journal._process = mine  # type: ignore[misc]
    journal._connection = connection
    assert owner_of(journal_url) is not None


def test_a_wrong_url_is_no_place() -> None:
    """A URL without a database's address is refused as a value: a frame could hold the password."""
    assert isinstance(place_of(f"postgresql://u:{PASSWORD}/db"), ConfigurationError)


@pytest.mark.parametrize(
    ("rules", "most"),
    [
        (UPSERT, 20_000),
        (evolve(CREATE, by_count=True), 20_000),
        (evolve(UPSERT, aliased=True), 20_000),
        (UPSERT, 2),
        (Rules(once=True), 20_000),
    ],
)
def test_both_databases_match_rows_alike(
    journal_url: str, path: Path, monkeypatch: pytest.MonkeyPatch, rules: Rules, most: int
) -> None:
    """Rows of a stream are matched as in a file, in the copy in memory and in the database."""
    monkeypatch.setattr(postgres_match, "_MOST", most)
    random = Random(str(rules))
    with closing(opened(journal_url)) as one, closing(opened(path)) as other:
        for _ in range(sized(25, 5)):
            if random.random() < 0.2:
                rows = [_random_row(n, random) for n in range(1, 9)]
                for journal in (one, other):
                    load(journal, rows, rules)
            assert one.begin_session() == other.begin_session()
            for _ in range(2):
                rows = [_random_row(n, random) for n in range(1, 9)]
                assert one.meet(rows, rules, states=PENDING) == other.meet(
                    rows, rules, states=PENDING
                )
                marks = [
                    Update(row["number"], random.choice([*State][:5]), 1.0, remote_id=row["key"])
                    for row in one.rows(*PENDING)
                    if random.random() < 0.7
                ]
                for journal in (one, other):
                    journal.write(marks)
                assert [*one.rows()] == [*other.rows()]


def _random_row(line: int, random: Random) -> SourceRow:
    key = random.choice([None, "a", "b", "c"])
    reason = "bad" if key is None and random.random() < 0.2 else None
    return SourceRow(line, key, random.choice([b"x", b"y", b"z"]), reason)
