"""ASGI application of the emulator: routes a request, runs the operation, injects a fault.

Assumed, where the references are silent:

- 100 kB of JSON are 100,000 bytes. A larger body is a 413, another ``Content-Type`` a 415, another
  method a 405. Credentials are checked before path and body.
- The error of a status without an example in the references has the name of the status.
- A 429 has a ``Retry-After``: the seconds until one more request has its turn.
"""

from collections.abc import Mapping
from contextlib import ExitStack, suppress
from functools import cache
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
from sunshine_async._codec import Misfit, decode
from sunshine_async.emulator import control
from sunshine_async.emulator.faults import WITHOUT_BODY, Mishap, ScriptedFault
from sunshine_async.emulator.fields import FormParser, Refusal, refuse
from sunshine_async.emulator.server import CONNECTION_KEY, ClientConnection
from sunshine_async.emulator.service import Operation, OperationRequest, UserApi
from sunshine_async.emulator.world import World

_IN_PROCESS: Final = ClientConnection()
ROOT: Final = "/sc"
"""The beginning of the paths of Zendesk's customers (``https://{subdomain}.zendesk.com/sc``)."""
_JSON: Final = "application/json"
_STATUSES: Final = frozenset(HTTPStatus)
_TITLES: Final[Mapping[int, tuple[str, str]]] = {
    401: ("unauthorized", "Authorization is required"),
    404: ("not_found", "Resource not found"),
    409: ("conflict", "User already exists"),
}
"""Code and title of the specification, for statuses where the usual name of the status differs."""


@frozen(eq=False)
class _RoutedRequest:
    """A request with the matching operation, if any."""

    request: Request
    service: UserApi
    operation: Operation | None = None
    path: Mapping[str, str] = {}
    allowed: tuple[str, ...] = ()
    """The methods of the path, if the method of the request is none of these methods."""
    body: bytes | FormParser | None = None
    """The whole body; None if the body is too large."""

    @property
    def max_bytes(self) -> int:
        return self.operation.endpoint.max_json_bytes if self.operation else MAX_JSON_BYTES


class AsgiApp:
    """ASGI application of a *world*, control requests included."""

    def __init__(self, world: World) -> None:
        self._world: Final = world
        self._control: Final = control.router(world)
        self._services: Final = [
            (service, [(_route(str(one.endpoint)), one) for one in service.operations])
            for service in world.services.values()
        ]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, below `ROOT` or not.

        Paths are matched undecoded: ``%2F`` in an id is no slash.
        """
        path = scope["raw_path"].decode("latin-1")
        root = ROOT if path.startswith(f"{ROOT}/") else ""
        scope = {**scope, "path": path[len(root) :], "root_path": root}
        with suppress(ClientDisconnect):
            if scope["path"].startswith(control.PREFIX):
                await self._control(scope, receive, send)
            else:
                routed = self._match(Request(scope, receive))
                await self._serve(evolve(routed, body=await _read_body(routed)), send)

    def _match(self, request: Request) -> _RoutedRequest:
        path = request.scope["path"]
        found = [at for at in self._services if path.startswith(at[0].prefix)] or self._services
        service, routes = found[0]
        with self._world.lock:
            path = service.spelled(path, request.headers.get("authorization", ""))
        allowed: list[str] = []
        for route, operation in routes:
            match, child = route.matches({**request.scope, "path": path})
            if match is Match.FULL:
                values = {name: unquote(value) for name, value in child["path_params"].items()}
                return _RoutedRequest(request, service, operation, values)
            if match is Match.PARTIAL:
                allowed.append(operation.endpoint.method)
        return _RoutedRequest(request, service, allowed=tuple(allowed))

    async def _serve(self, routed: _RoutedRequest, send: Send) -> None:
        """Run the operation and respond, or inject the next fault."""
        scope, receive = routed.request.scope, routed.request.receive
        connection: ClientConnection = scope.get("state", {}).get(CONNECTION_KEY, _IN_PROCESS)
        fault = self._next_fault(routed)
        if isinstance(fault, httpx.TransportError):
            await connection.raise_error(fault, receive)
            return
        with ExitStack() as until_answered:
            if fault:
                response = await self._apply_fault(routed, fault, connection, until_answered)
            else:
                response = self._run(routed, until_answered)
            if self._world.latency:
                await connection.wait(self._world.latency)
            if fault and fault.reset:
                await connection.reset(receive)
            elif fault and fault.cut:
                await connection.truncate(response, receive, send)
            else:
                await response(scope, receive, send)

    def _next_fault(self, routed: _RoutedRequest) -> ScriptedFault | None:
        """Count the request; return and count the fault that hits the request."""
        name = routed.operation.endpoint.operation if routed.operation else None
        with self._world.lock:
            wait = self._world.throttle(routed.service)
            if wait is None:
                fault = self._world.injector.next_fault(routed.request.method, name)
            else:
                fault = Mishap(status=429, retry_after=wait)
            if isinstance(fault, Mishap) and fault.status == HTTPStatus.TOO_MANY_REQUESTS:
                self._world.throttled += 1
        return fault

    async def _apply_fault(
        self,
        routed: _RoutedRequest,
        fault: Mishap,
        connection: ClientConnection,
        until_answered: ExitStack,
    ) -> Response:
        """Wait the delay of *fault*, run the operation if *fault* acts, return the response."""
        if fault.delay and fault.when == "before":
            await connection.wait(fault.delay)
        response = self._run(routed, until_answered) if fault.acts else _without_effect(routed)
        if fault.delay and fault.when == "after":
            await connection.wait(fault.delay)
        if fault.status is not None:
            return _fault_response(routed, fault, fault.status, response)
        if fault.garbled:
            html = "<html>this is not JSON</html>"
            return Response(html, response.status_code, media_type=_JSON)
        return response

    def _run(self, routed: _RoutedRequest, until_answered: ExitStack) -> Response:
        """Run the operation; *until_answered* the changed object is locked."""
        allow: dict[str, str] = {}
        try:
            operation, request = self._parse(routed)
            with self._world.transaction():
                if operation.lock_key:
                    until_answered.enter_context(self._world.exclusive(operation.lock_key(request)))
                result = operation.run(request)
        except Refusal as refusal:
            result = routed.service.error_response(refusal)
            if refusal.status == HTTPStatus.METHOD_NOT_ALLOWED:
                allow["allow"] = ", ".join(routed.allowed)
        headers = {**result.headers, **allow}
        return Response(orjson.dumps(result.body), result.status, headers, media_type=_JSON)

    def _parse(self, routed: _RoutedRequest) -> tuple[Operation, OperationRequest]:
        """Return the operation and decoded input; raise `Refusal` if not admitted or invalid."""
        operation = routed.operation
        scope, headers = routed.request.scope, routed.request.headers
        authorization = headers.get("authorization", "")
        if not (operation and operation.is_public) and not self._admits(routed, authorization):
            raise _refusal(401)
        if operation is None:
            raise _refusal(405 if routed.allowed else 404)
        path = routed.service.path(routed.path)
        body: Any = {}
        if isinstance(routed.body, FormParser):
            body = routed.body.parts()
        elif operation.schema and (routed.body != b"" or operation.needs_body):
            body = operation.schema.validate(_parse_json(routed))
        origin = f"{scope['scheme']}://{headers.get('host', '')}"
        url = f"{origin}{scope['root_path']}{scope['path']}"
        query = routed.request.query_params
        return operation, OperationRequest(path, query, body, url, authorization)

    def _admits(self, routed: _RoutedRequest, authorization: str) -> bool:
        with self._world.lock:
            issued = routed.service.admits(authorization)
        return self._world.credentials.admit(authorization) if issued is None else issued


def _without_effect(routed: _RoutedRequest) -> Response:
    """Return an empty response with the usual status."""
    return Response(None, routed.operation.endpoint.ok[0] if routed.operation else 404)


def _fault_response(
    routed: _RoutedRequest, fault: Mishap, status: int, usual: Response
) -> Response:
    """Return the scripted response of *fault*; by default the service's own for *status*."""
    body: bytes = bytes(usual.body) or b"{}"
    if fault.body is not None:
        body = fault.body.encode()
    elif status in WITHOUT_BODY:
        body = b""
    elif status >= HTTPStatus.MULTIPLE_CHOICES:
        body = orjson.dumps(routed.service.error_response(_refusal(status)).body)
    response = Response(body, status, media_type=_JSON)
    if HTTPStatus.MULTIPLE_CHOICES <= status < HTTPStatus.BAD_REQUEST:
        response.headers["location"] = f"https://elsewhere.example{routed.request.scope['path']}"
    for name, _ in fault.sent_headers:
        del response.headers[name]
    for name, value in fault.sent_headers:
        response.headers.append(name, value)
    return response


@cache  # the emulators of a process share the compiled paths
def _route(endpoint: str) -> Route:
    method, path = endpoint.split()
    return Route(path, Response, methods=[method])


async def _read_body(routed: _RoutedRequest) -> bytes | FormParser | None:
    """Read the body to the end; return None if the body is larger than the services take."""
    if routed.operation and routed.operation.takes_form:
        kind = routed.request.headers.get("content-type", "")
        form = FormParser(kind, keep=routed.operation.keeps_files)
        async for chunk in routed.request.stream():
            form.add(chunk)
        return form
    chunks: list[bytes] = []
    size = 0
    async for chunk in routed.request.stream():
        size += len(chunk)
        if size <= routed.max_bytes:
            chunks.append(chunk)
    return b"".join(chunks) if size <= routed.max_bytes else None


def _parse_json(routed: _RoutedRequest) -> Any:
    """Return the body as data; raise `Refusal` if the body is too large, missing or not JSON."""
    body, limit = routed.body, routed.max_bytes
    if not isinstance(body, bytes):
        raise Refusal(413, "payload_too_large", f"JSON is limited to {limit} bytes in size")
    if not body:
        refuse("should have a JSON body")
    kind = routed.request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != _JSON:
        raise Refusal(415, "unsupported_media_type", f"content-type should be {_JSON}")
    try:
        return decode(body)
    except Misfit as misfit:
        refuse(f"the body is {misfit}")


def _refusal(status: int) -> Refusal:
    if status in _TITLES:
        return Refusal(status, *_TITLES[status])
    title = HTTPStatus(status).phrase if status in _STATUSES else "Error"
    return Refusal(status, title.lower().replace(" ", "_"), title)
