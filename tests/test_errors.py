"""The errors: one tree, sentences for a log, and nothing lost between processes."""

import copy
import importlib
import inspect
import pickle
import pkgutil
import re
from collections.abc import Iterator

import pytest

import sunshine_async
from sunshine_async import errors
from sunshine_async._codec import Misfit
from sunshine_async.errors import (
    ApiError,
    ConfigurationError,
    ConflictError,
    ErrorDetail,
    Fault,
    NotFoundError,
    ResponseDecodeError,
    SunshineError,
    TransportError,
    WebhookError,
    error_class,
    uncertain,
)

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
        return kind("no list of events", status=400)
    return kind("something", maybe_applied=True)


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


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("kind", KINDS)
def test_an_error_pickles(kind: type[SunshineError], protocol: int) -> None:
    """A pickled error comes back with the same type, text, attributes and notes."""
    error = example(kind)
    error.add_note("of item 7")

    again = pickle.loads(pickle.dumps(error, protocol))  # noqa: S301 - our own

    assert type(again) is kind
    assert str(again) == str(error)
    assert repr(again) == repr(error)
    assert public(again) == public(error)
    assert again.__notes__ == ["of item 7"]


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
        f" ({ENDPOINT}, 3 attempts). The service may have acted: look before you send it again"
    )


def test_the_message_of_an_error_without_reasons_has_its_status() -> None:
    """Where the service gives no reason, the status and the endpoint are the message."""
    assert str(error_class(502)(502, endpoint=ENDPOINT)) == f"502 ({ENDPOINT})"


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
        " The service may have acted: look before you send it again"
    )
    assert str(whole) == f"the answer (200) can't be read: not JSON ({ENDPOINT})"


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
