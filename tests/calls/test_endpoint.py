"""A call as a value: what goes out, what is refused before it does, what is made of the answer."""

import unicodedata
from datetime import UTC, datetime
from importlib import import_module
from math import nan
from pkgutil import iter_modules
from typing import Any
from urllib.parse import unquote

import attrs
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import clients

from sunshine_async import bulk, dixa, smooch, sunshine
from sunshine_async._calls.endpoint import (
    MAX_JSON_BYTES,
    Endpoint,
    Json,
    segment,
    undeclared_endpoint,
)
from sunshine_async._calls.retry import Replay
from sunshine_async._http.messages import Request, Response
from sunshine_async.errors import (
    ApiError,
    BadRequestError,
    ConflictError,
    NotFoundError,
    RateLimitError,
    ResponseDecodeError,
    ServerError,
)
from sunshine_async.smooch import app_users
from sunshine_async.sunshine import (
    Profile,
    SyncUserBody,
    User,
    UserCreateBody,
    UserUpdateBody,
    switchboard_integrations,
)
from sunshine_async.sunshine.switchboard_actions import (
    ACCEPT_CONTROL,
    PASS_CONTROL,
    RELEASE_CONTROL,
)
from sunshine_async.sunshine.users import (
    CREATE,
    DELETE,
    DELETE_PERSONAL_INFORMATION,
    ENDPOINTS,
    GET,
    LIST,
    SYNC,
    UPDATE,
)
from sunshine_async.testing import ScriptedTransport

NOW = datetime(2026, 1, 1, tzinfo=UTC)
APP = {"app_id": "app"}
ONE = {**APP, "user_id_or_external_id": "jane"}
USER = b'{"user":{"id":"a"}}'
WITH_MODELS = [
    endpoint
    for package in (dixa, smooch, sunshine)
    for module in iter_modules(package.__path__, f"{package.__name__}.")
    for endpoint in getattr(import_module(module.name), "ENDPOINTS", ())
    if endpoint.accepts is not None and attrs.has(endpoint.accepts)
]


def answer(status: int, body: bytes, **headers: str) -> Response:
    """Return an answer with *headers*, whose names are written with underscores."""
    return Response(status, {key.replace("_", "-"): one for key, one in headers.items()}, body)


def error_of(endpoint: Endpoint[Any, Any], response: Response) -> ApiError:
    """Return the error that *response* is raised as."""
    return endpoint.error(response, now=NOW)


@pytest.mark.parametrize(
    ("endpoint", "step"),
    [
        (CREATE, "users.upsert changes the existing user"),
        (app_users.PRE_CREATE, "app_users.upsert changes the existing user"),
        (app_users.UPDATE, "send a user's changes one after another"),
        (UPDATE, "Look at the object as it is"),
    ],
)
def test_a_conflict_names_the_next_step_of_the_operation(
    endpoint: Endpoint[Any, Any], step: str
) -> None:
    """The step fits the operation; after a lost answer the object may be the call's own: look first."""
    conflict, usual = answer(409, b"{}"), "Look at the object as it is, then decide"

    assert step in str(endpoint.error(conflict, now=NOW))
    assert usual in str(endpoint.error(conflict, now=NOW, maybe_applied=True))


@pytest.mark.parametrize(
    ("endpoint", "step"),
    [
        (ACCEPT_CONTROL, "Check the offer"),
        (RELEASE_CONTROL, "Check who has control"),
        (switchboard_integrations.DELETE, "change these first"),
        (PASS_CONTROL, "Check the scope of the credentials"),
    ],
)
def test_a_refusal_by_state_blames_no_credentials(endpoint: Endpoint[Any, Any], step: str) -> None:
    """Where 403 tells of the state of a switchboard, the next step does too."""
    assert step in str(error_of(endpoint, answer(403, b"{}")))


def decode_error_of(endpoint: Endpoint[Any, Any], body: bytes) -> ResponseDecodeError:
    """Return the error that reading *body* raises."""
    with pytest.raises(ResponseDecodeError) as caught:
        endpoint.result(answer(200, body))
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None
    return caught.value


@pytest.mark.parametrize(
    ("body", "id"),
    [
        (b'{"id": "1"}', "1"),
        (b'{"_id": "1"}', "1"),
        (b'{"user": {"id": ["1"]}}', None),
        (b'{"user": null}', None),
        (b"[]", None),
        (b"<html>", None),
    ],
)
def test_an_id_that_is_there_is_kept(body: bytes, id: str | None) -> None:
    """The error of an answer without its envelope has the id, if there is one, and the body."""
    error = decode_error_of(CREATE, body)

    assert (error.id, error.body) == (id, body)


def is_unsendable(character: str) -> bool:
    """Return whether *character* is a control, or a surrogate without its other half."""
    return unicodedata.category(character) in ("Cc", "Cs")


TEXT = st.text(st.characters()) | st.sampled_from(
    [
        "",
        ".",
        "..",
        "...",
        "a/b",
        "a?b",
        "a#b",
        "a%2Fb",
        "é",
        " ",
        "%2e%2e",
        "\x85",
        "\ud800",
        "~.-_",
    ]
)


@given(TEXT)
def test_an_id_is_one_segment_or_refused(value: str) -> None:
    """Any id is just one percent-encoded segment that decodes back equal, or a `ValueError`."""
    if value in {"", ".", ".."} or any(map(is_unsendable, value)):
        with pytest.raises(ValueError, match=r"^user_id ") as caught:
            segment("user_id", value)
        assert caught.value.__context__ is None
    else:
        found = segment("user_id", value)
        assert unquote(found) == value
        assert found not in {"", ".", ".."}
        assert set(found) <= set(map(chr, range(0x21, 0x7F))) - set("/?#\\")


@pytest.mark.parametrize("value", ["", ".", "..", "a\nb", "a\x00", "\x7f", "\x9f", "a\ud800"])
@pytest.mark.parametrize(
    "endpoint", [one for one in ENDPOINTS if len(one.fields) > 1], ids=lambda one: one.operation
)
def test_an_id_that_would_call_another_url_is_refused(
    endpoint: Endpoint[Any, Any], value: str
) -> None:
    """No operation makes a request for an id that is empty, a way up, or can't be sent."""
    body = endpoint.accepts() if endpoint.accepts else None
    path = dict.fromkeys(endpoint.fields, value)

    with pytest.raises(ValueError, match=r"_id"):
        endpoint.request(body, path, {})


@pytest.mark.parametrize("value", [5, None, b"jane", ["jane"]])
def test_an_id_that_is_no_text_is_refused(value: Any) -> None:
    """An id of another type is a `TypeError` that names argument and type."""
    with pytest.raises(TypeError, match=rf"^user_id must be text, not {type(value).__name__}$"):
        segment("user_id", value)


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda one: one.operation)
def test_an_endpoint_shows_no_id(endpoint: Endpoint[Any, Any]) -> None:
    """The text of an endpoint is its method and the template of its path."""
    assert str(endpoint) == f"{endpoint.method} {endpoint.path}"
    assert "{app_id}" in str(endpoint)


@pytest.mark.parametrize(
    ("request_", "target"),
    [
        (GET.request(None, ONE, {}), "/v2/apps/app/users/jane"),
        (GET.request(None, {**ONE, "app_id": "é/.."}, {}), "/v2/apps/%C3%A9%2F../users/jane"),
        (GET.request(None, ONE, {"brandId": None}), "/v2/apps/app/users/jane"),
        (GET.request(None, ONE, {"brandId": "a&b=c"}), "/v2/apps/app/users/jane?brandId=a%26b%3Dc"),
        (
            LIST.request(None, APP, {"filter[identities.email]": "sue+a@é.org", "brandId": " "}),
            "/v2/apps/app/users?filter%5Bidentities.email%5D=sue%2Ba%40%C3%A9.org&brandId=%20",
        ),
        (DELETE.request(None, ONE, {}), "/v2/apps/app/users/jane"),
    ],
)
def test_path_and_query_are_filled_in(request_: Request, target: str) -> None:
    """The values of path and query are percent-encoded; None leaves one out."""
    assert request_.target == target
    assert request_.body is None


def test_a_query_that_cannot_be_sent_is_refused() -> None:
    """A lone surrogate in the query is a `ValueError` that names the argument, not its value."""
    with pytest.raises(ValueError, match=r"^brand_id has a lone surrogate") as caught:
        GET.request(None, ONE, {"brandId": "secret\ud800"})

    assert "secret" not in str(caught.value)
    assert caught.value.__context__ is None


def test_a_value_that_the_path_lacks_is_named() -> None:
    """A path with a field that has no value is a `ValueError` that says what to give."""
    endpoint = undeclared_endpoint("GET", "/v2/apps/{app_id}/things/{thing_id}", None)

    with pytest.raises(ValueError, match=r"needs path=\{'thing_id': \.\.\.\}"):
        endpoint.request(None, APP, {})


def test_a_body_goes_out_as_json() -> None:
    """A body is what the codec makes of it, and shows in no ``repr``."""
    request = CREATE.request(UserCreateBody(external_id="jane-1"), APP, {})

    assert (request.method, request.target) == ("POST", "/v2/apps/app/users")
    assert request.body == b'{"externalId":"jane-1"}'
    assert "jane" not in repr(request)


@pytest.mark.parametrize(
    ("endpoint", "body", "message"),
    [
        (CREATE, UserUpdateBody(), "CreateUser takes UserCreateBody, not UserUpdateBody"),
        (CREATE, User(id="a"), "CreateUser takes UserCreateBody, not User"),
        (UPDATE, None, "UpdateUser takes UserUpdateBody, not NoneType"),
        (SYNC, None, "SyncUser takes SyncUserBody, not NoneType"),
        (GET, UserCreateBody(), "GetUser takes no body, not UserCreateBody"),
    ],
)
def test_another_body_is_refused(endpoint: Endpoint[Any, Any], body: Any, message: str) -> None:
    """A body of another kind, or none where one is needed, is a `TypeError` that says which."""
    path = {**ONE, "zendesk_id": "z"}

    with pytest.raises(TypeError) as caught:
        endpoint.request(body, path, {})

    assert str(caught.value) == message


@pytest.mark.parametrize("endpoint", WITH_MODELS, ids=str)
def test_a_dictionary_in_place_of_a_model_has_a_next_step(endpoint: Endpoint[Any, Any]) -> None:
    """For each operation the error of a dictionary says how to make a model of the dictionary."""
    assert endpoint.accepts is not None
    name = endpoint.accepts.__name__

    with pytest.raises(TypeError) as caught:
        endpoint.check_body({"externalId": "a"})

    expected = f"{endpoint.operation} takes {name}, not dict: from_dict({name}, ...) makes a model"
    assert str(caught.value) == f"{expected} of the service's names"


async def test_an_item_of_another_form_has_a_next_step() -> None:
    """For many items too, an item that is no body, or no pair, is told so; nothing is sent."""
    transport = ScriptedTransport([])
    v2, v1 = clients.sunshine(transport), clients.smooch(transport)
    dictionary = {"externalId": "jane-1"}
    runs: list[tuple[Any, Any, str]] = [
        (v2.users.create_many, [dictionary], "from_dict(UserCreateBody, ...)"),
        (v2.users.upsert_many, [dictionary], "from_dict(UserCreateBody, ...)"),
        (v2.users.update_many, [UserUpdateBody()], "a pair (id, body), not UserUpdateBody"),
        (v2.users.update_many, {"jane-1": UserUpdateBody()}, "has pairs in items()"),
        (v2.messages.post_many, [dictionary], "a pair (id, body), not dict"),
        (v1.app_users.pre_create_many, [dictionary], "from_dict(AppUserPreCreate, ...)"),
        (v1.app_users.update_many, [dictionary], "a pair (id, body), not dict"),
        (clients.dixa(transport).end_users.create_many, [{}], "from_dict(CreateEndUserInput, ...)"),
    ]
    for run, items, text in runs:
        async with run(items) as outcomes:
            [outcome] = [outcome async for outcome in outcomes]

        assert isinstance(outcome, bulk.Failed)
        assert isinstance(outcome.error, TypeError)
        assert text in str(outcome.error)
    assert transport.requests == []


@pytest.mark.parametrize("too_much", [0, 1])
def test_a_body_that_is_too_large_is_refused(too_much: int) -> None:
    """A body of 100,000 bytes is sent, one byte more is a `ValueError` that names the limit."""
    room = MAX_JSON_BYTES - len(b'{"externalId":""}') + too_much
    body = UserCreateBody(external_id="é" * (room // 2) + "x" * (room % 2))

    if too_much:
        with pytest.raises(ValueError, match="100001 bytes as JSON; the service takes 100000"):
            CREATE.request(body, APP, {})
    else:
        assert len(CREATE.request(body, APP, {}).body or b"") == 100_000


def test_a_body_that_json_cannot_hold_is_refused() -> None:
    """NaN in a body is a `ValueError` that names the field."""
    with pytest.raises(ValueError, match=r"^metadata\.age: JSON has no NaN"):
        CREATE.request(UserCreateBody(metadata={"age": float("nan")}), APP, {})


@pytest.mark.parametrize(
    ("endpoint", "body", "replay"),
    [
        (CREATE, UserCreateBody(), Replay.UNSAFE),
        (CREATE, UserCreateBody(external_id=""), Replay.UNSAFE),
        (CREATE, UserCreateBody(external_id="jane-1"), Replay.GUARDED),
        (CREATE, UserCreateBody(extra={"externalId": "jane-1"}), Replay.UNSAFE),
        (SYNC, SyncUserBody(), Replay.IDEMPOTENT),
        (SYNC, SyncUserBody(surviving_zendesk_id="z"), Replay.UNSAFE),
        (UPDATE, UserUpdateBody(), Replay.IDEMPOTENT),
        (DELETE, None, Replay.GONE),
        (DELETE_PERSONAL_INFORMATION, None, Replay.IDEMPOTENT),
        (GET, None, Replay.SAFE),
        (LIST, None, Replay.SAFE),
    ],
)
def test_what_a_second_sending_can_do(
    endpoint: Endpoint[Any, Any], body: Any, replay: Replay
) -> None:
    """What a second sending can do is known from the operation and what its body sets."""
    assert endpoint.replay_of(body) is replay


@pytest.mark.parametrize(
    ("method", "replay"),
    [
        ("GET", Replay.SAFE),
        ("HEAD", Replay.SAFE),
        ("PUT", Replay.IDEMPOTENT),
        ("DELETE", Replay.IDEMPOTENT),
        ("POST", Replay.UNSAFE),
        ("PATCH", Replay.UNSAFE),
    ],
)
def test_an_open_call_is_sent_again_by_its_method(method: str, replay: Replay) -> None:
    """What a second sending can do is known from the method, unless the caller says otherwise."""
    assert undeclared_endpoint(method, "/v2/apps", None).replay is replay
    assert undeclared_endpoint(method, "/v2/apps", Replay.ONCE).replay is Replay.ONCE


@pytest.mark.parametrize("method", ["get", "", "GET ", "CONNECT", "OPTIONS", "GET\r\nX: y", "PÜT"])
def test_what_is_no_method_is_refused(method: str) -> None:
    """A method that isn't one is a `ValueError`."""
    with pytest.raises(ValueError, match="is no HTTP method"):
        undeclared_endpoint(method, "/v2/apps", None)


@pytest.mark.parametrize(
    ("template", "target"),
    [
        ("/", "/"),
        ("/v2/apps", "/v2/apps"),
        ("/v2/apps/{app_id}/things/", "/v2/apps/app/things/"),
        ("/v2/{app_id}:{user_id_or_external_id}", "/v2/app:jane"),
        ("/a%20b/é".replace("é", "%C3%A9"), "/a%20b/%C3%A9"),
        ("/.well-known/...", "/.well-known/..."),
        ("/v2/{appId}", "/v2/app"),
    ],
)
def test_a_template_is_a_path(template: str, target: str) -> None:
    """A path with values in braces and what is special percent-encoded can be called."""
    values = {**ONE, "appId": "app"}
    assert undeclared_endpoint("GET", template, None).request(None, values, {}).target == target


@pytest.mark.parametrize(
    "template",
    [
        "",
        "v2/apps",
        "https://example.org/v2",
        "/v2/../apps",
        "/v2/%2e%2E/apps",
        "/v2/./apps",
        "/..",
        "/v2?a=b",
        "/v2#a",
        "/v2/é",
        "/v2/a b",
        "/v2/%zz",
        "/v2/\r\nX: y",
        "/v2/{}",
        "/v2/{0}",
        "/v2/{a.b}",
        "/v2/{a!r}",
        "/v2/{a:>9}",
        "/v2/{a[0]}",
        "/v2/{{a}}",
        "/v2/{a",
        "/v2/a}",
        "/v2\\apps",
        "/v2/apps\n",
    ],
)
def test_what_is_no_path_is_refused(template: str) -> None:
    """A template that would call another URL, or do more than put a value in, is a `ValueError`."""
    with pytest.raises(ValueError, match="is no path"):
        undeclared_endpoint("GET", template, None)


@pytest.mark.parametrize(
    ("body", "data"),
    [(None, None), (Json(None), b"null"), (Json({}), b"{}"), (Json([1, "é"]), '[1,"é"]'.encode())],
)
def test_an_open_call_takes_any_json(body: Json | None, data: bytes | None) -> None:
    """Any JSON is a body, null too, and no body is none."""
    assert undeclared_endpoint("POST", "/v2/apps", None).request(body, {}, {}).body == data


@pytest.mark.parametrize(
    ("body", "expected"),
    [(b"", None), (b"null", None), (b'{"a":[1]}', {"a": [1]}), (b'"text"', "text")],
)
def test_an_open_call_gives_the_json(body: bytes, expected: object) -> None:
    """Whatever JSON is answered is the result; nothing is None."""
    result = undeclared_endpoint("GET", "/v2/apps", None).result(answer(200, body))

    assert result == expected


@pytest.mark.parametrize("status", [200, 201, 202, 299])
def test_any_2xx_is_a_yes(status: int) -> None:
    """Any 2xx is read as success."""
    assert CREATE.result(answer(status, USER)) == User(id="a")


def test_what_is_in_the_envelope_is_the_result() -> None:
    """One user, a list of users, or nothing: as the operation says."""
    users = answer(200, b'{"users":[{"id":"a"},{"id":"b"}],"meta":{}}')

    assert GET.result(answer(200, USER)) == User(id="a")
    assert LIST.result(users) == [User(id="a"), User(id="b")]


@pytest.mark.parametrize("body", [b"", b" \r\n", b"{}", b"null", USER])
def test_an_operation_without_a_result(body: bytes) -> None:
    """Where an operation has no result, any JSON is a success, and so is no body."""
    done: object = DELETE.result(answer(200, body))

    assert done is None


@pytest.mark.parametrize(
    ("body", "body_error"), [(b"<html>Welcome to the hotel</html>", ""), (b"OK", ""), (b"", "gzip")]
)
def test_a_success_that_is_not_the_services(body: bytes, body_error: str) -> None:
    """A page of HTML with status 200, or an unreadable body, proves nothing, also without a result."""
    with pytest.raises(ResponseDecodeError) as caught:
        DELETE.result(Response(200, {}, body, body_error))

    assert caught.value.maybe_applied


@pytest.mark.parametrize(
    ("body", "path", "reason"),
    [
        (b"", "", "not JSON"),
        (b"<html>secret</html>", "", "not JSON"),
        (b'{"user":', "", "not JSON"),
        (b"[]", "", "expected an object, got a list"),
        (b"null", "", "expected an object, got null"),
        (b"{}", "user", "missing"),
        (b'{"users":[]}', "user", "missing"),
        (b'{"user":null}', "user", "expected an object, got null"),
        (b'{"user":{}}', "user.id", "missing"),
        (b'{"user":{"id":["secret"]}}', "user.id", "expected text, got a list"),
        (b'{"user":{"id":null}}', "user.id", "expected text, got null"),
        (b"\xff\xfe{\0}\0", "", "UTF-16"),
    ],
)
def test_an_answer_that_cannot_be_read_says_where(body: bytes, path: str, reason: str) -> None:
    """An answer that isn't what it should be is an error with the path, and without the value."""
    error = decode_error_of(GET, body)

    assert (error.path, error.status, error.endpoint) == (path, 200, str(GET))
    assert reason in str(error)
    assert path in str(error)
    assert "secret" not in str(error)


def test_an_answer_behind_a_byte_order_mark_is_read() -> None:
    """An answer that begins with a BOM is read like any other."""
    response = Response(200, {}, b'\xef\xbb\xbf{"user":{"id":"a"}}')

    assert GET.result(response) == User(id="a")


@pytest.mark.parametrize(
    ("body", "path"),
    [
        (UserCreateBody(external_id=nan), "externalId"),  # type: ignore[arg-type]
        (UserCreateBody(profile=Profile(given_name=nan)), "profile.givenName"),  # type: ignore[arg-type]
        (UserCreateBody(metadata={"age": 2**64}), "metadata.age"),
        (UserCreateBody(metadata={"name": "\ud83d"}), "metadata.name"),
        (UserCreateBody(metadata={5: "a"}), "metadata"),  # type: ignore[dict-item]
        (UserCreateBody(extra={"deep": orjson.loads("[" * 990 + "]" * 990)}), "deep"),
        (Json({"a": {"b": nan}}), "a.b"),
    ],
)
def test_a_body_that_json_cannot_hold_names_the_field(body: object, path: str) -> None:
    """A body that can't be sent is a plain `ValueError` that names the field: never a silent null."""
    endpoint: Endpoint[Any, Any] = (
        undeclared_endpoint("POST", "/a", None) if isinstance(body, Json) else CREATE
    )

    with pytest.raises(ValueError, match=rf"^{path}: ") as caught:
        endpoint.request(body, {"app_id": "app"}, {})

    assert type(caught.value) is ValueError


@pytest.mark.parametrize(
    ("endpoint", "doubt"), [(GET, False), (LIST, False), (CREATE, True), (UPDATE, True)]
)
def test_an_answer_that_cannot_be_read_may_have_been_applied(
    endpoint: Endpoint[Any, Any], *, doubt: bool
) -> None:
    """What changes something may have done so, though its answer can't be read."""
    assert decode_error_of(endpoint, b"<html>").maybe_applied is doubt


@pytest.mark.parametrize(
    ("body", "code", "title"),
    [
        (b'{"errors":[{"code":"bad_request","title":"Invalid"}]}', "bad_request", "Invalid"),
        (b'{"error":{"code":"bad_request","description":"Invalid"}}', "bad_request", "Invalid"),
        (b'{"error":"invalid_scope","error_description":"No"}', "invalid_scope", "No"),
        (b'{"message":"Forbidden"}', None, "Forbidden"),
        (b"<html><title>403 Forbidden</title>", None, "403 Forbidden"),
        (b"", None, None),
        (b"\x00\xff\xfe", None, "\N{REPLACEMENT CHARACTER}" * 2),
    ],
)
def test_an_error_has_what_the_service_says(
    body: bytes, code: str | None, title: str | None
) -> None:
    """The error of a status has the best code and title that its body has."""
    error = error_of(GET, answer(400, body, x_request_id="r-1", retry_after="7"))

    assert type(error) is BadRequestError
    assert (error.code, error.title) == (code, title)
    assert (error.status, error.request_id, error.retry_after) == (400, "r-1", 7.0)
    assert str(GET) in str(error)


@pytest.mark.parametrize("status", [400, 403, 404, 405, 409])
def test_a_refusal_that_is_a_page_may_be_a_gateways(status: int) -> None:
    """The next step after a page: neither the values of the call nor the credentials."""
    page = error_of(CREATE, answer(status, b"<title>Blocked</title>"))

    assert "a gateway may have refused: check base_url and the network" in str(page)
    assert "gateway" not in str(error_of(CREATE, answer(status, b"{}")))


@pytest.mark.parametrize("status", [401, 413, 429, 502])
def test_a_page_with_a_next_step_of_its_own(status: int) -> None:
    """The next step of these is right, whoever refused."""
    page = error_of(CREATE, answer(status, b"<title>Blocked</title>"))

    assert page.advice == type(page).advice


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (302, ApiError),
        (404, NotFoundError),
        (409, ConflictError),
        (429, RateLimitError),
        (500, ServerError),
        (599, ServerError),
        (418, ApiError),
        (100, ApiError),
    ],
)
def test_a_status_that_is_no_yes_is_an_error(status: int, kind: type[ApiError]) -> None:
    """All but 2xx is an error, though the body be that of a success."""
    assert type(error_of(GET, answer(status, USER))) is kind


@pytest.mark.parametrize("status", [300, 301, 302, 303, 307, 308])
def test_a_redirect_is_an_error(status: int) -> None:
    """A redirect says what to look at, and not where it goes."""
    error = error_of(GET, answer(status, b"<title>Moved</title>", location="https://evil.example/"))

    assert error.code == "redirect"
    assert "base_url" in str(error)
    assert "evil" not in str(error)


@pytest.mark.parametrize(
    ("endpoint", "status", "before", "doubt"),
    [
        (CREATE, 400, False, False),
        (CREATE, 400, True, True),
        (CREATE, 429, False, False),
        (CREATE, 503, False, True),
        (CREATE, 408, False, True),
        (DELETE, 404, False, False),
        (GET, 503, True, False),
    ],
)
def test_an_error_says_whether_the_service_may_have_acted(
    endpoint: Endpoint[Any, Any], status: int, *, before: bool, doubt: bool
) -> None:
    """What changes something may have been done where the service failed, or an earlier sending."""
    response = answer(status, b"")
    error = endpoint.error(response, now=NOW, attempts=2, maybe_applied=before)

    assert error.maybe_applied is doubt
    assert error.attempts == 2


def test_an_error_of_any_size_is_a_short_one() -> None:
    """However much a service says, the message of the error can stand in a log."""
    reasons = [{"code": "c" * 1000, "title": "t" * 1000}] * 1000
    error = error_of(GET, answer(400, orjson.dumps({"errors": reasons})))

    assert len(str(error)) < 10_000
    assert str(error).isprintable()


def test_a_response_shows_its_status_only() -> None:
    """A ``repr`` has neither headers nor body."""
    assert repr(answer(200, USER, x_secret="a")) == "Response(status=200)"


def test_any_json_is_concealed() -> None:
    """A ``repr`` of a body has no values."""
    assert "jane" not in repr(Json({"id": "jane"}))
