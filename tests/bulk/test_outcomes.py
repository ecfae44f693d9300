"""Every exception out of `send`, through every way of sending: one outcome an item, none guessed."""

import asyncio
import builtins
import inspect
from collections.abc import Awaitable, Callable, Sequence
from itertools import count
from pathlib import Path
from typing import Any, Final

import anyio
import anyio.lowlevel
import pytest
from attrs import evolve
from support.backends import on_both
from support.patience import PATIENCE
from support.sends import OwnAbort

from sunshine_async import (
    ApiToken,
    BasicAuth,
    DixaClient,
    Pace,
    SmoochClient,
    SunshineClient,
    SunshineError,
    bulk,
    errors,
    jobs,
)
from sunshine_async.bulk import AbortedError, Done, Failed, Outcome, Unknown
from sunshine_async.bulk import batching as batches
from sunshine_async.bulk.batching import Limits, Sender
from sunshine_async.bulk.cancellation import error_after_doubt, error_after_sending, maybe_applied
from sunshine_async.emulator import Emulator
from sunshine_async.jobs import SUNSHINE, Job, Mode, Row, StoppedError
from sunshine_async.jobs.tasks.task import Batched, Task

pytestmark = pytest.mark.costly

BAD: Final = 3
"""The item that ends in the exception."""
ITEMS: Final = 12
ARGUMENTS: Final[dict[type, tuple[Any, ...]]] = {
    UnicodeDecodeError: ("utf-8", b"x", 0, 1, "why"),
    UnicodeEncodeError: ("utf-8", "x", 0, 1, "why"),
    UnicodeTranslateError: ("x", 0, 1, "why"),
    ExceptionGroup: ("why", [ValueError("x")]),
    BaseExceptionGroup: ("why", [asyncio.CancelledError()]),
}
OF_API: Final = {"endpoint": "POST /x"}
OURS: Final[dict[type, dict[str, Any]]] = {
    errors.SunshineError: {},
    errors.ConfigurationError: {},
    errors.TransportError: {**OF_API, "fault": "lost"},
    errors.ConnectError: {**OF_API, "fault": "unsent"},
    errors.RequestTimeoutError: {**OF_API, "fault": "timed out"},
    errors.ConnectionLostError: {**OF_API, "fault": "lost"},
    errors.ResponseDecodeError: {**OF_API, "path": "x", "status": 200},
    errors.WebhookError: {"status": 400},
}


class OwnError(Exception):
    """An exception of the caller's."""


def of_builtins() -> list[BaseException]:
    """Return one of each exception class that Python has, but for those that end a run."""
    kinds = {kind for kind in vars(builtins).values() if isinstance(kind, type)}
    return [
        kind(*ARGUMENTS.get(kind, ("why",)))
        for kind in sorted(kinds, key=lambda one: one.__name__)
        if issubclass(kind, BaseException)
        and not issubclass(kind, (KeyboardInterrupt, SystemExit, GeneratorExit))
    ]


def of_ours() -> list[SunshineError]:
    """Return each error of the library, once that it may have been applied, and once that it isn't."""
    kinds = {kind for kind in vars(errors).values() if isinstance(kind, type)}
    made: list[SunshineError] = []
    for kind in sorted(kinds, key=lambda one: one.__name__):
        if issubclass(kind, errors.SunshineError):
            for maybe_applied in (True, False, None):
                options = OURS.get(kind, OF_API)
                first: Any = 400 if issubclass(kind, errors.ApiError) else "why"
                error = kind(first, **options)
                error.maybe_applied = maybe_applied  # None says nothing
                made.append(error)
    return made


OTHERS: Final = [
    OwnError("why"),
    OwnAbort("why"),
    asyncio.CancelledError(),
    asyncio.InvalidStateError(),
    BaseExceptionGroup("why", [OwnAbort("why"), ValueError("x")]),
    anyio.ClosedResourceError(),
]
EVERY: Final[list[BaseException]] = [*of_builtins(), *of_ours(), *OTHERS]
CERTAIN: Final = (ValueError, TypeError)


def expected(error: BaseException) -> type:
    """Return the class of the outcome of an item that ends in *error*."""
    if isinstance(error, SunshineError):
        return Failed if error.maybe_applied is False else Unknown
    return Failed if isinstance(error, CERTAIN) else Unknown


Send = Callable[[int], Awaitable[int]]


async def in_bulk(send: Send, **options: Any) -> list[Outcome[int, int]]:
    """Return the outcomes of a run."""
    async with bulk.run(send, range(ITEMS), **options) as outcomes:
        return [outcome async for outcome in outcomes]


async def in_batches(send: Send, **options: Any) -> list[Outcome[int, int]]:
    """Return the outcomes of batches of one, whose sending gives results, or raises."""

    async def together(items: Sequence[int]) -> list[int | Exception]:
        try:
            return [await send(*items)]
        except ValueError as error:
            return [error]
        except TypeError as error:
            return [error]

    way: Sender[int, int] = Sender(lambda _: 1, lambda item: [("key", item)], together)
    limits = Limits(1, 100, 0.2, 4)
    async with batches.run(way, range(ITEMS), limits, **{"ordered": False, **options}) as outcomes:
        return [outcome async for outcome in outcomes]


WAYS: Final[dict[str, Any]] = {
    "plain": (in_bulk, {"concurrency": 4}),
    "ordered": (in_bulk, {"concurrency": 4, "ordered": True}),
    "key": (in_bulk, {"concurrency": 4, "key": lambda item: item % 5}),
    "auto": (in_bulk, {"concurrency": "auto"}),
    "batches": (in_batches, {}),
    "ordered batches": (in_batches, {"ordered": True}),
}


def fails_with(error: BaseException) -> Send:
    """Return what sends all items but `BAD`."""

    async def send(item: int) -> int:
        await anyio.lowlevel.checkpoint()
        if item == BAD:
            raise error
        return item

    return send


@on_both
@pytest.mark.parametrize("way", WAYS)
async def test_each_exception_is_the_outcome_of_its_item(way: str) -> None:
    """Each class of exception is the outcome of its item, and no other item suffers."""
    run, options = WAYS[way]

    for error in EVERY:
        outcomes = sorted(await run(fails_with(error), **options), key=lambda one: one.index)

        assert [one.index for one in outcomes] == [*range(ITEMS)], repr(error)
        bad = outcomes.pop(BAD)
        assert all(isinstance(one, Done) for one in outcomes), repr(error)
        assert type(bad) is expected(error), repr(error)
        if not isinstance(error, (StopIteration, StopAsyncIteration)):
            assert error in (bad.error, bad.error.__cause__), repr(error)  # type: ignore[union-attr]


@on_both
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(3), GeneratorExit()], ids=repr)
async def test_what_ends_a_program_ends_a_run(way: str, error: BaseException) -> None:
    """`KeyboardInterrupt`, `SystemExit` and `GeneratorExit` end the run, as themselves."""
    run, options = WAYS[way]
    ended: list[int] = []

    async def send(item: int) -> int:
        if item == BAD:
            raise error
        try:
            await anyio.sleep_forever()
        finally:
            ended.append(item)
        return item

    with pytest.raises(type(error)) as caught:
        await run(send, **options)
    assert caught.value is error
    assert len(ended) == 3


@pytest.mark.parametrize("concurrency", [2, "auto"])
async def test_a_function_that_is_not_async_leaves_unknown_items(concurrency: Any) -> None:
    """A plain function may have sent the item: the outcome is `Unknown`, and the error says why."""
    sent: list[int] = []
    send: Any = sent.append

    found = await bulk.collect(send, range(5, 8), concurrency=concurrency)

    assert sorted(sent) == [5, 6, 7]
    assert [(outcome.index, outcome.item) for outcome in found] == [(0, 5), (1, 6), (2, 7)]
    for outcome in found:
        assert isinstance(outcome, Unknown)
        assert str(outcome.error) == (
            "send must be a coroutine function (async def): it returned NoneType, at once"
        )


async def test_a_fault_of_the_sending_of_a_batch_is_unknown() -> None:
    """An exception of a batch as a whole may have come after the request: no item is `Failed`."""
    for wrong in (ValueError("x"), TypeError("x"), [1], [1, 2, 3], None):

        async def send(_: Sequence[int], wrong: Any = wrong) -> Any:
            if isinstance(wrong, Exception):
                raise wrong
            return wrong

        way: Sender[int, int] = Sender(lambda _: 1, lambda _: (), send)
        async with batches.run(way, [1, 2], Limits(2, 100, 9, 1), ordered=False) as outcomes:
            found = [outcome async for outcome in outcomes]
        assert [type(one) for one in found] == [Unknown, Unknown], wrong


@pytest.mark.parametrize("error", [LookupError("x"), OwnAbort("x"), TimeoutError("x")], ids=repr)
async def test_an_item_without_a_size_fails_alone(error: BaseException) -> None:
    """An exception of a size function fails the item: nothing was sent."""

    def size(item: int) -> int:
        if item == 1:
            raise error
        return 1

    async def send(items: Sequence[int]) -> Sequence[int]:
        return items

    way: Sender[int, int] = Sender(size, lambda _: (), send)
    async with batches.run(way, range(3), Limits(3, 100, 9, 1), ordered=True) as outcomes:
        found = [outcome async for outcome in outcomes]
    assert [type(one) for one in found] == [Done, Failed, Done]


class Unequal:
    """A key that can't be compared."""

    def __hash__(self) -> int:
        raise LookupError


@on_both
@pytest.mark.parametrize("ordered", [False, True])
@pytest.mark.parametrize(
    "wrong",
    [KeyError("x"), ValueError("x"), OwnAbort("x"), TimeoutError("x"), ["a"], {}, Unequal()],
    ids=lambda wrong: type(wrong).__name__,
)
async def test_a_key_that_is_none_fails_its_item(wrong: Any, *, ordered: bool) -> None:
    """An item whose key raises, or isn't hashable, has failed; running calls go on."""
    sent: list[int] = []

    def key(item: int) -> Any:
        if item % 4 == 1:
            if isinstance(wrong, BaseException):
                raise wrong
            return wrong
        return item % 2

    async def send(item: int) -> int:
        await anyio.lowlevel.checkpoint()
        sent.append(item)
        return item

    outcomes = await in_bulk(send, key=key, ordered=ordered, concurrency=3)
    assert all(one.item == one.index for one in outcomes)
    kinds = {one.index: type(one) for one in outcomes}
    assert kinds == {n: Failed if n % 4 == 1 else Done for n in range(ITEMS)}
    assert len(outcomes) == ITEMS
    assert sorted(sent) == [n for n in range(ITEMS) if n % 4 != 1]


class TestWrongArguments:
    """Arguments that can't work are one error, at the call."""

    @pytest.mark.parametrize("odd", [None, 5, {"externalId": "a"}, object], ids=str)
    async def test_a_wrong_argument_is_never_unknown(self, odd: Any, emulator: Emulator) -> None:
        """A method that is handed a wrong argument sends nothing, and says so."""
        options: Any = {"auth": BasicAuth("k", "s"), "transport": emulator.transport()}
        clients = (SunshineClient("app", **options), SmoochClient("app", **options),
                   DixaClient(auth=ApiToken("t"), transport=options["transport"]))  # fmt: skip
        resources = [
            resource
            for client in clients
            for resource in (getattr(client, name) for name in dir(client) if name[0] != "_")
            if hasattr(resource, "_transport")
        ]
        calls = [
            method
            for resource in resources
            for name, method in inspect.getmembers(resource, inspect.iscoroutinefunction)
            if name[0] != "_"
        ]
        assert len(calls) > 80

        for call in calls:
            needed = [
                name
                for name, argument in inspect.signature(call).parameters.items()
                if argument.default is argument.empty
            ]
            for wrong in needed:
                arguments = {name: odd if name == wrong else "x" for name in needed}
                [outcome] = await bulk.collect(lambda _, c=call, a=arguments: c(**a), [0])
                assert not isinstance(outcome, Unknown), (call, arguments)

    @pytest.mark.parametrize("send", [None, 5, "create"])
    async def test_no_function(self, send: Any) -> None:
        """The sender has to be a function."""
        with pytest.raises(TypeError, match="send must be a function"):
            bulk.run(send, [1])
        with pytest.raises(TypeError, match="send must be a function"):
            await bulk.collect(send, [1])

    async def test_no_key_function(self) -> None:
        """So has *key*, and so has *alone*."""
        with pytest.raises(TypeError, match="key must be a function"):
            bulk.run(fails_with(ValueError()), [1], key="id")  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="alone must be a function, not bool"):
            bulk.run(fails_with(ValueError()), [1], alone=True)  # type: ignore[arg-type]

    @pytest.mark.parametrize("items", [5, None, "abc", b"ab", bytearray()], ids=repr)
    async def test_no_items(self, items: Any) -> None:
        """A number is not many items; nor is a text, or bytes."""
        users = SunshineClient("app", auth=BasicAuth("k", "s")).users
        with pytest.raises(TypeError, match="items"):
            bulk.run(fails_with(ValueError()), items)
        with pytest.raises(TypeError, match="items"):
            users.delete_many(items)
        with pytest.raises(TypeError, match="items"):
            batches.run(Sender(len, list, fails_with), items, Limits(1, 1, 1, 1), ordered=True)  # type: ignore[arg-type]

    @pytest.mark.parametrize("concurrency", [0, -1, True, "x", 1.5, None, float("nan")])
    async def test_no_concurrency(self, concurrency: Any) -> None:
        """A concurrency is a number from 1 on, or "auto"."""
        with pytest.raises(ValueError, match="concurrency="):
            bulk.run(fails_with(ValueError()), [1], concurrency=concurrency)
        with pytest.raises(ValueError, match="concurrency="):
            Limits(1, 1, 1, concurrency)

    @pytest.mark.parametrize("batch_size", [True, "5", 1.5])
    async def test_no_batch_size(self, batch_size: Any) -> None:
        """A batch size is a number, and so is the time to linger."""
        with pytest.raises(ValueError, match="batch_size="):
            Limits(batch_size, 1, 1, 1)
        with pytest.raises(ValueError, match="linger="):
            Limits(1, 1, "soon", 1)  # type: ignore[arg-type]

    async def test_an_old_sequence_is_many_items(self) -> None:
        """A sequence with nothing but indexes is an iterable of items, too."""

        class Three:
            def __getitem__(self, index: int) -> int:
                return [0, 1, 2][index]

        found = await bulk.collect(fails_with(ValueError()), Three())  # type: ignore[arg-type]
        assert [type(one) for one in found] == [Done] * 3


class TestJobs:
    """The same, of a job: with a journal and without."""

    @pytest.mark.parametrize("journal", [False, True])
    @pytest.mark.parametrize("together", [False, True])
    async def test_each_exception_is_the_outcome_of_its_row(
        self, tmp_path: Path, *, journal: bool, together: bool
    ) -> None:
        """Each class of exception is the outcome of its row, and no other row suffers."""
        ended: list[type] = [StoppedError, *errors.SunshineError.__subclasses__()]
        numbers = count()
        for error in EVERY:
            if isinstance(error, tuple(ended)) and not isinstance(error, errors.NotFoundError):
                continue  # an outage, or the job gives up: tested with those
            service = evolve(SUNSHINE, tasks={Mode.CREATE: failing_task(error, together=together)})
            rows: Any = [Row(n, {"externalId": str(n)}) for n in range(ITEMS)]
            path = tmp_path / f"{next(numbers)}.sqlite"
            with anyio.fail_after(PATIENCE):
                if journal:
                    async with jobs.open(path, client_of(Emulator()), service, Mode.CREATE) as job:
                        report = await job.run([row.data for row in rows])
                else:
                    report = await Job(client_of(Emulator()), service, Mode.CREATE).run(rows)
            troubles = report.failed + report.bad
            certain = expected(error) is Failed
            if together and not isinstance(error, SunshineError):
                certain = False  # raised by what sends many: a request may have left
            assert (report.done, report.unknown, troubles) == (
                (ITEMS - 1, 0, 1) if certain else (ITEMS - 1, 1, 0)
            ), repr(error)
            assert report.ending is jobs.Ending.ALL


def client_of(emulator: Emulator) -> SunshineClient:
    """Return a client of *emulator*."""
    return SunshineClient(
        "app", auth=BasicAuth("k", "s"), transport=emulator.transport(), pace=Pace()
    )


def failing_task(error: BaseException, *, together: bool) -> Task:
    """Return a task whose row `BAD` ends in *error*."""
    task = SUNSHINE.tasks[Mode.CREATE]

    async def send(_: Any, entry: Any) -> object:
        await anyio.lowlevel.checkpoint()
        if entry.body.external_id == str(BAD):
            raise error
        return None

    async def send_together(entries: Sequence[Any]) -> list[Any]:
        return [await send(None, entry) for entry in entries]

    way: Sender[Any, Any] = Sender(
        lambda _: 1, lambda entry: [entry.body.external_id], send_together
    )
    return evolve(task, send=Batched(lambda _: way, batch_size=1) if together else send)


def test_an_aborted_call_has_its_cause() -> None:
    """The error of an aborted call is a `SunshineError` that names the exception, its cause."""

    async def scenario() -> None:
        [outcome] = (await in_bulk(fails_with(OwnAbort("secret"))))[BAD : BAD + 1]
        assert isinstance(outcome, Unknown)
        assert isinstance(outcome.error, AbortedError)
        assert isinstance(outcome.error.__cause__, OwnAbort)
        assert "OwnAbort" in str(outcome.error)
        assert "secret" not in str(outcome.error)

    anyio.run(scenario)


def test_an_error_tells_of_the_service_what_is_certain() -> None:
    """Only an error that is certain says "not applied"; a doubt is added to a copy, never taken."""
    sure = errors.NotFoundError(404, **OF_API)
    doubt = SunshineError("lost", maybe_applied=True)
    odd, foreign = ValueError("x"), LookupError("x")
    kinds = (None, 5, odd, TypeError("x"), sure, doubt, foreign)
    assert [maybe_applied(kind) for kind in kinds] == [*[False] * 5, True, True]

    assert [error_after_sending(each) for each in (sure, doubt, foreign)] == [sure, doubt, foreign]
    assert not sure.maybe_applied
    for unread in (error_after_sending(odd), error_after_doubt(odd)):
        assert maybe_applied(unread)
        assert unread.__cause__ is odd

    assert [error_after_doubt(each) for each in (doubt, foreign)] == [doubt, foreign]
    copied = error_after_doubt(sure)
    assert isinstance(copied, errors.NotFoundError)
    assert (copied.maybe_applied, sure.maybe_applied) == (True, False)
