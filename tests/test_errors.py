"""The errors: one tree, sentences for a log, and nothing lost between processes."""

import copy
import importlib
import inspect
import json
import multiprocessing
import pickle
import pkgutil
import re
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from itertools import product
from typing import Any, Final

import pytest
from celery import Celery
from support.raising import raise_it

import sunshine_async
from sunshine_async import errors
from sunshine_async._calls.context import uncertain
from sunshine_async._calls.transport import MockError
from sunshine_async._codec import Misfit
from sunshine_async.errors import (
    ApiError,
    ConfigurationError,
    ConflictError,
    ConnectionLostError,
    ErrorDetail,
    Fault,
    NotFoundError,
    RequestTimeoutError,
    ResponseDecodeError,
    SunshineError,
    TransportError,
    WebhookError,
    error_class,
)
from sunshine_async.rows.shape import SourceError

ENDPOINT = "PATCH /v2/apps/{app_id}/users/{user_id_or_external_id}"
DETAILS = (ErrorDetail("bad_request", "Invalid email"), ErrorDetail(None, "Invalid name"))

STATUSES = {
    400: "BadRequestError",
    401: "AuthenticationError",
    402: "PaymentRequiredError",
    403: "PermissionDeniedError",
    404: "NotFoundError",
    409: "ConflictError",
    413: "PayloadTooLargeError",
    423: "LockedError",
    429: "RateLimitError",
}

TREE = {
    "SunshineError": "Exception",
    "ConfigurationError": "SunshineError",
    "ApiError": "SunshineError",
    **dict.fromkeys(STATUSES.values(), "ApiError"),
    "ServerError": "ApiError",
    "TransportError": "SunshineError",
    "ConnectError": "TransportError",
    "RequestTimeoutError": "TransportError",
    "ConnectionLostError": "TransportError",
    "ResponseDecodeError": "SunshineError",
    "WebhookError": "SunshineError",
}


def tree(root: type[SunshineError]) -> Iterator[type[SunshineError]]:
    """Yield *root* and every class of error that the package makes below it."""
    yield root
    for kind in root.__subclasses__():
        if kind.__module__.startswith("sunshine_async."):
            yield from tree(kind)


for module in pkgutil.walk_packages(sunshine_async.__path__, "sunshine_async."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)

KINDS = sorted(set(tree(SunshineError)), key=lambda kind: kind.__name__)
OF_CALLS = [kind for kind in KINDS if kind.__module__ == errors.__name__]


def example(kind: type[SunshineError]) -> SunshineError:
    """Return an error of *kind* with all that it can hold."""
    if issubclass(kind, ApiError):
        return kind(
            418,
            endpoint=ENDPOINT,
            errors=DETAILS,
            request_id="request-1",
            retry_after=1.5,
            attempts=3,
            maybe_applied=True,
        )
    if issubclass(kind, TransportError):
        return kind("it broke", fault=Fault.LOST, endpoint=ENDPOINT, attempts=2, maybe_applied=True)
    if issubclass(kind, ResponseDecodeError):
        return kind("missing", path="user.id", status=200, endpoint=ENDPOINT, maybe_applied=True)
    if issubclass(kind, WebhookError):
        return kind("no list of events", {"advice": "Hand in the body"}, status=400)
    if issubclass(kind, SourceError):
        return kind("no field", options=["--only-mapped"], maybe_applied=True)
    return kind("something", maybe_applied=True)


def variants(kind: type[SunshineError]) -> Iterator[SunshineError]:
    """Yield errors of *kind* with every combination of the values that change after creation."""
    bare = [kind(404)] if issubclass(kind, ApiError) else [kind("something")]
    makes: list[Callable[[], SunshineError]] = [lambda: example(kind), lambda: copy.copy(bare[0])]
    if issubclass(kind, ApiError):
        makes += [
            lambda: kind(429, endpoint=ENDPOINT, retry_after=0.0, attempts=0),
            lambda: kind(401, endpoint=ENDPOINT, advice="Set the clock", errors=DETAILS[:1]),
        ]
    if issubclass(kind, ResponseDecodeError):
        makes.append(lambda: kind("not JSON", body=b"Jane", id="1", maybe_applied=False))
    if issubclass(kind, TransportError):
        makes += [lambda fault=fault: kind("x", fault=fault) for fault in Fault]
    yield from bare
    for make, doubt, spent, page, note in product(makes, *[(False, True)] * 4):
        error = make()
        error.maybe_applied, error.retry_budget_spent = doubt, spent
        if page:
            error.from_page = "/v1/endusers?page=2"
        if note:
            error.add_note("of item 7")
        yield error


@cache
def celery(serializer: str) -> Any:
    """Return where Celery keeps results, with *serializer*."""
    app = Celery("tests", broker="memory://", backend="cache+memory://", set_as_current=False)
    app.conf.update(result_serializer=serializer, accept_content=[serializer])
    return app.backend


def by_celery(error: SunshineError, serializer: str) -> Any:
    """Return *error* as the caller of a task of Celery gets it."""
    backend = celery(serializer)
    backend.mark_as_failure(serializer, error)
    return backend.get_result(serializer)


def by_group(error: SunshineError) -> Any:
    """Return *error* out of a group in a group that was pickled."""
    group = ExceptionGroup("all", [ValueError("x"), ExceptionGroup("some", [error])])
    again = pickle.loads(pickle.dumps(group))  # noqa: S301 - our own
    return again.exceptions[1].exceptions[0]


WAYS: Final[dict[str, Callable[[SunshineError], Any]]] = {
    "args": lambda error: type(error)(*error.args),
    "args as JSON": lambda error: type(error)(*json.loads(json.dumps(error.args))),
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "Celery, JSON": lambda error: by_celery(error, "json"),
    "Celery, pickle": lambda error: by_celery(error, "pickle"),
    "group": by_group,
    **{
        f"pickle {protocol}": lambda error, protocol=protocol: pickle.loads(  # noqa: S301 - our own
            pickle.dumps(error, protocol)
        )
        for protocol in range(pickle.HIGHEST_PROTOCOL + 1)
    },
}
"""The ways of an error from one place to another."""


def public(error: SunshineError) -> dict[str, object]:
    """Return all that can be asked of *error*."""
    values = {name: getattr(error, name, None) for name in dir(error) if not name.startswith("_")}
    return {name: value for name, value in values.items() if not callable(value)}


def test_the_tree_is_the_documented_one() -> None:
    """Each class of what a call can end in has the base that is documented; there are no others."""
    assert {kind.__name__: kind.__bases__[0].__name__ for kind in OF_CALLS} == TREE


def test_the_docstring_draws_the_tree() -> None:
    """The module's docstring names every class under its base, and none that isn't there."""
    drawn = re.findall(r"^( *[│├└─ ]*)(\w+Error)\b", errors.__doc__ or "", re.MULTILINE)
    levels: list[str] = []
    bases = {}
    for indent, name in drawn:
        del levels[(len(indent) - 4) // 4 :]
        bases[name] = levels[-1] if levels else "Exception"
        levels.append(name)

    assert bases == TREE


def test_every_class_of_error_is_exported() -> None:
    """What can be raised can be imported from the package."""
    assert all(getattr(sunshine_async, kind.__name__) is kind for kind in OF_CALLS)


def test_errors_are_also_the_built_in_kinds() -> None:
    """A timeout is caught as `TimeoutError`, a bad configuration as `ValueError`; others aren't."""
    built_in = {
        kind.__name__: [base.__name__ for base in kind.__bases__[1:]]
        for kind in OF_CALLS
        if len(kind.__bases__) > 1
    }

    assert built_in == {
        "ConfigurationError": ["ValueError"],
        "RequestTimeoutError": ["TimeoutError"],
    }


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", KINDS)
def test_an_error_travels(kind: type[SunshineError], way: str) -> None:
    """An error arrives with the same type, text, attributes and notes, and without the body."""
    for error in variants(kind):
        again = WAYS[way](error)

        assert type(again) is kind
        assert str(again) == str(error)
        assert repr(again) == repr(error)
        assert public(again) == {**public(error), **({"body": None} if "body" in dir(kind) else {})}
        assert getattr(again, "__notes__", []) == getattr(error, "__notes__", [])
        assert json.loads(json.dumps(error.args)) == list(error.args)  # JSON values, and no more


def test_errors_travel_between_processes() -> None:
    """An error of a function in another process is raised here as it was raised there."""
    errors = [error for kind in OF_CALLS for error in variants(kind)][::7]
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as processes:
        futures = [processes.submit(raise_it, error) for error in errors]
        for error, future in zip(errors, futures, strict=True):
            again = future.exception()
            assert type(again) is type(error)
            assert (str(again), again.args) == (str(error), error.args)


class CallersError(NotFoundError):
    """An error of a caller's, with a constructor of its own."""

    def __init__(self, row: int) -> None:
        super().__init__(404, endpoint=ENDPOINT)
        self.row = row


@pytest.mark.parametrize("way", ["copy", "deepcopy", "group", "Celery, pickle"])
def test_an_error_of_a_caller_travels(way: str) -> None:
    """A subclass with another constructor, and attributes of its own, pickles and copies."""
    again = WAYS[way](CallersError(7))

    assert (type(again), again.row, str(again)) == (
        CallersError,
        7,
        str(NotFoundError(404, endpoint=ENDPOINT)),
    )


def test_an_error_of_a_newer_version_arrives() -> None:
    """A fault, a reason's key and an attribute that this version doesn't know do no harm."""
    lost = TransportError("it broke", {"fault": "teleported", "endpoint": ENDPOINT, "region": "eu"})
    refused = ApiError(418, {"errors": [{"code": "a", "title": None, "field": "x"}]})

    assert isinstance(lost.fault, Fault)
    assert (lost.fault, str(lost)[:8]) == ("teleported", "it broke")
    assert not hasattr(lost, "region")
    assert refused.errors == (ErrorDetail("a", None),)
    assert pickle.loads(pickle.dumps(lost)).fault == "teleported"  # noqa: S301 - our own
    with pytest.raises(ValueError, match="7 is not a valid Fault"):
        Fault(7)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", KINDS)
def test_an_error_copies(kind: type[SunshineError]) -> None:
    """A copy of an error says the same, and a note on it stays off the first."""
    error = example(kind)
    again = copy.deepcopy(error)
    again.add_note("of item 7")

    assert (type(again), str(again)) == (kind, str(error))
    assert not hasattr(error, "__notes__")


def test_a_misfit_pickles() -> None:
    """What is wrong with a value can be told in another process."""
    error = Misfit("missing", "user.id")
    again = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own

    assert (type(again), str(again), again.path, again.reason) == (
        Misfit,
        "user.id: missing",
        "user.id",
        "missing",
    )


def test_each_status_has_its_kind() -> None:
    """A status has the kind of the table; another 5xx is `ServerError`, the rest `ApiError`."""
    kinds = {status: error_class(status).__name__ for status in range(300, 700)}

    assert kinds == {
        status: STATUSES.get(status, "ServerError" if status >= 500 else "ApiError")
        for status in kinds
    }


def test_the_message_of_an_api_error_says_what_and_where() -> None:
    """Status, codes, titles, endpoint, attempts, and whether the service may have acted."""
    error = error_class(400)(400, endpoint=ENDPOINT, errors=DETAILS, attempts=3, maybe_applied=True)

    assert str(error) == (
        "400 bad_request: Invalid email; Invalid name"
        f" ({ENDPOINT}, 3 attempts). Correct the values of the call."
        " The service may have acted: look before you send it again"
    )


@pytest.mark.parametrize("title", ["502 Bad Gateway", "Bad Gateway"])
def test_the_message_has_the_status_once(title: str) -> None:
    """A gateway's page that begins with the status doesn't repeat the status."""
    error = errors.ServerError(502, endpoint="GET /users", errors=(ErrorDetail(None, title),))

    assert str(error).startswith("502 Bad Gateway (GET /users). ")
    assert error.title == title


def test_the_message_of_an_error_without_reasons_has_its_status() -> None:
    """Where the service gives no reason, the message begins with the status and the endpoint."""
    assert str(error_class(502)(502, endpoint=ENDPOINT)) == (
        f"502 ({ENDPOINT}). Wait until the service works again"
    )


@pytest.mark.parametrize("status", range(300, 700))
def test_the_message_of_every_status_ends_with_the_next_step(status: int) -> None:
    """Each refusal tells the next step, whatever the service says."""
    error = error_class(status)(status, endpoint=ENDPOINT)

    assert error.advice
    assert str(error) == f"{status} ({ENDPOINT}). {error.advice}"


@pytest.mark.parametrize("kind", [RequestTimeoutError, ConnectionLostError])
@pytest.mark.parametrize("maybe_applied", [False, True])
def test_the_message_of_a_lost_answer_has_the_next_step(
    kind: type[TransportError], *, maybe_applied: bool
) -> None:
    """A safe call is tried again; after another call the user looks first."""
    error = kind("it broke", endpoint=ENDPOINT, maybe_applied=maybe_applied)
    look = "The service may have acted: look before you send it again"

    assert error.advice.startswith("Try again")
    assert str(error) == f"it broke ({ENDPOINT}). {look if maybe_applied else error.advice}"


def test_an_error_of_a_caller_may_have_advice_and_keywords() -> None:
    """A subclass has the advice of the class above or an own one, and keywords of another base."""

    class Tagged:
        def __init_subclass__(cls, *, tag: str = "", **others: Any) -> None:
            super().__init_subclass__(**others)
            cls.tag = tag

        tag: str

    class PlainError(NotFoundError, Tagged, tag="a"):
        pass

    class OwnError(NotFoundError, advice="Ask Jane"):
        pass

    class OtherError(SunshineError, advice="Ask John"):
        pass

    assert (PlainError.tag, PlainError.advice) == ("a", NotFoundError.advice)
    assert str(OwnError(404, endpoint=ENDPOINT)) == f"404 ({ENDPOINT}). Ask Jane"
    assert str(OtherError("it broke")) == "it broke. Ask John"
    assert "John" not in str(OtherError("it broke", maybe_applied=True))


@pytest.mark.parametrize(
    ("status", "advice"),
    [(401, "the secret"), (402, "plan"), (403, "scope"), (429, "pace=Pace(rate=...)")],
)
def test_the_message_says_what_to_do(status: int, advice: str) -> None:
    """Where the caller can do something about it, the message says what."""
    assert advice in str(error_class(status)(status, endpoint=ENDPOINT)).partition(". ")[2]


@pytest.mark.parametrize(
    ("details", "code", "title"),
    [
        ((), None, None),
        ((ErrorDetail("a", None), ErrorDetail("b", "B")), "a", "B"),
        ((ErrorDetail(None, "A"), ErrorDetail("b", "B")), "b", "A"),
    ],
)
def test_code_and_title_are_the_first_there_are(
    details: tuple[ErrorDetail, ...], code: str | None, title: str | None
) -> None:
    """`code` and `title` are the first that the service gave, None where it gave none."""
    error = ApiError(418, endpoint=ENDPOINT, errors=details)

    assert (error.code, error.title) == (code, title)


@pytest.mark.parametrize("maybe_applied", [False, True])
def test_a_conflict_says_whether_an_earlier_sending_may_have_made_it(
    *, maybe_applied: bool
) -> None:
    """`resent` is true exactly where an earlier sending may have been applied."""
    error = ConflictError(409, endpoint=ENDPOINT, maybe_applied=maybe_applied)

    assert error.resent is maybe_applied


def test_the_message_of_a_transport_error_says_what_to_do() -> None:
    """The reason, the endpoint, the attempts, and to look first where it may have been done."""
    doubtful = TransportError(
        "it broke", fault=Fault.LOST, endpoint=ENDPOINT, attempts=2, maybe_applied=True
    )
    sure = TransportError("it broke", fault=Fault.UNSENT, endpoint=ENDPOINT, maybe_applied=False)

    assert str(doubtful) == (
        f"it broke ({ENDPOINT}, 2 attempts). The service may have acted:"
        " look before you send it again"
    )
    assert str(sure) == f"it broke ({ENDPOINT})"


@pytest.mark.parametrize("fault", Fault)
def test_the_fault_of_a_transport_error_is_typed(fault: Fault) -> None:
    """`fault` is a `Fault`, also where the value was given as text, and in a pickle."""
    error = TransportError("x", fault=fault.value, endpoint=ENDPOINT, maybe_applied=False)

    assert error.fault is fault
    assert pickle.loads(pickle.dumps(error)).fault is fault  # noqa: S301 - our own


def test_the_message_of_a_decode_error_says_where() -> None:
    """The status, the path, the reason and the endpoint; without a path the answer as a whole."""
    somewhere = ResponseDecodeError(
        "missing", path="user.id", status=201, endpoint=ENDPOINT, maybe_applied=True
    )
    whole = ResponseDecodeError(
        "not JSON", path="", status=200, endpoint=ENDPOINT, maybe_applied=False
    )

    assert str(somewhere) == (
        f"the answer (201) can't be read at user.id: missing ({ENDPOINT})."
        " Look at error.body, if any, and check base_url."
        " The service may have acted: look before you send it again"
    )
    assert str(whole) == (
        f"the answer (200) can't be read: not JSON ({ENDPOINT})."
        " Look at error.body, if any, and check base_url"
    )


def test_a_mock_needs_no_advice() -> None:
    """The text of a test's mock says what to do: a service's answer there is none."""
    error = MockError("not mocked", endpoint=ENDPOINT, maybe_applied=False)

    assert str(error) == f"the answer can't be read: not mocked ({ENDPOINT})"


def test_an_error_is_sure_unless_it_says_otherwise() -> None:
    """`maybe_applied` is false where nobody said that it may have been."""
    assert not ConfigurationError("app_id is missing").maybe_applied
    assert not ApiError(404, endpoint=ENDPOINT).maybe_applied


@pytest.mark.parametrize("kind", KINDS)
def test_every_error_says_what_it_means(kind: type[SunshineError]) -> None:
    """Each class has a docstring of its own: what has happened."""
    assert kind.__doc__ != kind.__bases__[0].__doc__
    assert inspect.cleandoc(kind.__doc__ or "").partition("\n")[0].endswith((".", ","))


def test_the_body_of_an_unreadable_answer_stands_beside() -> None:
    """An error has the answer's body and id; the body is in no text, ``repr``, args or pickle."""
    error = ResponseDecodeError(
        "expected text",
        path="user.email",
        status=201,
        endpoint="POST /x",
        maybe_applied=True,
        body=b"Jane",
        id="1",
    )

    restored = pickle.loads(pickle.dumps(error))  # noqa: S301 - its own

    assert (error.body, error.id) == (b"Jane", "1")
    assert (restored.body, restored.id) == (None, "1")
    assert str(restored) == str(error)
    shown = f"{error} {error!r} {error.args} {pickle.dumps(error)!r}"
    assert "Jane" not in shown


def test_an_error_in_doubt_keeps_its_kind_or_its_cause() -> None:
    """An error of ours says that the service may have acted; another's is the cause of one that does."""
    ours, other = NotFoundError(404, endpoint="GET /x"), LookupError("no vault")

    assert uncertain(ours) is ours
    assert ours.maybe_applied
    assert uncertain(other).__cause__ is other
    assert uncertain(other).maybe_applied
