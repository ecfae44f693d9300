"""The inbox in PostgreSQL: several workers, leases, lost connections, tables, reasons."""

import os
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from math import inf
from pathlib import Path
from random import Random
from typing import Any

import anyio
import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from support.deliveries import SECRET, counts, message, post, sender
from support.frames import leaks
from support.inboxes import (
    LONGEST_WAIT,
    NONE,
    dead,
    end_leases,
    event,
    exchange,
    failed,
    handled,
    ids,
    postgres_inbox,
)
from support.patience import PATIENCE
from support.postgres import PostgresServer, share_session
from support.servers import unused_port
from support.size import sized

from sunshine_async import BasicAuth, ConfigurationError, SunshineClient
from sunshine_async._calls.fence import TASK_LEASE
from sunshine_async.emulator import Emulator
from sunshine_async.sunshine import UserCreateBody
from sunshine_async.webhooks import InboxError, Received, Receiver, SunshineWebhooks
from sunshine_async.webhooks import inbox as inbox_module
from sunshine_async.webhooks import postgres_inbox as postgres_inbox_module
from sunshine_async.webhooks import postgres_sql as sql_module
from sunshine_async.webhooks.inbox import EventState, HandlerSlots, LeaseLostError, StoredEvent
from sunshine_async.webhooks.postgres_inbox import PostgresInbox

PASSWORD = "pass-word"
TESTS = str(Path(__file__).parents[1])
FORKING = """
import gc, os, sys
from support.inboxes import event, exchange, ids, postgres_inbox
from sunshine_async.webhooks import InboxError

inbox = postgres_inbox(sys.argv[1])
exchange(inbox, [event("a")])
child = os.fork()
if child == 0:
    try:
        exchange(inbox, [event("b")])
    except InboxError as error:
        print(str(error).partition(") ")[2], flush=True)
    inbox.close()
    os._exit(0)
_, status = os.waitpid(child, 0)
print(ids(exchange(inbox, [event("b")])))
inbox.close()
sys.exit(status)
"""
ONE = HandlerSlots(1, 1)


@pytest.fixture
def workers(database: str) -> Iterator[list[PostgresInbox]]:
    """Return the inboxes of three workers."""
    with ExitStack() as stack:
        yield [stack.enter_context(closing(postgres_inbox(database))) for _ in range(3)]


def execute(url: str, *statements: str) -> None:
    """Execute *statements* as another program does."""
    with psycopg.connect(url, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement.encode())


def end_sessions(url: str) -> None:
    """End the connections of all workers, as a network or a server does."""
    execute(
        url,
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
        "WHERE application_name = 'sunshine-async inbox' AND datname = current_database()",
    )


def test_workers_share_conversations(workers: list[PostgresInbox]) -> None:
    """An event is known to all workers; a conversation has a single event under way among all."""
    one, other, third = workers
    assert ids(exchange(one, [event("1", "c", 1.0), event("2", "c", 2.0)])) == ["1"]
    assert exchange(other, [event("1", "c", 1.0), event("3", "c", 3.0)]) == []
    begun = exchange(third, [event("4", "d"), event("5", "e")], slots=ONE)
    assert ids(begun) == ["4"]
    rest = exchange(other)
    assert ids(rest) == ["5"]

    assert exchange(third, [], handled(rest), ONE) == []
    assert counts(one)[EventState.BEGUN] == 3


def test_an_ended_lease_gives_the_events_to_others(workers: list[PostgresInbox]) -> None:
    """After the lease another worker begins the events again; the late worker is refused, whole."""
    late, other, _ = workers
    begun = exchange(late, [event("a", "c", 1.0), event("b", "c", 2.0)])
    assert exchange(other) == []
    end_leases(other)
    [again] = exchange(other)
    assert (again.id, again.attempt, again.begun_at) == ("a", 2, 1000.0)

    with pytest.raises(LeaseLostError, match="60 s of silence"):
        exchange(late, [event("x")], handled(begun))
    assert (late.lease_left(), late._known) == (-inf, set())
    assert counts(other) == {EventState.BEGUN: 1, EventState.WAITING: 1}
    assert ids(exchange(late, [event("x")], handled(begun))) == ["x"]
    assert ids(exchange(other, [], handled([again]))) == ["b"]


def test_the_time_of_a_server_that_was_down_does_not_count(
    workers: list[PostgresInbox], postgres: PostgresServer
) -> None:
    """Leases go on after a restart of the server, however long the restart has taken."""
    one, other, _ = workers
    begun = exchange(one, [event("a")])
    with other._transaction() as connection:
        connection.execute("UPDATE workers SET seen_at = 'epoch'")
    postgres.stop()
    for worker in workers:
        with pytest.raises(InboxError):
            exchange(worker, [event("b")])
    postgres.start()

    assert ids(exchange(other, [event("b")])) == ["b"]
    assert exchange(one, [], handled(begun)) == []
    assert counts(one) == {EventState.HANDLED: 1, EventState.BEGUN: 1}


def set_clock(inbox: PostgresInbox, seconds: float, patch: pytest.MonkeyPatch) -> None:
    """Set the server's clock by *seconds*: all else goes back as far."""
    with inbox._transaction() as connection:
        statement = "UPDATE workers SET seen_at = seen_at - make_interval(secs => %s)"
        connection.execute(statement, (seconds,))
    time_before = postgres_inbox_module.boot_time
    patch.setattr(postgres_inbox_module, "boot_time", lambda: time_before() - seconds)


@pytest.mark.parametrize("seconds", [3600.0, -3600.0, 55.0])
def test_a_step_of_the_servers_clock_ends_no_lease(
    workers: list[PostgresInbox], monkeypatch: pytest.MonkeyPatch, seconds: float
) -> None:
    """A worker keeps its events, and a killed worker's wait for one lease, however it was set."""
    one, other, third = workers
    begun = [exchange(one, [event("a")]), exchange(third, [event("b")])]
    exchange(other)
    with other._transaction() as connection:
        connection.execute("UPDATE workers SET seen_at = seen_at - make_interval(secs => 10)")
    set_clock(other, seconds, monkeypatch)
    assert exchange(other) == []
    ages = other._fetch_all("SELECT abs(extract(epoch FROM now() - seen_at)) FROM workers")
    assert all(age < 50 for (age,) in ages)  # a server that was just started hides the rest
    assert exchange(one, [], handled(begun[0])) == []

    end_leases(other)
    assert ids(exchange(other)) == ids(begun[1]) == ["b"]


def test_a_slow_exchange_renews_no_lease_of_others(
    workers: list[PostgresInbox], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A network that takes seconds is no step of the server's clock: other leases end as before."""
    for worker in workers:
        exchange(worker)
    before = workers[0]._fetch_all("SELECT id, seen_at FROM workers ORDER BY id")
    time_before = postgres_inbox_module.boot_time
    monkeypatch.setattr(postgres_inbox_module, "boot_time", lambda: time_before() - 10)
    exchange(workers[0])

    assert workers[0]._fetch_all("SELECT id, seen_at FROM workers ORDER BY id") == before


def test_an_exchange_renews_the_lease(workers: list[PostgresInbox]) -> None:
    """A worker that exchanges within the lease keeps its events, however long a handler takes."""
    owner, other, _ = workers
    begun = exchange(owner, [event("a")])
    for _ in range(3):
        with other._transaction() as connection:
            connection.execute("UPDATE workers SET seen_at = seen_at - lease * 0.9")
        exchange(owner)
        assert exchange(other) == []

    assert exchange(owner, [], handled(begun)) == []


@pytest.mark.parametrize(("lease", "seconds"), [(inf, 0.5), (1e300, 0.5), (60.0, 0.5), (1.0, 0.25)])
def test_the_next_exchange_comes_long_before_the_end_of_the_lease(
    database: str, lease: float, seconds: float
) -> None:
    """A worker with nothing to do exchanges several times within the lease."""
    with (
        closing(postgres_inbox(database, lease=lease)) as inbox,
        closing(postgres_inbox(database)) as other,
    ):
        begun = exchange(inbox, [event("a")])
        assert exchange(other) == []
        exchange(inbox, [], handled(begun))
        _, next_at = inbox.exchange([], [], NONE, now=1.0, clock=10.0, keep=60.0)

    assert next_at == 10.0 + seconds


def test_a_worker_that_stops_within_a_transaction(database: str) -> None:
    """Others end the session of a worker that holds the lock for longer than they wait."""
    with (
        psycopg.connect(database) as stopped,
        closing(postgres_inbox(database, lease=0.4)) as inbox,
    ):
        stopped.execute(sql_module.LOCK)
        begun: list[StoredEvent] = []
        refusals: list[str] = []
        while not begun and len(refusals) < 20:
            try:
                begun = exchange(inbox, [event("a")])
            except InboxError as error:
                refusals.append(str(error))
        assert ids(begun) == ["a"]
        assert refusals
        assert all("held up by another transaction" in text for text in refusals)
        with pytest.raises(psycopg.OperationalError):
            stopped.execute("SELECT 1")


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_fork_leaves_the_inbox_to_the_parent(database: str) -> None:
    """A child is refused, and its end leaves the connection of the parent as it is."""
    ran = subprocess.run(  # noqa: S603 - our own program
        [sys.executable, "-c", FORKING, database], env={**os.environ, "PYTHONPATH": TESTS},
        capture_output=True, text=True, check=False, timeout=PATIENCE,
    )  # fmt: skip

    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout == "was opened before a fork: start a receiver in each process\n['b']\n"


def test_the_inbox_of_another_process_is_refused(workers: list[PostgresInbox]) -> None:
    """An inbox that was opened before a fork says so, and closes without a word to the server."""
    one, other, _ = workers
    exchange(one, [event("a")])
    one._process = 0  # type: ignore[misc]
    with pytest.raises(InboxError, match="before a fork: start a receiver in each process"):
        exchange(one)
    connection = one._connection
    one.close()

    assert connection is not None
    assert not connection.closed
    connection.close()
    assert exchange(other) == []


@pytest.mark.slow
def test_events_of_a_lost_answer_are_given_back(
    workers: list[PostgresInbox], database: str
) -> None:
    """Events that the server has begun in an answer that was lost wait again; known events don't."""
    one, other, _ = workers
    known = exchange(one, [event("known"), event("lost")], slots=ONE)
    exchange(one)
    one._known = {known[0].number}
    end_sessions(database)
    with pytest.raises(InboxError, match="goes on once the server"):
        exchange(one)

    assert ids(exchange(one)) == ["lost"]
    end_sessions(database)
    with pytest.raises(InboxError):
        exchange(other, [event("new")])
    assert ids(exchange(other, [event("new")])) == ["new"]


def test_a_retry_of_a_lost_answer_is_given_back(
    workers: list[PostgresInbox], database: str
) -> None:
    """An event whose handler has ended, and that the server has begun again, isn't a known one."""
    one, *_ = workers
    exchange(one, [], failed(exchange(one, [event("a")]), 1000.0), NONE)
    known = {*one._known}
    assert ids(exchange(one)) == ["a"]
    one._known = known
    end_sessions(database)
    with pytest.raises(InboxError, match="goes on once the server"):
        exchange(one)

    assert [(again.id, again.attempt) for again in exchange(one)] == [("a", 3)]


def test_a_closed_inbox_leaves_its_events_to_the_others(workers: list[PostgresInbox]) -> None:
    """On close the events under way wait again at once; closing twice, or cut off, is no error."""
    one, other, _ = workers
    assert one.lease_left() == -inf
    exchange(one, [event("a")])
    assert 0 < one.lease_left() < inf
    one.close()
    one.close()

    assert one.lease_left() == -inf
    [again] = exchange(other)
    assert (again.id, again.attempt) == ("a", 2)


def test_retries_and_dead_letters_are_of_all_workers(workers: list[PostgresInbox]) -> None:
    """Any worker takes a retry whose time has come, and lists, replays and drops dead letters."""
    one, other, third = workers
    exchange(one, [], failed(exchange(one, [event("a")]), 1050.0))
    assert exchange(other, now=1049.0) == []
    [again] = exchange(other, now=1050.0)
    assert (again.attempt, again.failures) == (2, 1)
    exchange(other, [], dead([again]))

    assert ids(third.dead(9)) == ["a"]
    assert third.replay(["a"]) == 1
    exchange(one, [], dead(exchange(one)))
    assert third.drop(["a", "b"]) == 1
    assert third.replay([]) == 0
    assert exchange(one, [event("a")]) == []


def test_a_retry_after_the_clock_was_set_back(workers: list[PostgresInbox]) -> None:
    """A retry waits no longer than any retry may: a step back delays no event by the whole step."""
    one, other, _ = workers
    exchange(
        one, [], failed(exchange(one, [event("a")], now=9000.0), 9000 + LONGEST_WAIT), now=9000.0
    )
    assert exchange(other, now=8995.0) == []  # clocks differ by seconds
    assert ids(exchange(other, now=1800.0)) == ["a"]


def test_long_names_have_a_hash_for_a_key(workers: list[PostgresInbox]) -> None:
    """Ids and conversations of any length fit the indexes; a long id is known by its hash."""
    one, other, _ = workers
    name = "".join(Random(1).choices("abcdefgh☃", k=20_000))
    [first] = exchange(one, [event(name, name)])
    assert exchange(other, [event(name, name), event("next", name)]) == []
    exchange(one, [], dead([first]))

    [letter] = other.dead(1)
    assert letter.id == first.id
    assert len(letter.id) < 100
    assert other.replay([letter.id]) == 1


def test_bodies_are_deleted(workers: list[PostgresInbox]) -> None:
    """A handled event, and a dropped dead letter, has no body."""
    one, other, _ = workers
    begun = exchange(one, [event("a"), event("b"), event("c")])
    exchange(one, [], [*handled(begun[:1]), *dead(begun[1:])], NONE)
    other.drop(["b"])

    assert one._fetch_all("SELECT id FROM events WHERE body IS NOT NULL") == [("c",)]


@pytest.mark.parametrize(("lease", "wait"), [(0.4, "100ms"), (8.0, "2s"), (inf, "5s")])
def test_the_wait_for_the_lock_is_a_part_of_the_lease(
    database: str, lease: float, wait: str
) -> None:
    """A worker waits no longer for others than a quarter of the lease, and a few seconds at most."""
    with closing(postgres_inbox(database, lease=lease)) as inbox:
        assert inbox._fetch_all("SHOW lock_timeout") == [(wait,)]


def test_no_statement_is_compiled(workers: list[PostgresInbox]) -> None:
    """The server executes the statements of an exchange as they are: milliseconds, not a second."""
    assert workers[0]._fetch_all("SHOW jit") == [("off",)]


def test_workers_at_the_same_time(database: str) -> None:
    """Workers that exchange and create the tables at the same time handle each event once, in order."""
    number = sized(3000, 200)
    order: list[tuple[str, int]] = []

    def work(seed: int) -> None:
        random = Random(seed)
        events = [event(str(n), f"c{n % 20}", float(n)) for n in range(number)]
        with closing(postgres_inbox(database)) as inbox:
            begun = exchange(inbox, events, slots=HandlerSlots(5, 5))
            while counts(inbox) != {EventState.HANDLED: number}:
                order.extend((one.id, one.attempt) for one in begun)
                begun = exchange(inbox, [], handled(begun), HandlerSlots(random.randint(1, 9), 1))

    with ThreadPoolExecutor(3) as threads:
        list(threads.map(work, range(3)))

    assert Counter(order) == Counter((str(n), 1) for n in range(number))
    by_conversation: dict[int, list[int]] = {}
    for name, _ in order:
        by_conversation.setdefault(int(name) % 20, []).append(int(name))
    assert all(places == sorted(places) for places in by_conversation.values())


STATEMENTS = {
    name: text
    for module in (inbox_module, sql_module)
    for name, text in vars(module).items()
    if isinstance(text, str)
    and re.match(r"(SELECT|INSERT|UPDATE|DELETE|WITH) .*events", text, re.DOTALL)
}


@pytest.mark.parametrize("name", STATEMENTS)
def test_every_statement_reads_through_an_index(workers: list[PostgresInbox], name: str) -> None:
    """No statement reads a whole table of events or queues, so a long backlog slows nothing down."""
    text = STATEMENTS[name].replace("?", "NULL").replace("%s", "1")
    text = re.sub(r"%\((\w+)\)[sb]", "NULL", text)
    plan = "\n".join(row for [row] in workers[0]._fetch_all(f"EXPLAIN {text}"))

    assert not re.search("Seq Scan on (events|queues)", plan), plan


def test_a_server_that_is_away_is_no_error_at_first() -> None:
    """Without a server an inbox opens; each method names the address, and nothing more."""
    port = unused_port()
    with closing(postgres_inbox(f"postgresql://u:{PASSWORD}@127.0.0.1:{port}/bot")) as inbox:
        for call in (exchange, lambda inbox: inbox.dead(1), lambda inbox: inbox.replay(["a"])):
            with pytest.raises(InboxError, match="can't be reached") as caught:
                call(inbox)
            assert f"host=127.0.0.1 port={port} dbname=bot" in str(caught.value)
            assert leaks(caught.value, PASSWORD) == []
        assert PASSWORD not in repr(inbox._address)


def test_other_tables_are_refused(database: str) -> None:
    """A schema of another version, or of another program, is refused, and stays as it is."""
    with closing(postgres_inbox(database)) as inbox:
        execute(database, "UPDATE sunshine_inbox.version SET number = 2")
        with pytest.raises(ConfigurationError, match="than version 1") as caught:
            postgres_inbox(database)
        assert leaks(caught.value, PASSWORD) == []
        assert exchange(inbox, [event("a")]) != []
    execute(database, "DROP TABLE sunshine_inbox.version")
    with pytest.raises(ConfigurationError, match="or another database"):
        postgres_inbox(database)


def test_a_pooler_in_transaction_mode(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A session that others share is refused: they would get the schema of the inbox."""
    session = share_session(database, monkeypatch)
    with pytest.raises(ConfigurationError, match="behind a pooler in transaction mode") as caught:
        postgres_inbox(database)
    assert leaks(caught.value, PASSWORD) == []
    [[path]] = session.execute("SHOW search_path").fetchall()
    assert "sunshine" not in path
    psycopg.Connection.close(session)


def test_a_schema_that_an_administrator_has_made(database: str) -> None:
    """An empty schema gets the tables, so a worker needs no privilege on the database."""
    execute(database, "CREATE SCHEMA sunshine_inbox")
    with closing(postgres_inbox(database)) as inbox:
        assert ids(exchange(inbox, [event("a")])) == ["a"]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("ALTER DATABASE {name} SET default_transaction_read_only = on", "is read-only"),
        ("REVOKE ALL ON SCHEMA sunshine_inbox FROM weak", "lacks a privilege"),
        ("DROP TABLE sunshine_inbox.workers", "UndefinedTable"),
    ],
)
def test_the_reasons_of_the_server(database: str, change: str, reason: str) -> None:
    """A refusal by the server is told with the reason and the next step, and ends by itself."""
    name = str(conninfo_to_dict(database)["dbname"])
    postgres_inbox(database).close()
    execute(
        database,
        "DROP ROLE IF EXISTS weak",
        "CREATE ROLE weak LOGIN",
        "GRANT ALL ON SCHEMA sunshine_inbox TO weak",
        "GRANT ALL ON ALL TABLES IN SCHEMA sunshine_inbox TO weak",
        change.format(name=name),
    )
    try:
        weak = make_conninfo(database, user="weak")
        with closing(postgres_inbox(weak)) as inbox, pytest.raises(InboxError, match=reason):
            exchange(inbox, [event("a")])
    finally:
        execute(
            database,
            "SET default_transaction_read_only = off",
            f"ALTER DATABASE {name} RESET default_transaction_read_only",
            "DROP OWNED BY weak",
            "DROP ROLE weak",
        )


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u:pass-word@[",
        "postgres://u:pass-word@h/?x=pass-word",
        "postgresql://u:1@pass-word@h/db",
        "postgresql://u:pass-word/1@h/db",
        "postgresql://u:1/pass-word@h/db",
        "postgresql://u:pass-word/db",
        "postgresql+psycopg://u:pass-word@h/db",
        "POSTGRES://u:pass-word@h/db",
    ],
)
def test_an_address_that_cant_be_read_is_refused(url: str) -> None:
    """An address that is none is a `ConfigurationError` without the password, in no frame either."""
    with pytest.raises(ConfigurationError, match="inbox: give ") as caught:
        Receiver(SunshineWebhooks(SECRET), url)
    assert leaks(caught.value, PASSWORD) == []


def test_the_wait_for_a_server_that_hangs_ends(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that keeps the connection and answers nothing is away."""
    monkeypatch.setattr(postgres_inbox_module, "_SILENCE", 0.2)
    with closing(postgres_inbox(database)) as inbox:
        hangs = (
            r"hasn't answered for too long\. The receiver goes on once the server can be reached$"
        )
        with pytest.raises(InboxError, match=hangs):
            inbox._fetch_all("SELECT pg_sleep(%s)", (PATIENCE,))


def test_psycopg_is_an_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without psycopg an inbox in PostgreSQL is a `ConfigurationError` with the command to run."""
    monkeypatch.setitem(sys.modules, "sunshine_async.webhooks.postgres_inbox", None)
    monkeypatch.delattr("sunshine_async.webhooks.postgres_inbox")
    with pytest.raises(ConfigurationError, match=r"pip install 'sunshine-async\[postgres\]'"):
        Receiver(SunshineWebhooks(SECRET), "postgresql://localhost/bot")


def receiver_at(url: str, **options: Any) -> Receiver:
    """Return a receiver at *url*."""
    return Receiver(SunshineWebhooks(SECRET), url, **options)


async def test_a_receiver_whose_server_is_away(caplog: pytest.LogCaptureFixture) -> None:
    """Without the server a receiver starts and answers 503; no log and no error has the password."""
    caplog.set_level("DEBUG")
    receiver = receiver_at(f"postgresql://u:{PASSWORD}@127.0.0.1:{unused_port()}/bot")

    @receiver.on("conversation:message")
    async def handle(received: Received[Any]) -> None: ...

    async with receiver, sender(receiver) as client:
        assert await post(client, message(1)) == 503
        with pytest.raises(InboxError, match="can't be reached") as caught:
            await receiver.dead()
    assert leaks(caught.value, PASSWORD) == []
    assert "deliveries are answered 503 until the inbox can be written" in caplog.text
    assert PASSWORD not in caplog.text + repr(vars(receiver))


class _Blocking:
    """A hook that blocks the event loop, until another worker has the events, as an attempt starts."""

    def __init__(self, block: Callable[[], None]) -> None:
        self._block = block

    def attempt_started(self, _: object) -> None:
        self._block()


@pytest.mark.slow
@pytest.mark.parametrize("act", ["message", "create"])
@pytest.mark.parametrize("place", ["in the handler", "in the call"])
async def test_a_worker_taken_for_dead_sends_nothing_more(
    database: str, place: str, act: str
) -> None:
    """A worker that was silent past the lease has no effect: another worker has the event."""
    emulator = Emulator()
    emulator.add("sunshine", {"id": "1"}, app_id="app")
    conversation = emulator.say("app", "1", "Hi")["conversation"]
    receiver, attempts, done = receiver_at(database, lease=2), list[int](), anyio.Event()

    def block() -> None:
        with closing(postgres_inbox(database)) as other:
            while not exchange(other, now=time.time()):
                pass

    client = SunshineClient(
        "app", auth=BasicAuth("id", "secret"), transport=emulator.transport(),
        hooks=[_Blocking(block)] if place == "in the call" else [],
    )  # fmt: skip

    @receiver.on("conversation:message")
    async def handle(received: Received[Any]) -> None:
        attempts.append(received.attempt)
        if received.attempt > 1:
            done.set()
            return
        if place == "in the handler":
            block()
        if act == "message":
            await client.messages.send_text(conversation, "Hello", once=received.key("a"))
        else:
            await client.users.create(UserCreateBody())

    before = emulator.ledger()["sunshine"]["effects"]
    async with receiver, sender(receiver) as web:
        assert await post(web, message(1)) == 200
        with anyio.fail_after(PATIENCE):
            await done.wait()
    assert attempts == [1, 3]
    assert emulator.ledger()["sunshine"]["effects"] == before


async def test_receivers_share_an_inbox(database: str) -> None:
    """A delivery to two receivers is handled once; a busy receiver leaves events to the other."""
    got: list[tuple[int, str]] = []
    done = anyio.Event()
    receivers = [receiver_at(database, concurrency=1) for _ in range(2)]
    for place, receiver in enumerate(receivers):

        @receiver.on("conversation:message")
        async def handle(received: Received[Any], place: int = place) -> None:
            got.append((place, received.id))
            if len(got) == 2:
                done.set()
            with anyio.fail_after(PATIENCE):
                await done.wait()

    one, other = receivers
    async with one, other, sender(one) as client, sender(other) as second:
        assert await post(client, message(1, "c"), message(2, "d")) == 200
        assert await post(second, message(1, "c")) == 200
        with anyio.fail_after(PATIENCE):
            await done.wait()
    assert {place for place, _ in got} == {0, 1}
    assert {name for _, name in got} == {"e1", "e2"}


@pytest.mark.slow
async def test_a_lost_lease_cancels_the_handlers(
    database: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A receiver that has lost its lease cancels its handlers, and goes on as a new worker."""
    begun, cancelled, again = anyio.Event(), anyio.Event(), anyio.Event()
    receiver, leases = receiver_at(database), list[Any]()

    @receiver.on("conversation:message")
    async def handle(received: Received[Any]) -> None:
        leases.append(TASK_LEASE.get())
        assert 0 < leases[-1].left < inf
        if received.attempt > 1:
            again.set()
            return
        try:
            begun.set()
            await anyio.sleep_forever()
        finally:
            cancelled.set()

    async with receiver, sender(receiver) as client:
        assert await post(client, message(1)) == 200
        with anyio.fail_after(PATIENCE):
            await begun.wait()
            await anyio.to_thread.run_sync(execute, database, "DELETE FROM sunshine_inbox.workers")
            await cancelled.wait()
        with closing(postgres_inbox(database)) as other:
            assert counts(other) == {EventState.BEGUN: 1}
        await anyio.to_thread.run_sync(
            execute,
            database,
            "UPDATE sunshine_inbox.queues SET worker = NULL, number = NULL",
            "UPDATE sunshine_inbox.events SET state = 0",
        )
        with anyio.fail_after(PATIENCE):
            await again.wait()
    assert [lease.left for lease in leases] == [-inf, inf]  # lost, and handled
    [text] = [text for text in caplog.messages if "void here" in text]
    assert text.startswith("1 events under way")
