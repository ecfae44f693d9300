"""A job held while its service is gone: how it finds out, and what its probe may meet."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import anyio
import pytest
from support.patience import PATIENCE
from support.virtual import sleep, virtual_on_trio

from sunshine_async import NotFoundError, Pace, ServerError
from sunshine_async._pace.pace import Sign
from sunshine_async.errors import ConnectError, Fault, RateLimitError, SunshineError
from sunshine_async.jobs.outage import MANY, OutageWatch

GONE = ConnectError(
    "refused", fault=Fault.UNSENT, endpoint="GET /x", attempts=1, maybe_applied=False
)
UNTRUSTED = ConnectError(
    "untrusted", fault=Fault.PERMANENT, endpoint="GET /x", attempts=1, maybe_applied=False
)


@asynccontextmanager
async def watching(
    *errors: Exception, probes: list[float] | None = None
) -> AsyncGenerator[tuple[OutageWatch, Pace, list[str]]]:
    """Give a watch whose probe meets *errors*, the pace, and what the watch gives up with.

    *probes* gets the time of each probe.
    """
    pace, said, left = Pace(), list[str](), list(errors)

    async def probe(_: bool) -> None:  # noqa: FBT001 - as the watch calls it
        if probes is not None:
            probes.append(anyio.current_time())
        if left:
            raise left.pop(0)
        pace.enter(anyio.current_time())
        pace.leave(now=anyio.current_time())

    watch = OutageWatch(pace, probe, said.append, max_outage=60, at_first=10)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(watch.run)
        watch.begin_call(0)
        await sleep(1)
        yield watch, pace, said
        watch.close()


def fail(pace: Pace) -> None:
    """Let calls of *pace* fail until it holds batches."""
    for _ in range(10):
        pace.enter(anyio.current_time())
        now = anyio.current_time()
        pace.leave(sign=Sign.FAILED, now=now, began=now)


@virtual_on_trio
@pytest.mark.parametrize(
    "errors", [(), (ServerError(503, endpoint="GET /x"),), (RuntimeError("no token"),) * 3]
)
async def test_it_hears_from_the_pace(errors: tuple[Exception, ...]) -> None:
    """Where the pace holds calls back rows are held, until the probe is answered; whatever it meets."""
    async with watching(*errors) as (watch, pace, said):
        watch.record_answer()
        fail(pace)
        await sleep(0.1)
        assert watch.held
        await watch.wait(0)
        assert watch.seconds > 0
        assert not said


@virtual_on_trio
async def test_it_gives_up_in_time() -> None:
    """A probe that is never answered ends with what it met last."""
    async with watching(*[RuntimeError("no token")] * 100) as (watch, pace, said):
        watch.record_answer()
        fail(pace)
        await sleep(61)
        assert said[0].startswith("the service has been gone for ")
        assert "no token" in said[0]


@virtual_on_trio
async def test_it_gives_up_sooner_where_nothing_was_ever_there() -> None:
    """Before the first answer it waits less: the address may be wrong."""
    async with watching(*[RuntimeError("no token")] * 100) as (_, pace, said):
        fail(pace)
        await sleep(11)
        assert said[0].startswith("the service has not answered once in ")


async def waited_out(watch: OutageWatch, said: list[str]) -> None:
    """Lose a call, and see that the watch gives up 60 s later."""
    watch.record_loss(GONE, answers=watch.answers)
    await sleep(59)
    assert not said
    await sleep(1)
    assert said[0].startswith("the service has been gone for 60 s")


@virtual_on_trio
async def test_an_answer_begins_the_wait_anew() -> None:
    """The seconds of `max_outage` count from the last answer, not from the start of the job."""
    async with watching(*[GONE] * 100) as (watch, _, said):
        await sleep(50)
        watch.record_answer()
        await waited_out(watch, said)


@virtual_on_trio
async def test_no_answer_is_missed_while_no_call_is_under_way() -> None:
    """A source that gives no rows for long is no outage: seconds count from the next call."""
    async with watching(*[GONE] * 100) as (watch, _, said):
        watch.record_answer()
        watch.end_call(0)
        await sleep(1000)
        watch.begin_call(0)
        await waited_out(watch, said)


@virtual_on_trio
async def test_nothing_gives_up_while_no_call_is_under_way() -> None:
    """After the last call was lost the watch goes on asking: no row waits for an answer."""
    probes = list[float]()
    async with watching(*[GONE] * 100, probes=probes) as (watch, pace, said):
        watch.record_answer()
        fail(pace)
        watch.end_call(0)
        await sleep(1000)
        assert watch.held
        assert not said
        assert len(probes) > 30


@virtual_on_trio
async def test_the_waits_between_probes_double_in_each_outage() -> None:
    """Probes come after 0.5, 1, 2 s and so on, and after 0.5 s again in a later outage."""
    probes = list[float]()
    async with watching(GONE, GONE, ServerError(503, endpoint="GET /x"), probes=probes) as (
        watch,
        *_,
    ):
        for _ in range(2):
            watch.record_answer()
            began = anyio.current_time()
            watch.record_loss(GONE, answers=watch.answers)
            assert watch.held
            await watch.wait(0)
            waits = [round(now - began, 3) for now in probes]
            assert waits == ([0.5, 1.5, 3.5, 7.5] if len(waits) == 4 else [0.5])
            assert watch.seconds == pytest.approx(7.5 if len(waits) == 4 else 8.0)
            probes.clear()
            await sleep(5)
    assert watch.seconds == pytest.approx(8.0)


@virtual_on_trio
async def test_a_probe_waits_as_the_service_asks() -> None:
    """The `Retry-After` of the last error goes before a shorter wait."""
    probes = list[float]()
    async with watching(probes=probes) as (watch, *_):
        watch.record_answer()
        began = anyio.current_time()
        asked = RateLimitError(429, endpoint="GET /x", retry_after=9.0)
        watch.record_loss(asked, answers=watch.answers)
        await watch.wait(0)
    assert probes == [began + 9]


@virtual_on_trio
async def test_a_long_retry_after_ends_no_job() -> None:
    """A `Retry-After` past *max_outage* is no reason to give up: the last probe comes shortly before."""
    probes = list[float]()
    asked = ServerError(503, endpoint="GET /x", retry_after=3600.0)
    async with watching(*[asked] * 9, probes=probes) as (watch, _, said):
        watch.record_answer()
        began = anyio.current_time()
        watch.record_loss(asked, answers=watch.answers)
        await sleep(59.9)
        assert not said
        assert probes == [began + 59.5]
        await sleep(0.2)
        assert said[0].startswith("the service has been gone for 60 s")


@virtual_on_trio
async def test_no_watch_gives_up_without_a_probe() -> None:
    """A call may take longer than *max_outage*, as a row that hangs: the service is asked first."""
    async with watching(GONE, probes=[]) as (watch, _, said):
        watch.record_answer()
        await sleep(100)
        watch.record_loss(GONE, answers=watch.answers)
        await sleep(1.1)
        assert said[0].startswith("the service has been gone for 100 s")
    probes = list[float]()
    async with watching(probes=probes) as (watch, _, said):
        await sleep(100)
        watch.record_loss(GONE, answers=watch.answers)
        await watch.wait(0)
        assert len(probes) == 1
        assert not said


@virtual_on_trio
@pytest.mark.parametrize(
    ("error", "ends"), [(NotFoundError(404, endpoint="GET /x"), True), (GONE, False)]
)
async def test_any_answer_to_a_probe_ends_the_outage(error: SunshineError, *, ends: bool) -> None:
    """A refusal proves that the service is there; a lost answer does not."""
    probes = list[float]()
    async with watching(error, probes=probes) as (watch, *_):
        watch.record_answer()
        watch.record_loss(GONE, answers=watch.answers)
        await watch.wait(0)
    assert len(probes) == (1 if ends else 2)


async def go(watch: OutageWatch, number: int, gone: list[int]) -> None:
    """Add *number* to *gone* when a held call goes."""
    await watch.wait(number)
    gone.append(number)


@virtual_on_trio
async def test_after_many_losses_single_calls_go_until_one_is_answered() -> None:
    """An answered probe lets one call go: the next goes after the next probe, all after an answer.

    A call that tells nothing of the service, such as a look-up, lets the next go at once.
    """
    gone, probes = list[int](), list[float]()
    async with watching(probes=probes) as (watch, *_), anyio.create_task_group() as waiting:
        watch.record_answer()
        answers = watch.answers
        for number in range(MANY):
            watch.record(number, [GONE], answers=answers)

        for number in range(5):
            waiting.start_soon(go, watch, number, gone)
        await sleep(0.6)
        assert len(gone) == len(probes) == 1
        watch.record(gone[0], [GONE], answers=answers)
        await sleep(1)
        assert len(gone) == len(probes) == 2
        watch.record(gone[1], [ValueError("no outcome")], answers=answers)
        await sleep(0.1)
        assert (len(gone), len(probes)) == (3, 2)
        assert watch.held
        watch.record(gone[2], [NotFoundError(404, endpoint="GET /x")], answers=answers)
        await sleep(0.1)
        assert (len(gone), len(probes)) == (5, 2)
        assert not watch.held

        watch.record(9, [ValueError("no outcome")], answers=watch.answers)
        watch.record(9, [GONE], answers=watch.answers)
        waiting.start_soon(go, watch, 9, gone)
        await sleep(0.1)
        assert gone[-1] != 9


@virtual_on_trio
async def test_seconds_count_over_single_calls() -> None:
    """Calls that go one after another without an answer begin no wait anew; nor do answered reads."""
    probes = list[float]()
    async with watching(probes=probes) as (watch, _, said):
        watch.record_answer()
        answers, began = watch.answers, anyio.current_time()
        for number in range(MANY):
            watch.record(number, [GONE], answers=answers)
        while not said:
            watch.record(len(probes), [GONE], answers=watch.answers)
            watch.end_call(0)
            watch.begin_call(0)
            await watch.wait(0)
        assert said[0].startswith("the service answers reads, but has not answered a row for ")
        assert 59 < anyio.current_time() - began <= 60
        assert len(probes) > 5
        assert watch.answers == answers


@virtual_on_trio
async def test_calls_that_were_not_sent_blame_no_service() -> None:
    """Many calls that begin after a loss wait, and have missed no answer: an answered probe lets them go."""
    gone = list[int]()
    async with watching() as (watch, _, said), anyio.create_task_group() as waiting:
        watch.record_answer()
        await sleep(100)
        watch.record(0, [GONE], answers=watch.answers)
        for number in range(1, 2 * MANY):
            watch.begin_call(number)
            waiting.start_soon(go, watch, number, gone)
        await sleep(0.6)
        assert len(gone) == 2 * MANY - 1
        assert not said


@virtual_on_trio
async def test_a_call_that_tells_nothing_begins_the_wait_anew() -> None:
    """A row that ends without a loss, such as one that a look-up settles, is no outage."""
    async with watching() as (watch, _, said):
        for number in range(MANY):
            watch.begin_call(number)
        await sleep(59)
        watch.record(1, [ValueError("no outcome")], answers=watch.answers)
        await sleep(59)
        watch.record(2, [GONE], answers=watch.answers)
        await sleep(0.6)
        assert not said


@virtual_on_trio
async def test_an_unanswered_probe_lets_no_call_go() -> None:
    """A turn that no call has taken ends with the next probe, if that has no answer."""
    errors = [NotFoundError(404, endpoint="GET /x"), *[GONE] * 9]
    gone, probes = list[int](), list[float]()
    async with watching(*errors, probes=probes) as (watch, *_):
        answers = watch.answers
        for number in range(MANY):
            watch.record(number, [GONE], answers=answers)
        await sleep(2)
        assert len(probes) == 2
        async with anyio.create_task_group() as waiting:
            waiting.start_soon(go, watch, 1, gone)
            await sleep(10)
            assert not gone
            waiting.cancel_scope.cancel()


@virtual_on_trio
async def test_a_few_rows_that_fail_again_and_again_are_no_outage() -> None:
    """Each loss of one row counts once: an answered probe lets all rows go."""
    gone = list[int]()
    async with watching() as (watch, *_), anyio.create_task_group() as waiting:
        watch.record_answer()
        for _ in range(2 * MANY):
            watch.record(1, [GONE], answers=watch.answers)

        for number in range(5):
            waiting.start_soon(go, watch, number, gone)
        await sleep(0.6)
        assert len(gone) == 5


@virtual_on_trio
async def test_a_permanent_fault_is_not_waited_for() -> None:
    """No retry mends an untrusted certificate: the watch gives up at once, without a probe."""
    probes = list[float]()
    async with watching(probes=probes) as (watch, _, said):
        watch.record_answer()
        watch.record_loss(UNTRUSTED, answers=watch.answers)
        await watch.wait(0)
        assert "untrusted" in said[0]
        assert not probes


@virtual_on_trio
async def test_a_loss_between_answers_is_no_outage() -> None:
    """Where another row was answered during the call, or the watch has ended, nothing is held."""
    async with watching(GONE) as (watch, *_):
        assert watch.seconds == 0
        watch.record_answer()
        watch.record_loss(GONE, answers=watch.answers - 1)
        assert not watch.held
        assert not watch.reason
        watch.close()
        watch.record_loss(GONE, answers=watch.answers)
        with anyio.fail_after(PATIENCE):
            await watch.wait(0)
        assert watch.reason == str(GONE)
