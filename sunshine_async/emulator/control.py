"""Control requests of tests and scripts, below ``/_emulator``, without credentials.

======================================== ===========================================================
``GET /_emulator/ledger``                the counts as JSON: `Emulator.ledger`
``GET /_emulator/users/{service}``       JSON lines, one stored user a line; ``?appId=`` for one app
``POST /_emulator/users/{service}``      stores the users of such lines (``?appId=`` is needed): 201
``POST /_emulator/support``              stores Support records, a line each: 201
``POST /_emulator/dixa/definitions``     stores definitions of custom attributes, a line each: 201
``POST /_emulator/dixa/conversations``   stores conversations, a line each, of ``requesterId``: 201
``POST /_emulator/say``                  lets a user write a message: 200 with the ids
``POST /_emulator/webhooks/{service}``   stores webhooks, a line each (``?appId=``): 201
``POST /_emulator/deliver``              lets an event happen: 200 with the id
``GET /_emulator/deliveries``            JSON lines, one delivery of a webhook a line
``GET /_emulator/media/...``             an attachment, as uploaded
``POST /_emulator/faults``               scripts a fault, a `Mishap` as JSON: 204
``POST /_emulator/reset``                deletes users, counts and faults: 204
======================================== ===========================================================

A 201 has the lines as stored. An invalid line is a 400 that names the field, and the line of
several; earlier lines stay.
"""

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, Final

import orjson
from attrs import frozen
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, Router

from sunshine_async._codec import decode
from sunshine_async.emulator.faults import parse_mishap
from sunshine_async.emulator.fields import OBJECT, TEXT, Refusal, object_schema, text_schema
from sunshine_async.emulator.world import World

PREFIX: Final = "/_emulator/"
_JSON: Final = "application/json"
_CONVERSATION: Final = object_schema("requesterId", requesterId=TEXT)
_SAID: Final = object_schema(
    "app_id",
    "user",
    **dict.fromkeys(("app_id", "user", "text", "conversation"), TEXT),
    content=OBJECT,
)
_EVENT: Final = object_schema(
    "service",
    "trigger",
    "payload",
    service=text_schema(enum=("dixa", "smooch", "sunshine")),
    **dict.fromkeys(("trigger", "app_id"), TEXT),
    payload=OBJECT,
)


def router(world: World) -> Router:
    """Return the ASGI application of control requests for *world*."""
    handlers = _Handlers(world)
    post = partial(Route, methods=["POST"])
    return Router(
        [
            Route(PREFIX + "ledger", handlers.ledger),
            Route(PREFIX + "users/{service}", handlers.users, methods=["GET", "POST"]),
            post(PREFIX + "support", partial(_store_lines, world.add_support)),
            post(PREFIX + "dixa/definitions", partial(_store_lines, world.dixa.define)),
            post(PREFIX + "dixa/conversations", partial(_store_lines, handlers.add_conversation)),
            post(PREFIX + "faults", partial(_act, handlers.script)),
            post(PREFIX + "say", partial(_act, handlers.say)),
            post(PREFIX + "webhooks/{service}", handlers.add_webhooks),
            post(PREFIX + "deliver", partial(_act, handlers.deliver)),
            Route(PREFIX + "deliveries", handlers.deliveries),
            Route(PREFIX + "media/{path:path}", handlers.media),
            post(PREFIX + "reset", handlers.reset),
        ]
    )


@frozen(eq=False)
class _Handlers:
    _world: World

    async def ledger(self, _: Request) -> Response:
        return Response(orjson.dumps(self._world.ledger()), media_type=_JSON)

    async def users(self, request: Request) -> Response:
        service = request.path_params["service"]
        if service not in self._world.services:
            return _problem(404, f"there is no {service} here")
        app_id = request.query_params.get("appId")
        if request.method != "POST":
            return _json_lines(self._world.users(service, app_id=app_id))
        if not app_id and self._world.has_apps(service):
            return _problem(400, "appId: which app are they of? POST ...?appId=...")
        add = self._world.add
        return await _store_lines(lambda user: add(service, user, app_id=app_id or ""), request)

    def add_conversation(self, data: Any) -> Mapping[str, Any]:
        end_user_id = _CONVERSATION.validate(data)["requesterId"]
        stored = self._world.dixa.add_conversation(end_user_id, data)
        conversation = {"csid": stored.get("id"), **stored}
        self._world.deliver("dixa", "CONVERSATION_CREATED", {"conversation": conversation})
        return stored

    async def add_webhooks(self, request: Request) -> Response:
        service, app_id = request.path_params["service"], request.query_params.get("appId", "")
        if service not in self._world.services:
            return _problem(404, f"there is no {service} here")
        add = self._world.add_webhook
        return await _store_lines(lambda webhook: add(service, webhook, app_id=app_id), request)

    def deliver(self, data: Any) -> dict[str, str]:
        return {"id": self._world.deliver(**_EVENT.validate_strictly(data))}

    async def deliveries(self, _: Request) -> Response:
        return _json_lines(self._world.deliveries())

    def script(self, data: Any) -> None:
        self._world.faults.append(parse_mishap(data))

    def say(self, data: Any) -> dict[str, str]:
        return self._world.say(**_SAID.validate_strictly(data))

    async def media(self, request: Request) -> Response:
        try:
            with self._world.lock:
                found = self._world.sunshine.messages.attachment(request.scope["path"])
        except Refusal as refusal:
            return _problem(refusal.status, str(refusal))
        return Response(found.data, headers={"content-type": found.media_type})

    async def reset(self, _: Request) -> Response:
        try:
            self._world.reset()
        except Refusal as refusal:
            return _problem(refusal.status, str(refusal))
        return Response(status_code=204)


async def _act(act: Callable[[Any], object], request: Request) -> Response:
    """Call *act* with the body; respond with the result, or without a body if there is none."""
    try:
        result = act(decode(await request.body()))
    except ValueError as error:
        return _problem(400, str(error))
    except Refusal as refusal:
        return _problem(refusal.status, str(refusal))
    if result is None:
        return Response(status_code=204)
    return Response(orjson.dumps(result), media_type=_JSON)


async def _store_lines(store: Callable[[Any], Mapping[str, Any]], request: Request) -> Response:
    stored: list[Mapping[str, Any]] = []
    lines = (await request.body()).splitlines()
    for number, line in enumerate(lines, start=1):
        place = f"line {number}: " if len(lines) > 1 else ""
        try:
            stored.append(store(_parse_object(line)))
        except ValueError as error:
            return _problem(400, f"{place}{error}")
        except Refusal as refusal:
            return _problem(refusal.status, f"{place}{refusal}")
    return _json_lines(stored, status=201)


def _parse_object(text: bytes) -> Any:
    data = decode(text)
    OBJECT.validate(data)
    return data


def _json_lines(users: Iterable[Mapping[str, Any]], *, status: int = 200) -> Response:
    text = b"".join(orjson.dumps(user, option=orjson.OPT_APPEND_NEWLINE) for user in users)
    return Response(text, status, media_type="application/jsonl")


def _problem(status: int, message: str) -> Response:
    return Response(orjson.dumps({"message": message}), status, media_type=_JSON)
