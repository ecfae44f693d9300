"""The emulator under random requests: every answer is a service's own, never a crash."""

import json
import socket
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any
from urllib.parse import quote

import anyio
import httpx
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from support.patience import PATIENCE
from support.size import sized

from sunshine_async.dixa import custom_attributes, end_users
from sunshine_async.emulator import Emulator
from sunshine_async.emulator.contents import CONTENT
from sunshine_async.emulator.platform import V2
from sunshine_async.smooch import app_users

ENDPOINTS = (
    *V2.values(),
    *app_users.ENDPOINTS,
    *end_users.ENDPOINTS,
    *custom_attributes.ENDPOINTS,
)
DIXA_ID = "00000000-0000-4000-8000-000000000000"
ATTRIBUTE = "274e5a2c-be0d-42c0-b725-3dd533729f68"
IDS = (
    "jane",
    "1",
    "10",
    DIXA_ID,
    DIXA_ID.upper(),
    "bulk",
    "merge",
    "twilio",
    "app",
    "..",
    "é",
    "\0",
)
KEYS = (
    "externalId", "brandId", "signedUpAt", "toBeRetained", "profile", "metadata", "givenName",
    "email", "avatarUrl", "survivingZendeskId", "userId", "properties", "type", "confirmation",
    "message", "phoneNumber", "address", "integrationId", "surviving", "discarded", "_id", "data",
    "id", "displayName", "additionalEmails", "middleNames", ATTRIBUTE, "participants",
    "userExternalId", "subscribeSDKClient", "author", "content", "text", "destination", "override",
    "items", "actions", "fields", "mediaUrl", "schema", "target", "triggers", "webhooks", "name",
    "integrationType", "switchboardIntegration", "matchCriteria", "conversationId", "settings",
)  # fmt: skip
SHAPES: Mapping[str, set[str]] = {
    "/v2/": {"errors"},
    "/oauth/": {"errors"},
    "/v1.1/": {"error"},
    "/v1/": {"message"},
}

texts = st.sampled_from(IDS) | st.text(max_size=6)
leaves = st.none() | st.booleans() | st.integers() | st.floats() | texts
values = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(KEYS) | st.text(max_size=3), inner, max_size=4)
    ),
    max_leaves=12,
)
bodies = (
    values.map(lambda value: json.dumps(value).encode())
    | st.binary(max_size=20)
    | st.sampled_from([b"", b"{", b'{"a": 1, "a": 2}', b"[" * 5000, b"{}" * 50_001, b"\xff{}"])
    | st.just(b'--x\r\nContent-Disposition: form-data; name="role"\r\n\r\na\r\n--x--')
)
QUERY = (
    "filter[identities.email]", "brandId", "integrationIds", "pageLimit", "pageKey", "email",
    "phone", "externalId", "force", "nothing", "page[after]", "page[before]", "page[size]",
    "filter[userId]", "filter[userExternalId]", "filter[types]", "access", "for", "conversationId",
    "client_id", "response_type", "redirect_uri",
)  # fmt: skip
AUTHORIZATIONS = ("Bearer x", "raw", "Basic !", "", "Bearer a.b.c")
CONTENT_TYPES = (
    "application/json", "APPLICATION/JSON; charset=latin-1", "text/plain", "",
    "multipart/form-data; boundary=x", "multipart/form-data; boundary*0*=%ff",
)  # fmt: skip
CONTROLS = (
    "users/sunshine?appId=app", "users/smooch?appId=app", "users/dixa", "users/x", "support",
    "faults", "dixa/definitions", "dixa/conversations", "ledger", "reset", "nothing", "say",
    "media/x",
)  # fmt: skip
REQUEST_LINES = (
    b"GET /v2/apps/app/users/%ff HTTP/1.1", b"GET http://x/v1/endusers HTTP/1.1",
    b"OPTIONS * HTTP/1.1", b"CONNECT x:1 HTTP/1.1", b"POST /v1/endusers HTTP/1.0", b"\x16\x03",
)  # fmt: skip
HEADER_LINES = (
    b"Host: x", b"Content-Length: 5", b"Content-Length: -1", b"Transfer-Encoding: chunked",
    b"Authorization: x", b"Content-Type: application/json", b"Expect: 100-continue",
    b"\xff: \xff", b"Upgrade: websocket", b"Connection: upgrade",
)  # fmt: skip

OTHERS: tuple[Any, ...] = (None, True, 0, 1.5, "x", [], [None], {}, {"a": []}, 2**70, "\ud7ff")

queries = st.dictionaries(st.sampled_from(QUERY), texts | st.integers().map(str), max_size=3)
headers = st.fixed_dictionaries(
    {},
    optional={
        "authorization": st.sampled_from(AUTHORIZATIONS),
        "content-type": st.sampled_from(CONTENT_TYPES),
    },
)


@st.composite
def targets(draw: st.DrawFn) -> tuple[str, str]:
    """Draw a method and a path: mostly of an operation, with any ids in it."""
    endpoint = draw(st.sampled_from(ENDPOINTS))
    method = draw(st.just(endpoint.method) | st.sampled_from(["GET", "PUT", "POST", "HEAD", "X"]))
    ids = {name: quote(draw(texts), safe="") or "x" for name in endpoint.fields}
    more = draw(st.just("") | st.sampled_from(["/", "/more", "//", "%2F", "%"]))
    return method, endpoint.path.format(**ids).replace("/.", "/%2E") + more


def filled() -> Emulator:
    """Return an emulator in which some of the drawn ids are there."""
    emulator = Emulator()
    emulator.dixa.define(
        {"id": ATTRIBUTE, "label": "a", "identifier": "a", "inputDefinition": {"_type": "Text"}}
    )
    emulator.add("smooch", {"_id": "1", "userId": "jane"}, app_id="app")
    emulator.add("sunshine", {"id": "10", "zendeskId": "10"}, app_id="app")
    emulator.add("dixa", {"id": DIXA_ID})
    return emulator


@pytest.mark.slow
@settings(max_examples=sized(150, 18), deadline=None)
@given(target=targets(), query=queries, sent=headers, body=bodies)
@example(target=("PUT", "/v1/endusers/bulk"), query={}, sent={}, body=b"{}")
@example(
    target=("GET", "/v1/endusers"),
    query={"pageLimit": "9" * 5000},
    sent={"authorization": "x"},
    body=b"",
)
def test_any_request_is_answered_as_the_service_would(
    target: tuple[str, str], query: dict[str, str], sent: dict[str, str], body: bytes
) -> None:
    """Whatever comes, the answer is a success or a refusal in the shape of the service's errors."""
    method, path = target
    answers: list[httpx.Response] = []

    async def scenario() -> None:
        transport = filled().transport()
        async with httpx.AsyncClient(transport=transport) as api:
            url = httpx.URL("http://emulator", params=query).copy_with(raw_path=path.encode())
            url = url.copy_merge_params(query)
            answers.append(await api.request(method, url, headers=sent, content=body))

    anyio.run(scenario)

    [answer] = answers
    assert answer.status_code < 500, answer.text
    if answer.status_code >= 400 and method != "HEAD":
        [shape] = [shape for prefix, shape in SHAPES.items() if path.startswith(prefix)]
        assert set(answer.json()) == shape


@settings(max_examples=sized(60, 7), deadline=None)
@given(
    path=st.sampled_from(CONTROLS),
    method=st.sampled_from(["GET", "POST", "DELETE"]),
    body=bodies,
)
def test_any_control_request_is_answered(path: str, method: str, body: bytes) -> None:
    """A control request that can't be is refused, and changes no count."""
    statuses: list[int] = []

    async def scenario() -> None:
        async with httpx.AsyncClient(transport=filled().transport()) as api:
            url = f"http://emulator/_emulator/{path}"
            statuses.append((await api.request(method, url, content=body)).status_code)

    anyio.run(scenario)

    assert statuses[0] in {200, 201, 204, 400, 404, 405}


@pytest.fixture(scope="module")
def client() -> Iterator[httpx.Client]:
    """Call an emulator on a socket."""
    with filled().serve() as base_url, httpx.Client(base_url=base_url, timeout=PATIENCE) as client:
        yield client


@settings(max_examples=sized(60, 7), deadline=None)
@given(
    line=st.sampled_from(REQUEST_LINES),
    rest=st.lists(st.sampled_from(HEADER_LINES), max_size=4),
    body=st.binary(max_size=8),
)
def test_any_bytes_on_a_socket_leave_it_serving(
    client: httpx.Client, line: bytes, rest: list[bytes], body: bytes
) -> None:
    """Bytes that are no request get a 4xx or a closed connection, and others are served on."""
    address = (client.base_url.host, client.base_url.port or 0)
    with socket.create_connection(address, timeout=PATIENCE) as peer:
        peer.sendall(b"\r\n".join([line, *rest, b"", body]))
        peer.shutdown(socket.SHUT_WR)
        answer = b"".join(iter(lambda: peer.recv(65536), b""))

    assert not answer or answer.startswith(b"HTTP/1.1 ")
    assert b" 500 " not in answer.partition(b"\r\n")[0]
    assert client.get("/v2/x").status_code == 401


@pytest.mark.slow
def test_any_json_in_any_field_is_no_crash() -> None:
    """Every field of every body with every other JSON type is a success or a 400."""
    emulator = filled()

    async def scenario() -> None:
        transport = emulator.transport()
        headers = {"authorization": "Bearer x"}
        async with httpx.AsyncClient(transport=transport, headers=headers) as api:
            known = await existing(emulator, api)
            for service in emulator.services.values():
                for operation in service.operations:
                    for body in shapes(operation.schema, sized(OTHERS, OTHERS[::4])):
                        endpoint = operation.endpoint
                        ids = dict.fromkeys(endpoint.fields, DIXA_ID) | known
                        path = endpoint.path.format(**ids)
                        answer = await api.request(
                            endpoint.method, f"http://emulator{path}", json=body
                        )
                        assert answer.status_code in {200, 201, 400, 403, 404, 409}, (path, body)

    anyio.run(scenario)


async def existing(emulator: Emulator, api: httpx.AsyncClient) -> dict[str, str]:
    """Return the ids of what is there, for paths."""
    said = emulator.say("app", "jane", "Hi")
    known = {"app_id": "app", "user_id": "jane", "zendesk_id": "10", "channel": "x"}
    known |= {"user_id_or_external_id": "1", "conversation_id": said["conversation"]}
    app = "http://emulator/v2/apps/app"
    hook = {"target": "https://x.org", "triggers": []}
    body: Any = {"type": "custom", "webhooks": [hook]}
    integration = (await api.post(f"{app}/integrations", json=body)).json()["integration"]
    switchboard = (await api.post(f"{app}/switchboards")).json()["switchboard"]
    body = {"name": "bot", "integrationId": integration["id"]}
    url = f"{app}/switchboards/{switchboard['id']}/switchboardIntegrations"
    responder = (await api.post(url, json=body)).json()["switchboardIntegration"]
    body = {"enabled": True, "defaultSwitchboardIntegrationId": responder["id"]}
    await api.patch(f"{app}/switchboards/{switchboard['id']}", json=body)
    return known | {
        "integration_id": integration["id"],
        "webhook_id": integration["webhooks"][0]["id"],
        "switchboard_id": switchboard["id"],
        "switchboard_integration_id": responder["id"],
    }


def test_any_json_in_any_field_of_a_content_is_no_crash() -> None:
    """Every field of every content with every other JSON type is a message or a refusal."""
    emulator = filled()
    for content in shapes(CONTENT, OTHERS):
        with suppress(ValueError):
            emulator.say("app", "jane", content=content)


def shapes(table: Any, others: tuple[Any, ...]) -> Iterator[Any]:
    """Yield bodies for *table*: each field by itself, with each of *others*."""
    if table is None:
        return
    yield from others
    for kind, inner in (table.kinds or {}).items():
        for body in shapes(inner, others):
            yield {"type": kind, **body} if isinstance(body, dict) else body
    for name, inner in (table.fields or {}).items():
        for value in others:
            yield {name: value}
        if inner.fields or inner.items or inner.kinds:
            for value in shapes(inner.items or inner, others):
                yield {name: [value] if inner.items else value}
