"""The inboxes of both kinds: deduplication, order, attempts, kills, dead letters."""

from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from math import inf
from pathlib import Path
from random import Random

import orjson
import pytest
from attrs import define, evolve, field
from support.deliveries import counts
from support.inboxes import (
    DAY,
    MANY,
    NONE,
    AnyInbox,
    dead,
    event,
    exchange,
    failed,
    handled,
    ids,
    killed_postgres,
    killed_sqlite,
    postgres_inbox,
)
from support.size import sized

from sunshine_async.webhooks.deliveries import RawEvent
from sunshine_async.webhooks.inbox import (
    AttemptTimes,
    EventOutcome,
    EventState,
    HandlerSlots,
    Inbox,
    Retention,
    StoredEvent,
)
from sunshine_async.webhooks.sqlite_inbox import SQLiteInbox


def opened(kind: str, path: Path, request: pytest.FixtureRequest) -> AnyInbox:
    """Return a new inbox of a *kind*."""
    if kind == "sqlite":
        return SQLiteInbox(path)
    return postgres_inbox(request.getfixturevalue("database"))


def killed(inbox: AnyInbox, folder: Path, now: float = 1000.0) -> AnyInbox:
    """Return the inbox as it is after a kill of the worker at this moment."""
    if isinstance(inbox, SQLiteInbox):
        return killed_sqlite(inbox, folder)
    return killed_postgres(inbox, now)


@pytest.fixture(params=["sqlite", "postgres"])
def inbox(path: Path, request: pytest.FixtureRequest) -> Iterator[AnyInbox]:
    """Return an inbox of each kind."""
    with closing(opened(request.param, path, request)) as inbox:
        yield inbox


def test_an_event_begins_with_all_its_values(inbox: AnyInbox) -> None:
    """An event that begins has what was received, the attempt, and the time of the first attempt."""
    [one] = exchange(inbox, [event("a")], now=5.0)

    assert inbox.lease_left() > 0
    assert (one.id, one.type, one.app_id, one.data) == ("a", "t", "app", {"id": "a"})
    assert (one.attempt, one.failures, one.begun_at, one.received_at) == (1, 0, 5.0, 5.0)
    [again] = exchange(inbox, [], failed([one]), now=9.0)
    assert (again.attempt, again.failures, again.begun_at, again.received_at) == (2, 1, 5.0, 5.0)
    assert (one.failed_at, again.failed_at) == (None, 9.0)
    assert again.reason == "E"
    assert "{'id': 'a'}" not in repr(one)


def test_an_event_without_an_app_or_a_time(inbox: AnyInbox) -> None:
    """What an event lacks stays lacking; an event without a time counts as created on arrival."""
    [one] = exchange(inbox, [RawEvent("a", "t", {}, b"{}", None, None, None)], now=5.0)

    assert (one.app_id, one.reason, one.created_at) == (None, None, 5.0)
    exchange(inbox, [], [EventOutcome(one.number, EventState.DEAD)])
    assert [(letter.app_id, letter.reason) for letter in inbox.dead(9)] == [(None, None)]


@pytest.mark.parametrize("text", ["\0", "a\0b", '"', "\\", "☃😀", "\n", "'; --"], ids=ascii)
def test_any_text_is_kept(inbox: AnyInbox, text: str) -> None:
    """Ids, triggers, conversations and bodies may have any character."""
    raw = RawEvent(text, text, text, orjson.dumps({text: text}), text, 1.0, text)
    [one] = exchange(inbox, [raw, raw])

    assert (one.id, one.type, one.app_id, one.data) == (text, text, text, {text: text})
    assert exchange(inbox, [], dead([one])) == []
    assert ids(inbox.dead(9)) == [text]
    assert inbox.replay([text]) == 1
    assert ids(exchange(inbox)) == [text]


def test_a_known_id_is_left_out_until_it_is_forgotten(inbox: AnyInbox) -> None:
    """An id counts once: while waiting, begun, handled, and for *keep* seconds after that."""
    first = exchange(inbox, [event("a"), event("a")], now=0.0)
    assert ids(first) == ["a"]
    assert exchange(inbox, [event("a")], now=1.0) == []
    assert exchange(inbox, [event("a")], handled(first), now=10.0) == []
    assert exchange(inbox, [event("a")], now=10.0 + DAY) == []
    assert counts(inbox) == {EventState.HANDLED: 1}

    assert ids(exchange(inbox, [event("a")], now=10.1 + DAY)) == ["a"]


@pytest.mark.parametrize(
    ("starts", "kept"),
    [
        ([0.0, 0.0, 0.0], [9.0, 9.0, 9.0]),
        ([0.0, 50.0, 100.0], [9.0, 9.0, 9.0]),  # by and by
        ([0.0, -7200.0, -7200.0], [9.0, 9.0, 9.0]),
        ([0.0, 7200.0, 7200.0, 7200.0], [9.0, 7209.0, 7209.0, 9.0]),
        ([0.0, 7200.0, 0.0, 7200.0, 7200.0, 7200.0], [9.0, 7209.0, 7209.0, 7209.0, 7209.0, 9.0]),
        ([0.0, 100.0, 300.0, 300.0, 300.0], [9.0, 109.0, 309.0, 209.0, 9.0]),
    ],
)
def test_ids_are_kept_after_the_clock_was_set_forward(
    starts: list[float], kept: list[float]
) -> None:
    """After a step forward each id from before is kept for the step, too, until it is old enough."""
    retention = Retention(9.0)
    clocks = [1000.0 + 5.0 * number for number in range(len(starts))]
    found = [
        retention.keep(now=start + at, clock=at) for start, at in zip(starts, clocks, strict=True)
    ]
    assert found == kept


def test_a_machine_that_sleeps_each_night_forgets_ids(inbox: AnyInbox) -> None:
    """Nightly steps of the clock keep no id for ever: an inbox has a bound on such a machine, too."""
    retention = Retention(DAY)
    for day in range(20):  # 16 hours awake, 8 asleep
        now, clock = day * DAY, day * DAY * 2 / 3
        begun = exchange(inbox, [event(str(day))], now=now)
        keep = retention.keep(now=now, clock=clock)
        exchange(inbox, [], handled(begun), now=now, keep=keep)

    assert counts(inbox)[EventState.HANDLED] <= 4


FAILED = StoredEvent(
    number=1, id="a", type="t", app_id=None, data={}, attempt=2, failures=1, begun_at=0.0,
    failed_at=1000.0, received_at=0.0, reason="E", created_at=0.0,
)  # fmt: skip


@pytest.mark.parametrize(
    ("begun_at", "created_at", "expected"),
    [
        (900.0, 800.0, 900.0), (1000.0, 800.0, 1000.0), (1001.0, 800.0, 800.0),
        (8200.0, 8100.0, 1000.0), (8200.0, -1e300, 0.0),
    ],
)  # fmt: skip
def test_the_first_attempt_after_the_clock_was_set_back(
    begun_at: float, created_at: float, expected: float
) -> None:
    """A first attempt that is yet to come was made after the event, by the service's clock."""
    stored = evolve(FAILED, begun_at=begun_at, created_at=created_at)
    assert stored.first_attempt(1000.0) == expected


@pytest.mark.parametrize("step", [-7200.0, 0.0, 7200.0])
def test_a_step_of_the_clock_changes_no_age_of_a_failure(step: float) -> None:
    """The time since the first failure is right however the clock of the machine is set."""
    times = AttemptTimes(None)
    assert times.age(evolve(FAILED, failed_at=None), now=999.9, clock=50.0) == 0.0

    assert times.age(FAILED, now=1030.0 + step, clock=80.0) == 30.0
    assert times.age(FAILED, now=1040.0, clock=90.0) == 40.0


def test_a_failure_in_another_process_has_the_time_of_the_machine() -> None:
    """The clock counts where the first failure was elsewhere, or before a replay; never below 0."""
    times = AttemptTimes(None)
    assert times.age(FAILED, now=1030.0, clock=5.0) == 30.0
    assert times.age(FAILED, now=5000.0, clock=7.0) == 32.0
    assert times.age(evolve(FAILED, failed_at=4990.0), now=5000.0, clock=7.0) == 10.0
    assert times.age(evolve(FAILED, number=2), now=900.0, clock=7.0) == 0.0


def test_the_end_of_the_attempts_of_other_processes() -> None:
    """Another process had the file before it was opened; another worker has an event until it begins."""
    assert AttemptTimes(3.0).earlier_ended(FAILED, clock=9.0) == 3.0

    times = AttemptTimes(None)
    assert times.earlier_ended(FAILED, clock=9.0) == 9.0
    assert times.earlier_ended(evolve(FAILED, attempt=3), clock=10.0) == -inf
    assert times.earlier_ended(evolve(FAILED, attempt=5), clock=11.0) == 11.0


def test_the_oldest_failures_are_forgotten() -> None:
    """Memory stays small where other workers end the events: a forgotten age is the machine's."""
    times = AttemptTimes(None)
    for number in range(10_001):
        times.age(evolve(FAILED, number=number), now=1000.0, clock=0.0)

    assert times.age(evolve(FAILED, number=1), now=9000.0, clock=1.0) == 1.0
    assert times.age(evolve(FAILED, number=0), now=9000.0, clock=1.0) == 8000.0


def test_no_id_is_forgotten_meanwhile(inbox: AnyInbox) -> None:
    """An id that is kept without an end is left out, however old the id looks."""
    exchange(inbox, [], handled(exchange(inbox, [event("a")], now=0.0)), now=0.0)
    assert exchange(inbox, [event("a")], now=9 * DAY, keep=inf) == []
    assert ids(exchange(inbox, [event("a")], now=9 * DAY)) == ["a"]


def test_a_queue_is_in_order_of_the_times(inbox: AnyInbox) -> None:
    """Within a queue the earliest waiting event begins, one at a time; queues are independent."""
    late = [event("3", "c", 3.0), event("2", "c", 2.0), event("x", "d", 9.0), event("y")]
    begun = exchange(inbox, late)
    assert sorted(ids(begun)) == ["2", "x", "y"]

    begun = exchange(inbox, [event("1", "c", 1.0)], handled(begun))
    assert ids(begun) == ["1"]
    assert ids(exchange(inbox, [], handled(begun))) == ["3"]


def test_equal_or_missing_times_are_in_order_of_receiving(inbox: AnyInbox) -> None:
    """Events with equal times, and events without a time, come in the order of receiving."""
    order = []
    begun = exchange(inbox, [event(str(number), "c") for number in range(5)])
    while begun:
        order += ids(begun)
        begun = exchange(inbox, [], handled(begun))

    assert order == ["0", "1", "2", "3", "4"]


def test_slots_bound_the_events_that_begin(inbox: AnyInbox) -> None:
    """At most *free* events begin, of these at most *retries* that have failed before."""
    events = [event(str(number)) for number in range(6)]
    begun = exchange(inbox, events, slots=HandlerSlots(4, 1))
    assert ids(begun) == ["0", "1", "2", "3"]

    begun = exchange(inbox, [], failed(begun), HandlerSlots(5, 2))
    assert [one.failures for one in begun] == [1, 1, 0, 0]
    assert exchange(inbox, slots=NONE) == []


def test_a_retry_waits_for_its_time_and_holds_its_queue(inbox: AnyInbox) -> None:
    """A failed event begins again from its time on; the rest of the queue waits."""
    begun = exchange(inbox, [event("1", "c", 1.0), event("2", "c", 2.0)], now=0.0)
    _, next_at = inbox.exchange([], failed(begun, 1.25), MANY, now=1.0, clock=1.0, keep=DAY)
    assert next_at == 1.25
    assert exchange(inbox, now=1.125) == []

    begun, next_at = inbox.exchange([], [], MANY, now=1.25, clock=1.25, keep=DAY)
    assert ids(begun) == ["1"]
    assert next_at == (inf if isinstance(inbox, SQLiteInbox) else 1.75)  # others may bring events
    assert ids(exchange(inbox, [], dead(begun))) == ["2"]


def test_dead_letters_are_listed_replayed_and_dropped(inbox: AnyInbox) -> None:
    """A dead letter stays until it is replayed, which counts attempts on, or dropped."""
    exchange(inbox, [], dead(exchange(inbox, [event("a", "c"), event("b"), event("d")])))
    assert ids(inbox.dead(2)) == ["a", "b"]
    assert (inbox.dead(1)[0].reason, inbox.dead(1)[0].data) == ("E", {"id": "a"})

    assert inbox.replay(["a", "unknown"]) == 1
    [again] = exchange(inbox, [event("a", "c")], now=2000.0)
    assert (again.id, again.attempt, again.failures, again.begun_at) == ("a", 2, 0, 1000.0)
    assert again.failed_at is None
    assert inbox.drop(["b", "a"]) == 1
    assert exchange(inbox, [event("b")]) == []
    assert ids(inbox.dead(9)) == ["d"]


def test_a_kill_loses_nothing(inbox: AnyInbox, tmp_path: Path) -> None:
    """After a kill, events under way wait again, behind the other queues, with attempts counted."""
    events = [event("a", "c", 1.0), event("b", "c", 2.0), event("d"), event("e")]
    begun = exchange(inbox, events, slots=HandlerSlots(3, 3))
    exchange(inbox, [], handled(begun[1:2]), NONE)

    with closing(killed(inbox, tmp_path / "after")) as after:
        assert counts(after) == {EventState.WAITING: 3, EventState.HANDLED: 1}
        first = exchange(after, slots=HandlerSlots(1, 1))
        rest = exchange(after, events)
    assert [(one.id, one.attempt) for one in begun] == [("a", 1), ("d", 1), ("e", 1)]
    assert len({*ids(first), *ids(rest)}) == 2
    assert {(one.id, one.attempt, one.failures) for one in [*first, *rest]} == {
        ("a", 2, 0), ("e", 2, 0),
    }  # fmt: skip


def test_queues_under_way_at_a_kill_come_last(inbox: AnyInbox, tmp_path: Path) -> None:
    """An event that may have ended the process doesn't begin first at the next start."""
    exchange(inbox, [event("poison")])
    exchange(inbox, [event("a"), event("b")], slots=NONE)

    with closing(killed(inbox, tmp_path / "after")) as after:
        assert sorted(ids(exchange(after, slots=HandlerSlots(2, 2)))) == ["a", "b"]


@define
class Known:
    """What the model knows of an event."""

    number: int
    queue: str
    created_at: float
    begun_at: float | None = None
    failed_at: float | None = None
    state: EventState = EventState.WAITING
    attempts: int = 0
    failures: int = 0
    ended_at: float = 0.0
    ready_at: float = 0.0
    stored: int = 0
    """Number in the inbox."""


@define
class Model:
    """The inbox as a plain dictionary, and the checks of each exchange."""

    random: Random
    known: dict[str, Known] = field(factory=dict[str, Known])
    now: float = 100.0
    count: int = 0

    def events(self) -> list[RawEvent]:
        """Return new events and copies of earlier ones, some without conversation or time."""
        found = []
        for _ in range(self.random.randrange(6)):
            name = f"e{self.random.randrange(60)}"
            queue = self.random.choice(["a", "b", "c", None])
            at = self.random.choice([None, float(self.random.randrange(90))])
            found.append(event(name, queue, at))
        return found

    def forget(self, keep: float) -> None:
        """Forget handled events."""
        self.known = {
            name: one
            for name, one in self.known.items()
            if one.state is not EventState.HANDLED or one.ended_at >= self.now - keep
        }

    def add(self, events: list[RawEvent]) -> None:
        """Add the events with a new name."""
        for one in events:
            if one.id not in self.known:
                self.count += 1
                queue = one.conversation_id or f"event {one.id}"
                at = self.now if one.created_at is None else one.created_at
                self.known[one.id] = Known(self.count, queue, at)

    def note(self, name: str, outcome: EventOutcome) -> None:
        """Note an outcome."""
        one = self.known[name]
        one.state, one.ended_at, one.ready_at = outcome.state, self.now, outcome.ready_at
        if outcome.state is not EventState.HANDLED:
            one.failures += 1
            one.failed_at = self.now if one.failed_at is None else one.failed_at

    def heads(self) -> dict[str, Known]:
        """Return the waiting events that may begin, by name."""
        by_queue: dict[str, list[tuple[float, int, str]]] = {}
        busy, held = set(), {}
        for name, one in self.known.items():
            if one.state is EventState.BEGUN:
                busy.add(one.queue)
            elif one.state is EventState.WAITING:
                by_queue.setdefault(one.queue, []).append((one.created_at, one.number, name))
                held[one.queue] = max(held.get(one.queue, 0.0), one.ready_at)
        return {
            name: self.known[name]
            for queue, waiting in by_queue.items()
            for _, _, name in [min(waiting)]
            if queue not in busy and held[queue] <= self.now
        }

    def begin(self, begun: list[StoredEvent], slots: HandlerSlots) -> None:
        """Check and begin the events that the inbox has begun."""
        heads = self.heads()
        assert {one.id for one in begun} <= set(heads)
        assert len(begun) == len({one.id for one in begun}) <= slots.free
        for one in begun:
            known = self.known[one.id]
            known.state, known.attempts = EventState.BEGUN, known.attempts + 1
            known.begun_at = self.now if known.begun_at is None else known.begun_at
            known.ready_at = 0.0
            expected = (known.attempts, known.failures, known.begun_at, known.failed_at)
            assert (one.attempt, one.failures, one.begun_at, one.failed_at) == expected
            known.stored = one.number
        if slots.retries == slots.free:
            assert len(begun) == min(slots.free, len(heads))

    def kill(self, *, waits: bool) -> None:
        """Let all begun events wait again; a monotonic clock, without *waits*, begins anew."""
        for one in self.known.values():
            one.ready_at = one.ready_at if waits else 0.0
            if one.state is EventState.BEGUN:
                one.state = EventState.WAITING

    def replay_or_drop(self, inbox: Inbox) -> None:
        """Replay or drop some of the dead letters."""
        letters = [name for name, one in self.known.items() if one.state is EventState.DEAD]
        assert sorted(ids(inbox.dead(100))) == sorted(letters)
        some = letters[: self.random.randrange(3)]
        replays = self.random.random() < 0.7
        assert (inbox.replay if replays else inbox.drop)(some) == len(some)
        for name in some:
            one = self.known[name]
            if replays:
                one.state, one.failures, one.ready_at = EventState.WAITING, 0, 0.0
                one.failed_at = None
            else:
                one.state, one.ended_at = EventState.HANDLED, inf  # by the clock

    def exchange(self, inbox: Inbox) -> None:
        """Exchange events and outcomes by chance, with the inbox and with the model."""
        random = self.random
        keep = random.choice([40.0, DAY])
        events = self.events()
        begun = [name for name, one in self.known.items() if one.state is EventState.BEGUN]
        states = [EventState.HANDLED, EventState.WAITING, EventState.DEAD]
        outcomes = {
            name: EventOutcome(
                self.known[name].stored,
                random.choice(states),
                "E",
                self.now + random.choice([0.0, 20.0]),
            )
            for name in random.sample(begun, k=len(begun) * 2 // 3)
        }
        free = random.randrange(5)
        slots = HandlerSlots(free, random.choice([free, free // 2]))
        self.forget(keep)
        for name, outcome in outcomes.items():
            self.note(name, outcome)
        self.add(events)
        started = exchange(inbox, events, outcomes.values(), slots, now=self.now, keep=keep)
        self.begin(started, slots)


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
@pytest.mark.parametrize("seed", range(sized(40, 2)))
def test_random_histories(
    tmp_path: Path, seed: int, kind: str, request: pytest.FixtureRequest
) -> None:
    """Through random exchanges, kills, replays and drops the inbox equals a plain dictionary."""
    model, inbox = Model(Random(seed)), opened(kind, tmp_path / "inbox.sqlite", request)
    for step in range(60):
        if isinstance(inbox, SQLiteInbox):
            inbox._database.rollback()  # else the speed can't be set
            inbox._database.execute("PRAGMA synchronous = OFF")
        model.now += model.random.choice([0.0, 1.0, 30.0])
        match model.random.randrange(12):
            case 0:
                before, inbox = inbox, killed(inbox, tmp_path / str(step), model.now)
                before.close()
                model.kill(waits=kind == "postgres")
            case 1 | 2:
                model.replay_or_drop(inbox)
            case _:
                model.exchange(inbox)
        assert counts(inbox) == Counter(one.state for one in model.known.values())
    inbox.close()
