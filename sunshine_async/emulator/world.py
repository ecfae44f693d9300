"""The state behind an emulator: services and stores, credentials, rates, faults, counts."""

import os
from collections.abc import Callable, Generator, Hashable, Iterable, Mapping
from contextlib import contextmanager
from functools import partial
from math import ceil
from pathlib import Path
from threading import Lock
from time import monotonic
from types import NoneType
from typing import Any, Final

from attrs import evolve

from sunshine_async._pace import Pace
from sunshine_async._pace.settings import Kinds, check_kinds
from sunshine_async.emulator.dixa import Dixa
from sunshine_async.emulator.faults import FaultInjector, Mishap, ScriptedFault, all_odds
from sunshine_async.emulator.fields import BOOLEAN, Refusal, json_copy, text_schema
from sunshine_async.emulator.integration_bodies import WEBHOOK_BODY
from sunshine_async.emulator.platform import MAX_MESSAGES, Platform
from sunshine_async.emulator.service import (
    Credentials,
    StateFile,
    Store,
    UserApi,
    foreign_state,
)
from sunshine_async.emulator.smooch import Smooch
from sunshine_async.emulator.sunshine import SUPPORT, Sunshine
from sunshine_async.emulator.webhook_events import (
    TRIGGERS,
    PlatformEvent,
    platform_events,
    single_event,
)
from sunshine_async.emulator.webhook_sender import TIMEOUT, WebhookFaults, WebhookSender
from sunshine_async.errors import ConfigurationError

BURSTS: Final[Mapping[str, float]] = {"dixa": 0.4}
"""By service: the default burst in seconds of the rate; 0.1 s if not listed."""


WEBHOOK_RETRY: Final = 20.0
"""Seconds before the second attempt of a webhook: 5 attempts take 15 minutes."""
NO_FAULTS: Final = WebhookFaults()
WEBHOOK: Final = evolve(
    WEBHOOK_BODY.with_fields(
        secret=text_schema(1), includeFullAppUser=BOOLEAN, includeClient=BOOLEAN
    ),
    required=("target",),
)


_KINDS: Final[Kinds] = {
    **dict.fromkeys(("latency", "fail"), (float | int, "a number")),
    **dict.fromkeys(("keys", "tokens"), (Iterable, "a list of texts")),
    "odds": ((Mapping, NoneType), "a mapping"),
    "seed": (int | float | str | None, "a number"),
    "state": (str | Path | None, "a path"),
    "max_messages": (int, "a number"),
    "clock": (Callable, "a function"),
}
_MAPPING: Final = (Mapping, "a mapping, as `to_dict` makes of a model")
_ARGUMENTS: Final[Kinds] = {
    **dict.fromkeys(("service", "app_id", "trigger"), (str, "a text")),
    **dict.fromkeys(("user", "record", "webhook", "payload"), _MAPPING),
}
_SAID: Final[Kinds] = {
    **dict.fromkeys(("app_id", "user"), (str, "a text")),
    **dict.fromkeys(("text", "conversation"), (str | None, "a text")),
    "content": ((Mapping, NoneType), _MAPPING[1]),
}
_MISSING: Final = {
    "app_not_found": "app_id",
    "user_not_found": "user",
    "conversation_not_found": "conversation",
}
"""By the code of a refusal: the argument that names nothing."""


class World:
    """State of an `Emulator`, which documents the arguments. Several threads may use a world."""

    def __init__(
        self,
        *,
        rate: float | None = None,
        burst: float | None = None,
        latency: float = 0.0,
        fail: float = 0.0,
        seed: int | None = None,
        keys: Iterable[str] = (),
        tokens: Iterable[str] = (),
        odds: Mapping[Mishap, float] | None = None,
        state: str | Path | None = None,
        max_messages: int = MAX_MESSAGES,
        webhook_retry: float = WEBHOOK_RETRY,
        webhook_timeout: float = TIMEOUT,
        webhook_faults: WebhookFaults = NO_FAULTS,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        given = {
            "latency": latency, "fail": fail, "keys": keys, "tokens": tokens, "odds": odds,
            "seed": seed, "state": state, "max_messages": max_messages, "clock": clock,
        }  # fmt: skip
        check_kinds(_KINDS, given, ConfigurationError)
        if not 0 <= latency < float("inf"):
            message = f"latency={latency}: seconds, 0 or more"
            raise ConfigurationError(message)
        if max_messages < 1:
            message = f"max_messages={max_messages}: 1 or more"
            raise ConfigurationError(message)
        self.latency: Final = latency
        self.injector: Final = FaultInjector(all_odds(fail, odds or {}), seed)
        self.credentials: Final = Credentials(keys, tokens)
        self.lock: Final = Lock()
        """Guards all that is stored, scripted or counted."""
        self._locked: Final[set[Hashable]] = set()
        self.platform: Final = Platform(max_messages=max_messages)
        self.sunshine: Final = Sunshine(self.platform)
        self.smooch: Final = Smooch(self.platform)
        self.dixa: Final = Dixa()
        self.services: Final[Mapping[str, UserApi]] = {
            "sunshine": self.sunshine,
            "smooch": self.smooch,
            "dixa": self.dixa,
        }
        self.sender: Final = WebhookSender(
            first_wait=webhook_retry, timeout=webhook_timeout, faults=webhook_faults, seed=seed
        )
        self.requests = 0  # without control requests
        self.throttled = 0  # answered with 429
        self._paces: Final[Mapping[UserApi, Pace]] = {
            service: _pace(rate, burst, BURSTS.get(name)) for name, service in self.services.items()
        }
        self._clock: Final = clock
        self._stores: Final[Mapping[str, Store]] = {"platform": self.platform, **self.services}
        self._state: Final = None if state is None else self._restore(Path(state))

    @property
    def faults(self) -> list[ScriptedFault]:
        """The scripted faults of coming calls; the first match hits a call.

        A fault is a `Mishap`, or an `httpx.TransportError`. In process the error is raised before
        the effect; on a socket the connection is reset instead.
        """
        return self.injector.scripted

    @faults.setter
    def faults(self, faults: list[ScriptedFault]) -> None:
        check_kinds({"faults": (list, "a list, such as [Mishap(status=503)]")}, {"faults": faults})
        self.injector.scripted = faults

    def ledger(self) -> dict[str, Any]:
        """Return the counts of users, effects, requests, faults and webhooks.

        ``GET /_emulator/ledger``
        """
        with self.lock:
            return {
                **{name: service.counts() for name, service in self.services.items()},
                "requests": self.requests,
                "throttled": self.throttled,
                "faults": dict(self.injector.counts),
                "webhooks": self.sender.counts(),
            }

    def reset(self) -> None:
        """Delete all users, counts and scripted faults; restart the random faults from the seed."""
        with self.lock:
            for store in self._stores.values():
                store.clear()
            self.injector.clear()
            self.sender.clear()
            if self._state is not None:
                self._state.clear()
            self.requests = self.throttled = 0

    def close(self) -> None:
        """End the sending of webhooks, and close the state file, if any."""
        self.sender.stop()
        if self._state is not None:
            self._state.close()

    def users(self, service: str, *, app_id: str | None = None) -> list[Mapping[str, Any]]:
        """Return the stored users of *service* as on the wire, of an app or of all apps."""
        self._check(_ARGUMENTS, service=service, app_id="" if app_id is None else app_id)
        with self.lock:
            return [*self.services[service].users(app_id)]

    def add(self, service: str, user: Mapping[str, Any], *, app_id: str = "") -> Mapping[str, Any]:
        """Store a user of *service* exactly as given; return the user as stored. No effect counts.

        The user may have fields that only the service sets, such as ``zendeskId`` and
        ``identities``. Raise `ValueError` for an invalid user, for an id that is taken, and for a
        missing *app_id* if the service has apps.
        """
        with self._call(service=service, user=user, app_id=app_id):
            return self.services[service].add(user, app_id=app_id)

    def add_support(self, record: Mapping[str, Any]) -> Mapping[str, Any]:
        """Store a Support record of the account, and return the record; `SyncUser` reads records.

        A record has a ``zendeskId``, and any of ``givenName``, ``surname``, ``externalId`` and
        ``email``. The record replaces the record with the same id. Raise `ValueError` for an
        invalid record.
        """
        with self._call(record=record):
            checked: Mapping[str, Any] = SUPPORT.validate_strictly(record)
            self.platform.add_support(checked)
        return checked

    def say(
        self,
        app_id: str,
        user: str,
        text: str | None = None,
        *,
        content: Mapping[str, Any] | None = None,
        conversation: str | None = None,
    ) -> dict[str, str]:
        """Let a user write a message; return the ids: ``{"conversation": ..., "message": ...}``.

        *user* is an id or an external id. The message is a *text*, or any *content* of v2, in the
        *conversation* with that id, or in the user's default conversation, which begins if there is
        none. No effect counts. Raise `ValueError` for an invalid message, for a missing user or
        conversation, and for a conversation that is full.
        """
        said = {"text": text, "content": content, "conversation": conversation}
        with self._call(_SAID, app_id=app_id, user=user, **said):
            if (text is None) is (content is None) or text == "":
                message = "text or content: one of both makes a message, and a text isn't empty"
                raise ValueError(message)
            if content is None:
                content = {"type": "text", "text": text}
            return self.sunshine.messages.say(app_id, user, content, conversation)

    def add_webhook(
        self, service: str, webhook: Mapping[str, Any], *, app_id: str = ""
    ) -> Mapping[str, Any]:
        """Store a webhook of *service*, and return the webhook as stored, with id and secret.

        A webhook has a ``target``. Without ``triggers`` the webhook has all triggers; without
        ``secret`` the secret is drawn. At Sunshine the webhook belongs to a new custom integration.
        No effect counts. Raise `ValueError` for an invalid webhook, for a secret of Dixa that isn't
        hexadecimal, and for a missing *app_id* if the service has apps.
        """
        with self._call(service=service, webhook=webhook, app_id=app_id):
            checked: Mapping[str, Any] = WEBHOOK.validate_strictly(webhook)
            row = {
                "id": self.platform.new_id(), "triggers": [*TRIGGERS[service]],
                "secret": os.urandom(32).hex(), **checked,
            }  # fmt: skip
            if service == "dixa":
                return self.dixa.add_webhook(row)
            app, integration_id = self.platform.app(app_id), ""
            row["version"] = "v1.1"
            if service == "sunshine":
                row["version"], integration_id = "v2", self.platform.new_id()
                custom = {"id": integration_id, "type": "custom", "status": "active"}
                app.table("integrations").put({**custom, "displayName": "webhook"})
            return app.table("webhooks", integration_id).put(row)

    def deliver(
        self, service: str, trigger: str, payload: Mapping[str, Any], *, app_id: str = ""
    ) -> str:
        """Let an event happen that no operation causes; return the id of the event.

        The event goes to the webhooks of *service* that have the *trigger*. *payload* is the payload
        of v2, the keys of v1.1 beyond the usual keys, or the ``data`` of Dixa. Raise `ValueError` for
        a missing *app_id* if the service has apps.
        """
        with self._call(service=service, trigger=trigger, payload=payload, app_id=app_id):
            event = PlatformEvent(
                app_id=app_id, id=self.platform.new_id(), type=trigger, payload=json_copy(payload)
            )
            self.sender.put(single_event(service, event, self._webhooks(service, app_id)))
        return event.id

    def deliveries(self) -> list[dict[str, Any]]:
        """Return the latest deliveries of webhooks: ``GET /_emulator/deliveries``."""
        return self.sender.deliveries()

    async def delivered(self) -> list[dict[str, Any]]:
        """Wait until no webhook is to be delivered; return `deliveries`. Needs asyncio.

        The handler of a `Receiver`, which runs after the answer, may still be under way.
        """
        await self.sender.idle()
        return self.deliveries()

    @contextmanager
    def transaction(self) -> Generator[None]:
        """Hold the lock; write all changes of the block to the state file, or none."""
        with self.lock:
            try:
                yield
            finally:
                events = [*self.platform.events]
                self.platform.events.clear()
                if self._state is not None:
                    self._state.commit()
                for event in events:
                    app = self.platform.app(event.app_id)
                    self.sender.put(platform_events(event, app.webhooks(), app.standby()))

    @contextmanager
    def exclusive(self, key: Hashable) -> Generator[None]:
        """Lock the object with *key* for the block; raise `Refusal` (409) if *key* is locked."""
        if key in self._locked:
            raise Refusal(409, "conflict", "Another change of it is under way")
        self._locked.add(key)
        try:
            yield
        finally:
            self._locked.discard(key)

    def has_apps(self, service: str) -> bool:
        """Return True if the users of *service* belong to apps."""
        operations = self.services[service].operations
        return any("app_id" in operation.endpoint.fields for operation in operations)

    def throttle(self, service: UserApi) -> int | None:
        """Count a request; return the seconds of ``Retry-After`` for a request over the rate."""
        self.requests += 1
        pace = self._paces[service]
        if pace.rate is None:
            return None
        if pace.enter(self._clock()):
            pace.leave()
            return None
        return ceil(1 / pace.rate)

    def _webhooks(self, service: str, app_id: str) -> Iterable[Mapping[str, Any]]:
        if service == "dixa":
            return self.dixa.webhooks
        webhooks = self.platform.app(app_id).webhooks()
        return [row for owner, row in webhooks if bool(owner) is (service == "sunshine")]

    def _check(self, kinds: Kinds, **given: Any) -> None:
        """Raise `ValueError` with the name of an argument of another type, or of no service."""
        check_kinds(kinds, given, ValueError)
        service = given.get("service", "sunshine")
        if service not in self.services:
            message = f"service={service!r}: one of {', '.join(sorted(self.services))}"
            raise ValueError(message)

    @contextmanager
    def _call(self, kinds: Kinds = _ARGUMENTS, **given: Any) -> Generator[None]:
        """`transaction` of a call with the arguments *given*; a refusal is a `ValueError`."""
        self._check(kinds, **given)
        service = given.get("service", "")
        if "app_id" in given and not given["app_id"] and (not service or self.has_apps(service)):
            message = f"app_id: {service or 'a message'} needs an app"
            raise ValueError(message)
        with self.transaction():
            try:
                if given.get("app_id"):
                    self.platform.app(given["app_id"])
                yield
            except Refusal as refusal:
                name = _MISSING.get(refusal.code)
                place = f"{name}={given[name]!r}: " if name in given else ""
                message = f"{place}{refusal}"
                raise ValueError(message) from None

    changing, wait_asked = transaction, throttle  # former names

    def _restore(self, path: Path) -> StateFile:
        """Repeat the changes in the file at *path*; let the file record all later changes."""
        state = StateFile(path)
        try:
            for name, *change in state.changes:
                self._stores[name].restore(change)
        except Exception:  # noqa: BLE001 - whatever changes of another version do
            state.close()
            raise foreign_state(path) from None
        state.changes.clear()
        for name, store in self._stores.items():
            store.keep(partial(state.append, name))
        return state


def _pace(rate: float | None, burst: float | None, default: float | None) -> Pace:
    """Return the rate limiter of a service; *default* is the burst in seconds of the rate."""
    try:
        if burst is None and rate and default:
            burst = max(1.0, rate * default)
        return Pace(rate=rate, burst=burst)
    except ValueError:
        message = f"rate={rate}: requests a second, more than 0; burst={burst}: 1 or more"
    raise ConfigurationError(message)
