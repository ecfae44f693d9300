"""Store of Sunshine Conversations: each user with all parts, shared by the APIs v2 and v1.1."""

import os
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from itertools import chain, count
from typing import Any, ClassVar, Final

import orjson
from attrs import asdict, define, evolve, field, frozen

from sunshine_async.emulator.fields import (
    JsonObject,
    JsonObjects,
    Refusal,
    format_time,
    omit,
    pick,
    refuse,
    without_none,
)
from sunshine_async.emulator.service import Change, OperationRequest, Reply, Store, UserApi

MAX_METADATA_BYTES: Final = 4096
PERSONAL: Final = frozenset({"givenName", "surname", "email", "avatarUrl"})
"""The profile fields that `Record.without_personal_information` clears."""
_PERSONAL_OF_CLIENT: Final = frozenset({"displayName", "avatarUrl", "info", "raw"})
_NAMES: Final = ("givenName", "surname")


@frozen(kw_only=True)
class Record:
    """User with all parts on the platform. Immutable: a change makes a new record."""

    user: JsonObject
    """The user in the format of v2."""
    clients: JsonObjects = field(factory=list[Mapping[str, Any]])
    pending_clients: JsonObjects = field(factory=list[Mapping[str, Any]])
    business_systems: JsonObjects = field(factory=list[Mapping[str, Any]])
    conversations: list[str] = field(factory=list[str])
    """Ids, the oldest first."""

    @property
    def id(self) -> str:
        return str(self.user["id"])

    def with_values(self, **values: Any) -> "Record":
        """Return the record with new *values* in the user; None removes a field."""
        return evolve(self, user=without_none({**self.user, **values}))

    def without_personal_information(self) -> "Record":
        """Return the record without personal data in profile, metadata and all clients."""
        profile = omit(self.user["profile"], *PERSONAL)
        return evolve(
            self,
            user={**self.user, "profile": profile, "metadata": {}},
            clients=[omit(client, *_PERSONAL_OF_CLIENT) for client in self.clients],
            pending_clients=[omit(client, *_PERSONAL_OF_CLIENT) for client in self.pending_clients],
        )

    def merge_with(self, discarded: "Record") -> "Record":
        """Return the record with the missing parts filled from *discarded*."""
        return Record(
            user=_merge_users(self.user, discarded.user),
            clients=[*self.clients, *discarded.clients],
            pending_clients=[*self.pending_clients, *discarded.pending_clients],
            business_systems=[*self.business_systems, *discarded.business_systems],
            conversations=[*self.conversations, *discarded.conversations],
        )


@define(eq=False)
class App:
    """The users of an app."""

    on_change: Callable[[str, Record | None], None]
    """Called with a user's id and the new record; with None after a removal."""
    by_id: dict[str, Record] = field(factory=dict)
    by_zendesk_id: dict[str | None, Record] = field(factory=dict)
    _by_external_id: dict[tuple[str | None, str | None], Record] = field(factory=dict)

    def get(self, key: str, brand_id: str | None = None) -> Record:
        """Return the user with an id or an external id; raise `Refusal` (404) if there is none."""
        record = self.by_id.get(key) or self._by_external_id.get((brand_id, key))
        if record is None:
            raise not_found()
        return record

    def put(self, record: Record) -> None:
        """Store *record*; replace the record with the same id."""
        if record.id in self.by_id:
            self._unindex(self.by_id[record.id].user)
        self.by_id[record.id] = record
        if "externalId" in record.user:
            self._by_external_id[_external_key(record.user)] = record
        if "zendeskId" in record.user:
            self.by_zendesk_id[record.user["zendeskId"]] = record
        self.on_change(record.id, record)

    def remove(self, record: Record) -> None:
        """Remove *record* with all parts."""
        self._unindex(self.by_id.pop(record.id).user)
        self.on_change(record.id, None)

    def merge(self, survivor: Record, discarded: Record) -> Record:
        """Merge *discarded* into *survivor*; return the merged record, which is stored."""
        self.remove(discarded)
        merged = survivor.merge_with(discarded)
        self.put(merged)
        return merged

    def owner_of_external_id(self, user: Mapping[str, Any]) -> Record | None:
        """Return the user with the same external id and brand as *user*."""
        return self._by_external_id.get(_external_key(user))

    def find_by_email(self, email: str, brand_id: str | None) -> list[Record]:
        """Return the users of a brand with this e-mail identity."""
        key = ("email", email.lower())
        return [
            record
            for record in self.by_id.values()
            if record.user.get("brandId") == brand_id
            and any(_identity_key(identity) == key for identity in record.user["identities"])
        ]

    def _unindex(self, user: JsonObject) -> None:
        self._by_external_id.pop(_external_key(user), None)
        self.by_zendesk_id.pop(user.get("zendeskId"), None)


class Platform(Store):
    """All apps, the users of each app, and the Support records of the account."""

    def __init__(self) -> None:
        super().__init__()
        self._run: Final = os.urandom(5).hex()
        self._number: Final = count()
        self._apps: dict[str, App] = {}
        self._support: dict[str, Mapping[str, Any]] = {}

    def __len__(self) -> int:
        return sum(len(app.by_id) for app in self._apps.values())

    def app(self, app_id: str) -> App:
        """Return an app; any id is an app."""
        if app_id not in self._apps:
            self._apps[app_id] = App(
                lambda user_id, record: self._keep(
                    [app_id, user_id, record and asdict(record, recurse=False)]
                )
            )
        return self._apps[app_id]

    def records(self, app_id: str | None = None) -> Iterator[Record]:
        """Yield the users of an app, or of all apps."""
        apps = self._apps.values() if app_id is None else [self.app(app_id)]
        return chain.from_iterable(app.by_id.values() for app in apps)

    def new_id(self) -> str:
        return f"{int(datetime.now(UTC).timestamp()):08x}{self._run}{next(self._number):06x}"

    def new_user(self, body: Mapping[str, Any]) -> JsonObject:
        """Return a new user with the values of *body*; the user isn't stored yet."""
        user: JsonObject = {
            "id": body.get("id") or self.new_id(),
            **pick(body, "externalId", "zendeskId", "brandId"),
            "signedUpAt": format_time(),
            "hasPaymentInfo": False,
            "identities": body.get("identities", []),
            "profile": {},
            "metadata": {},
        }
        return apply_update(without_none(user), body)

    def add(self, record: Record, *, app_id: str) -> None:
        """Store a complete *record*; raise `ValueError` if an id of the record is taken."""
        app = self.app(app_id)
        for name, taken in {
            "id": record.id in app.by_id,
            "externalId": app.owner_of_external_id(record.user) is not None,
            "zendeskId": record.user.get("zendeskId") in app.by_zendesk_id,
        }.items():
            if taken:
                message = f"{name} is taken"
                raise ValueError(message)
        app.put(record)

    def add_support(self, record: Mapping[str, Any]) -> None:
        """Store a Support *record*; replace the record with the same ``zendeskId``."""
        self._support[record["zendeskId"]] = record
        self._keep(["support", record])

    def sync_with_support(self, app: App, record: Record) -> Record:
        """Return a user with the values of the Support record; the caller stores the user.

        Users with the same external id or e-mail are merged, or lose the value. Without a Support
        record the user stays the same.
        """
        support = self._support.get(record.user["zendeskId"], {})
        if support.get("externalId") is not None:
            target = {**record.user, "externalId": support["externalId"]}
            owner = app.owner_of_external_id(target)
            record = _resolve_conflict(app, record, owner, externalId=None)
        if support.get("email") is not None:
            key = ("email", support["email"].lower())
            for other in app.find_by_email(support["email"], record.user.get("brandId")):
                identities = other.user["identities"]
                rest = [identity for identity in identities if _identity_key(identity) != key]
                record = _resolve_conflict(app, record, other, identities=rest)
        values: dict[str, Any] = {
            "profile": without_none({**record.user["profile"], **pick(support, *_NAMES)}),
            **pick(support, "externalId"),
        }
        if "email" in support:
            values["identities"] = _with_primary_email(record.user["identities"], support["email"])
        return record.with_values(**values)

    def clear(self) -> None:
        self._apps.clear()
        self._support.clear()

    def restore(self, change: Change) -> None:
        match change:
            case ["support", record]:
                self.add_support(record)
            case [app_id, user_id, None]:
                app = self.app(app_id)
                app.remove(app.by_id[user_id])
            case _:
                self.app(change[0]).put(Record(**change[2]))


class PlatformApi(UserApi):
    """Base class of the APIs v2 and v1.1: operations on the records of one platform."""

    _envelope: ClassVar[str]
    """The key of a user in a response."""

    def __init__(self, platform: Platform) -> None:
        super().__init__()
        self._platform: Final = platform

    def __len__(self) -> int:
        return len(self._platform)

    def users(self, app_id: str | None = None) -> Iterator[Mapping[str, Any]]:
        return map(self._view, self._platform.records(app_id))

    def _add(self, user: Mapping[str, Any], app_id: str) -> Mapping[str, Any]:
        record = self._new_record(user)
        self._platform.add(record, app_id=app_id)
        return self._view(record)

    def _app(self, request: OperationRequest) -> App:
        return self._platform.app(request.path["app_id"])

    def _create(self, app: App, body: Mapping[str, Any]) -> Reply:
        """Create a user from a v2 *body*; raise `Refusal` (409) if the external id is taken."""
        if "externalId" in body and app.owner_of_external_id(body):
            raise Refusal(409, "conflict", "User already exists")
        return self._put("create", app, Record(user=self._platform.new_user(body)), status=201)

    def _clear_profile(self, effect: str, request: OperationRequest) -> Reply:
        app, record = self._find(request)
        return self._put(effect, app, record.without_personal_information())

    def _get(self, request: OperationRequest) -> Reply:
        _, record = self._find(request)
        return self._respond(record)

    def _delete(self, request: OperationRequest) -> Reply:
        app, record = self._find(request)
        app.remove(record)
        return self._done("delete")

    def _put(self, effect: str, app: App, record: Record, *, status: int = 200) -> Reply:
        """Store *record*, count *effect*, and respond with the user."""
        app.put(record)
        self._count(effect)
        return self._respond(record, status=status)

    def _respond(self, record: Record, *, status: int = 200) -> Reply:
        return Reply(status, {self._envelope: self._view(record)})

    def _done(self, effect: str) -> Reply:
        self._count(effect)
        return Reply(200, {})

    @abstractmethod
    def _find(self, request: OperationRequest) -> tuple[App, Record]:
        """Return the app and the user of *request*; raise `Refusal` (404) for a missing user."""

    @abstractmethod
    def _new_record(self, user: Mapping[str, Any]) -> Record:
        """Return a record of *user*, given as on the wire; raise `Refusal` if invalid."""

    @abstractmethod
    def _view(self, record: Record) -> Mapping[str, Any]:
        """Return the user in the format of the API."""


def _resolve_conflict(app: App, record: Record, other: Record | None, **without: Any) -> Record:
    """Resolve a conflict with *other* over an external id or an e-mail; return the synced user.

    An *other* user with a link to Support loses the value. Without a link, *other* is merged.
    """
    if other is None or other.id == record.id:
        return record
    if "zendeskId" not in other.user:
        return app.merge(record, other)
    app.put(other.with_values(**without))
    return record


def not_found() -> Refusal:
    """Return the refusal of an operation on a missing user."""
    return Refusal(404, "user_not_found", "User not found")


def apply_update(user: JsonObject, body: Mapping[str, Any]) -> JsonObject:
    """Return *user* with the changes in *body*."""
    changed = {**user, **pick(body, "toBeRetained")}
    if "signedUpAt" in body:
        changed["signedUpAt"] = format_time(datetime.fromisoformat(body["signedUpAt"]))
    changed["profile"] = without_none({**user["profile"], **body.get("profile", {})})
    if "metadata" in body:
        new = body["metadata"]
        changed["metadata"] = {} if new is None else without_none({**user["metadata"], **new})
        if not _is_within_limit(changed["metadata"]):
            refuse(f"metadata is limited to {MAX_METADATA_BYTES} bytes in size")
    return changed


def _identity_key(identity: Mapping[str, Any]) -> tuple[Any, str]:
    return identity.get("type"), identity.get("value", "").lower()


def _external_key(user: Mapping[str, Any]) -> tuple[str | None, str | None]:
    return user.get("brandId"), user.get("externalId")


def _merge_users(survivor: JsonObject, discarded: JsonObject) -> JsonObject:
    """Return *survivor*, gaps filled from *discarded*, except another brand and external id."""
    union = {**discarded, **survivor}
    if survivor.get("brandId") != discarded.get("brandId"):
        union |= {name: survivor.get(name) for name in ("brandId", "externalId")}
    keys = {_identity_key(identity) for identity in survivor["identities"]}
    metadata = survivor["metadata"]
    for name, value in discarded["metadata"].items():
        wider = {name: value, **metadata}
        metadata = wider if _is_within_limit(wider) else metadata
    union["identities"] = [
        *survivor["identities"],
        *(identity for identity in discarded["identities"] if _identity_key(identity) not in keys),
    ]
    union["profile"] = {**discarded["profile"], **survivor["profile"]}
    union["metadata"] = metadata
    return without_none(union)


def _with_primary_email(identities: JsonObjects, email: str | None) -> list[Mapping[str, Any]]:
    """Return *identities* with *email* instead of the first e-mail identity."""
    first = next((identity for identity in identities if identity.get("type") == "email"), None)
    others = [identity for identity in identities if identity is not first]
    if email is None:
        return others
    new = {"type": "email", "value": email}
    key = _identity_key(new)
    same = next((identity for identity in identities if _identity_key(identity) == key), new)
    return [{**same, **new}, *(identity for identity in others if identity is not same)]


def _is_within_limit(metadata: Mapping[str, Any]) -> bool:
    return len(orjson.dumps(metadata)) <= MAX_METADATA_BYTES
