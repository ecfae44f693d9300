"""The services over HTTP: the operation of a request, and its answer, or a fault instead."""

from collections.abc import Generator, Hashable, Mapping
from contextlib import ExitStack, contextmanager, suppress
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import unquote

import httpx
import orjson
from attrs import evolve, frozen
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Match, Route
from starlette.types import Receive, Scope, Send

from sunshine_async._calls.endpoint import MAX_JSON_BYTES
from sunshine_async.emulator import control
from sunshine_async.emulator import server as connection
from sunshine_async.emulator.faults import WITHOUT_BODY, Mishap, Scripted
from sunshine_async.emulator.fields import Refusal
from sunshine_async.emulator.form import Form
from sunshine_async.emulator.server import Connection, InProcess
from sunshine_async.emulator.service import Answer, Asked, Operation, Service
from sunshine_async.emulator.world import Emulation

_IN_PROCESS: Final = InProcess()
_JSON: Final = "application/json"
_STATUSES: Final = frozenset(HTTPStatus)
_ELSEWHERE: Final = "https://elsewhere.example"
_NOT_JSON: Final = b"<html>this is not JSON</html>"
_WORDS: Final[Mapping[int, tuple[str, str]]] = {
    401: ("unauthorized", "Authorization is required"),
    404: ("not_found", "Resource not found"),
    409: ("conflict", "User already exists"),
}
"""What the specification says for a status, where that isn't the usual name of the status."""


@frozen(eq=False)
class _Call:
    """One request, read whole, and the operation it is for, if it is for one."""

    request: Request
    service: Service
    operation: Operation | None = None
    path: Mapping[str, str] = {}
    allowed: tuple[str, ...] = ()
    """The methods that its path has, where it hasn't this one."""
    body: bytes | Form | None = None
    """None: too large to be looked at."""

    @property
    def name(self) -> str | None:
        return self.operation.endpoint.operation if self.operation else None

    @property
    def limit(self) -> int:
        """The most bytes of a body that are looked at."""
        return self.operation.endpoint.max_json_bytes if self.operation else MAX_JSON_BYTES


class Site:
    """The ASGI application."""

    def __init__(self, emulation: Emulation) -> None:
        self._emulation: Final = emulation
        self._control: Final = control.router(emulation)
        self._changing: Final[set[Hashable]] = set()
        self._services: Final = [
            (service, [(_route(operation), operation) for operation in service.operations])
            for service in emulation.services.values()
        ]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request. Paths are matched undecoded: ``%2F`` in an id is no slash."""
        scope = {**scope, "path": scope["raw_path"].decode("latin-1"), "root_path": ""}
        with suppress(ClientDisconnect):
            if scope["path"].startswith(control.PREFIX):
                await self._control(scope, receive, send)
            else:
                await self._serve(Request(scope, receive), send)

    async def _serve(self, request: Request, send: Send) -> None:
        call = self._call(request)
        call = evolve(call, body=await _read(call))
        line: Connection = request.scope.get("state", {}).get(connection.KEY, _IN_PROCESS)
        await self._settle(call, line, request.receive, send)

    def _call(self, request: Request) -> _Call:
        path = request.scope["path"]
        found = [at for at in self._services if path.startswith(at[0].prefix)] or self._services
        service, routes = found[0]
        allowed: list[str] = []
        for route, operation in routes:
            match, child = route.matches(request.scope)
            if match is Match.FULL:
                values = {name: unquote(value) for name, value in child["path_params"].items()}
                return _Call(request, service, operation, values)
            if match is Match.PARTIAL:
                allowed.append(operation.endpoint.method)
        return _Call(request, service, allowed=tuple(allowed))

    async def _settle(self, call: _Call, line: Connection, receive: Receive, send: Send) -> None:
        fate = self._fate(call)
        if isinstance(fate, httpx.TransportError):
            await line.fail(fate, receive)
            return
        with ExitStack() as until_answered:
            if fate:
                response = await self._suffer(call, fate, line, until_answered)
            else:
                response = self._answer(call, until_answered)
            if self._emulation.latency:
                await line.hold(self._emulation.latency)
            if fate and fate.reset:
                await line.reset(receive)
            elif fate and fate.cut:
                await line.cut(response, receive, send)
            else:
                await response(call.request.scope, receive, send)

    def _fate(self, call: _Call) -> Scripted | None:
        """Return what goes wrong with *call*, and count both."""
        with self._emulation.lock:
            wait = self._emulation.wait_asked(call.service)
            if wait is None:
                fate = self._emulation.mishaps.take(call.request.method, call.name)
            else:
                fate = Mishap(status=429, retry_after=wait)
            if isinstance(fate, Mishap) and fate.status == HTTPStatus.TOO_MANY_REQUESTS:
                self._emulation.throttled += 1
        return fate

    async def _suffer(
        self, call: _Call, mishap: Mishap, line: Connection, until_answered: ExitStack
    ) -> Response:
        """Return the answer that *mishap* leaves of *call*."""
        if mishap.delay and mishap.when == "before":
            await line.hold(mishap.delay)
        response = self._answer(call, until_answered) if mishap.acts else Response()
        if mishap.delay and mishap.when == "after":
            await line.hold(mishap.delay)
        if mishap.status is not None:
            return _scripted(call, mishap, mishap.status, response)
        if mishap.garbled:
            return Response(_NOT_JSON, response.status_code, media_type=_JSON)
        return response

    def _answer(self, call: _Call, until_answered: ExitStack) -> Response:
        """Do what *call* asks; *until_answered* nobody else may change the same."""
        headers: dict[str, str] = {}
        try:
            operation, asked = self._asked(call)
            with self._emulation.changing():
                if operation.changes:
                    until_answered.enter_context(self._alone(operation.changes(asked)))
                answer = operation.run(asked)
        except Refusal as refusal:
            answer = call.service.problem(refusal)
            if refusal.status == HTTPStatus.METHOD_NOT_ALLOWED:
                headers["allow"] = ", ".join(call.allowed)
        return _response(answer, headers)

    @contextmanager
    def _alone(self, changed: Hashable) -> Generator[None]:
        """Be the only one that changes *changed*; raise `Refusal` where another one does."""
        if changed in self._changing:
            raise Refusal(409, "conflict", "Another change of it is under way")
        self._changing.add(changed)
        try:
            yield
        finally:
            self._changing.discard(changed)

    def _asked(self, call: _Call) -> tuple[Operation, Asked]:
        """Return what *call* asks of which operation; raise `Refusal` where it may or can't."""
        if not self._emulation.credentials.admit(call.request.headers.get("authorization")):
            raise _refusal(401)
        if call.operation is None:
            raise _refusal(405 if call.allowed else 404)
        path = call.service.path(call.path)
        body: Any = {}
        if isinstance(call.body, Form):
            body = call.body.parts()
        elif call.operation.takes and (call.body != b"" or call.operation.needs_body):
            body = call.operation.takes.checked(_json(call.request, call.body, call.limit))
        return call.operation, Asked(path, call.request.query_params, body)


def _scripted(call: _Call, mishap: Mishap, status: int, usual: Response) -> Response:
    """Return the answer that *mishap* says literally, or else one like the service's."""
    body: bytes = bytes(usual.body) or b"{}"
    if mishap.body is not None:
        body = mishap.body.encode()
    elif status in WITHOUT_BODY:
        body = b""
    elif status >= HTTPStatus.MULTIPLE_CHOICES:
        body = orjson.dumps(call.service.problem(_refusal(status)).body)
    response = Response(body, status, media_type=_JSON)
    if HTTPStatus.MULTIPLE_CHOICES <= status < HTTPStatus.BAD_REQUEST:
        response.headers["location"] = _ELSEWHERE + call.request.scope["path"]
    for name, _ in mishap.sent_headers:
        del response.headers[name]
    for name, value in mishap.sent_headers:
        response.headers.append(name, value)
    return response


def _route(operation: Operation) -> Route:
    endpoint = operation.endpoint
    return Route(endpoint.path, operation.run, methods=[endpoint.method], name=endpoint.operation)


async def _read(call: _Call) -> bytes | Form | None:
    """Return the body to its end; None if it is larger than the services take."""
    if call.operation and call.operation.takes_form:
        form = Form(call.request.headers.get("content-type", ""))
        async for chunk in call.request.stream():
            form.add(chunk)
        return form
    chunks: list[bytes] = []
    size = 0
    async for chunk in call.request.stream():
        size += len(chunk)
        if size <= call.limit:
            chunks.append(chunk)
    return b"".join(chunks) if size <= call.limit else None


def _json(request: Request, body: bytes | None, limit: int) -> Any:
    """Return *body* as data; raise `Refusal` where it is too large, or isn't JSON."""
    if body is None:
        raise Refusal(413, "payload_too_large", f"JSON is limited to {limit} bytes in size")
    if not body:
        raise Refusal(400, "bad_request", "should have a JSON body")
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != _JSON:
        raise Refusal(415, "unsupported_media_type", f"content-type should be {_JSON}")
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise Refusal(400, "bad_request", f"the body isn't JSON: {error}") from None


def _refusal(status: int) -> Refusal:
    if status in _WORDS:
        return Refusal(status, *_WORDS[status])
    title = HTTPStatus(status).phrase if status in _STATUSES else "Error"
    return Refusal(status, title.lower().replace(" ", "_"), title)


def _response(answer: Answer, headers: Mapping[str, str] | None = None) -> Response:
    return Response(orjson.dumps(answer.body), answer.status, headers, media_type=_JSON)
