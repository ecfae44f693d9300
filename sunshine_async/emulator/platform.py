"""The store of Sunshine Conversations: each user with all parts, for v2 and for v1.1."""

import os
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from itertools import chain, count
from typing import Any, Final, TypeAlias

import orjson
from attrs import define, evolve, field, fields, frozen

from sunshine_async.emulator.fields import Refusal
from sunshine_async.emulator.service import Change

MAX_METADATA_BYTES: Final = 4096
PERSONAL: Final = frozenset({"givenName", "surname", "email", "avatarUrl"})
"""The fields of a profile that `Record.without_personal_information` clears."""
_PERSONAL_OF_CLIENT: Final = frozenset({"displayName", "avatarUrl", "info", "raw"})
_NAMES: Final = ("givenName", "surname")

Stored: TypeAlias = dict[str, Any]
Several: TypeAlias = list[Mapping[str, Any]]


@frozen(kw_only=True)
class Record:
    """One user with every part that the platform knows. A change makes another record."""

    user: Stored
    """The user as v2 shows it."""
    clients: Several = field(factory=list[Mapping[str, Any]])
    pending_clients: Several = field(factory=list[Mapping[str, Any]])
    business_systems: Several = field(factory=list[Mapping[str, Any]])
    conversations: list[str] = field(factory=list[str])
    """Ids, the oldest first."""

    @property
    def id(self) -> str:
        return str(self.user["id"])

    def data(self) -> dict[str, Any]:
        """Return the parts by name, for the state file."""
        return {name: getattr(self, name) for name in _PARTS}

    def changed(self, **values: Any) -> "Record":
        """Return the record with other *values* in the user; None removes a field."""
        return evolve(self, user=_set({**self.user, **values}))

    def without_personal_information(self) -> "Record":
        """Return the record without personal data: in the profile, in metadata, in all clients."""
        profile = {name: it for name, it in self.user["profile"].items() if name not in PERSONAL}
        return evolve(
            self,
            user={**self.user, "profile": profile, "metadata": {}},
            clients=[*map(_impersonal, self.clients)],
            pending_clients=[*map(_impersonal, self.pending_clients)],
        )

    def merged(self, discarded: "Record") -> "Record":
        """Return the record with all parts of *discarded* that it lacks itself."""
        lists = {
            name: [*getattr(self, name), *getattr(discarded, name)]
            for name in _PARTS
            if name != "user"
        }
        return evolve(self, user=_union(self.user, discarded.user), **lists)


_PARTS: Final = tuple(part.name for part in fields(Record))


@define(eq=False)
class App:
    """The users of one app."""

    changed: Callable[[str, Record | None], None]
    """Called with the id of a user whose record is another one now, or gone."""
    by_id: dict[str, Record] = field(factory=dict)
    by_zendesk_id: dict[str | None, Record] = field(factory=dict)
    _by_external_id: dict[tuple[str | None, str | None], Record] = field(factory=dict)

    def found(self, key: str, brand_id: str | None = None) -> Record:
        """Return the user with this id, or external id; raise `Refusal` (404) for nobody."""
        record = self.by_id.get(key) or self._by_external_id.get((brand_id, key))
        if record is None:
            raise not_found()
        return record

    def put(self, record: Record) -> None:
        """Store *record*, in the place of the one with that id."""
        if record.id in self.by_id:
            self._unlist(self.by_id[record.id].user)
        self.by_id[record.id] = record
        if "externalId" in record.user:
            self._by_external_id[_external_key(record.user)] = record
        if "zendeskId" in record.user:
            self.by_zendesk_id[record.user["zendeskId"]] = record
        self.changed(record.id, record)

    def drop(self, record: Record) -> None:
        """Forget *record* with all its parts."""
        self._unlist(self.by_id.pop(record.id).user)
        self.changed(record.id, None)

    def merge(self, survivor: Record, discarded: Record) -> Record:
        """Let *survivor* have what *discarded* had; return the record that is stored now."""
        self.drop(discarded)
        merged = survivor.merged(discarded)
        self.put(merged)
        return merged

    def with_external_id_of(self, user: Mapping[str, Any]) -> Record | None:
        """Return the user that has the external id of *user*."""
        return self._by_external_id.get(_external_key(user))

    def with_email(self, email: str, brand_id: str | None) -> list[Record]:
        """Return the users of a brand with this e-mail identity."""
        key = ("email", email.lower())
        return [
            record
            for record in self.by_id.values()
            if record.user.get("brandId") == brand_id
            and any(identity_key(one) == key for one in record.user["identities"])
        ]

    def _unlist(self, user: Stored) -> None:
        self._by_external_id.pop(_external_key(user), None)
        self.by_zendesk_id.pop(user.get("zendeskId"), None)


class Platform:
    """The apps with their users, and the Support records of the account. The one store of both APIs."""

    def __init__(self) -> None:
        self._run: Final = os.urandom(5).hex()
        self._number: Final = count()
        self._apps: dict[str, App] = {}
        self._support: dict[str, Mapping[str, Any]] = {}
        self._keep: Callable[[Change], None] = lambda _: None

    def __len__(self) -> int:
        return sum(len(app.by_id) for app in self._apps.values())

    def app(self, app_id: str) -> App:
        """Return one app; any id is an app."""
        if app_id not in self._apps:
            self._apps[app_id] = App(
                lambda who, record: self._keep([app_id, who, record and record.data()])
            )
        return self._apps[app_id]

    def records(self, app_id: str | None = None) -> Iterator[Record]:
        """Yield the users of one app, or of all."""
        apps = self._apps.values() if app_id is None else [self.app(app_id)]
        return chain.from_iterable(app.by_id.values() for app in apps)

    def new_id(self) -> str:
        """Return an id that nothing else has."""
        return f"{int(datetime.now(UTC).timestamp()):08x}{self._run}{next(self._number):06x}"

    def made(self, body: Mapping[str, Any]) -> Stored:
        """Return a new user as *body* has it, not stored yet."""
        now = datetime.now(UTC)
        user: Stored = {
            "id": body.get("id") or self.new_id(),
            "externalId": body.get("externalId"),
            "zendeskId": body.get("zendeskId"),
            "brandId": body.get("brandId"),
            "signedUpAt": _time(now),
            "hasPaymentInfo": False,
            "identities": body.get("identities", []),
            "profile": {},
            "metadata": {},
        }
        return with_changes(_set(user), body)

    def add(self, record: Record, *, app_id: str) -> None:
        """Store a *record* that is given whole; raise `ValueError` where one of its ids is taken."""
        app = self.app(app_id)
        for name, taken in {
            "id": record.id in app.by_id,
            "externalId": app.with_external_id_of(record.user) is not None,
            "zendeskId": record.user.get("zendeskId") in app.by_zendesk_id,
        }.items():
            if taken:
                message = f"{name} is taken"
                raise ValueError(message)
        app.put(record)

    def add_support(self, record: Mapping[str, Any]) -> None:
        """Store a Support *record*, in the place of the one with that ``zendeskId``."""
        self._support[record["zendeskId"]] = record
        self._keep(["support", record])

    def align(self, app: App, record: Record) -> Record:
        """Put a user in step with its Support record, where there is one; return the user."""
        support = self._support.get(record.user["zendeskId"], {})
        if support.get("externalId") is not None:
            wanted = {**record.user, "externalId": support["externalId"]}
            record = _claimed(app, record, app.with_external_id_of(wanted), externalId=None)
        if support.get("email") is not None:
            key = ("email", support["email"].lower())
            for other in app.with_email(support["email"], record.user.get("brandId")):
                left = [one for one in other.user["identities"] if identity_key(one) != key]
                record = _claimed(app, record, other, identities=left)
        values: dict[str, Any] = {
            "profile": _set({**record.user["profile"], **_some(support, *_NAMES)}),
            **_some(support, "externalId"),
        }
        if "email" in support:
            values["identities"] = _with_primary(record.user["identities"], support["email"])
        record = record.changed(**values)
        app.put(record)
        return record

    def clear(self) -> None:
        """Forget all users and Support records."""
        self._apps.clear()
        self._support.clear()

    def restore(self, change: Change) -> None:
        """Make a *change* that was kept."""
        match change:
            case ["support", record]:
                self.add_support(record)
            case [app_id, who, None]:
                app = self.app(app_id)
                app.drop(app.by_id[who])
            case _:
                self.app(change[0]).put(Record(**change[2]))

    def keep(self, write: Callable[[Change], None]) -> None:
        """Hand every change to *write* from now on."""
        self._keep = write


def _claimed(app: App, record: Record, other: Record | None, **without: Any) -> Record:
    """Resolve a conflict with *other* over an external id or an e-mail; return the synced user.

    A user that is linked to Support itself loses the value. Any other is merged.
    """
    if other is None or other.id == record.id:
        return record
    if "zendeskId" not in other.user:
        return app.merge(record, other)
    app.put(other.changed(**without))
    return record


def not_found() -> Refusal:
    """Return how an operation says that there is no such user."""
    return Refusal(404, "user_not_found", "User not found")


def with_changes(user: Stored, body: Mapping[str, Any]) -> Stored:
    """Return *user* with the changes that *body* asks for."""
    changed = {**user}
    if "signedUpAt" in body:
        changed["signedUpAt"] = _time(datetime.fromisoformat(body["signedUpAt"]))
    if "toBeRetained" in body:
        changed["toBeRetained"] = body["toBeRetained"]
    changed["profile"] = _set({**user["profile"], **body.get("profile", {})})
    if "metadata" in body:
        metadata = body["metadata"]
        changed["metadata"] = {} if metadata is None else _set({**user["metadata"], **metadata})
        if not _fits(changed["metadata"]):
            title = f"metadata is limited to {MAX_METADATA_BYTES} bytes in size"
            raise Refusal(400, "bad_request", title)
    return changed


def identity_key(identity: Mapping[str, Any]) -> tuple[Any, str]:
    """Return what makes *identity* the same as another."""
    return identity.get("type"), identity.get("value", "").lower()


def _external_key(user: Mapping[str, Any]) -> tuple[str | None, str | None]:
    return user.get("brandId"), user.get("externalId")


def _impersonal(client: Mapping[str, Any]) -> Mapping[str, Any]:
    return {name: value for name, value in client.items() if name not in _PERSONAL_OF_CLIENT}


def _union(survivor: Stored, discarded: Stored) -> Stored:
    """Return *survivor* with what it lacks; brand and external id keep to their brand."""
    union = {**discarded, **survivor}
    if survivor.get("brandId") != discarded.get("brandId"):
        for name in ("brandId", "externalId"):
            union[name] = survivor.get(name)
    keys = {identity_key(one) for one in survivor["identities"]}
    metadata = survivor["metadata"]
    for name, value in discarded["metadata"].items():
        wider = {name: value, **metadata}
        metadata = wider if _fits(wider) else metadata
    union["identities"] = [
        *survivor["identities"],
        *(one for one in discarded["identities"] if identity_key(one) not in keys),
    ]
    union["profile"] = {**discarded["profile"], **survivor["profile"]}
    union["metadata"] = metadata
    return _set(union)


def _with_primary(identities: Several, email: str | None) -> list[Mapping[str, Any]]:
    """Return *identities* with *email* in the place of the first e-mail identity."""
    first = next((one for one in identities if one.get("type") == "email"), None)
    others = [one for one in identities if one is not first]
    if email is None:
        return others
    new = {"type": "email", "value": email}
    key = identity_key(new)
    same = next((one for one in identities if identity_key(one) == key), new)
    return [{**same, **new}, *(one for one in others if one is not same)]


def _fits(metadata: Mapping[str, Any]) -> bool:
    return len(orjson.dumps(metadata)) <= MAX_METADATA_BYTES


def _some(values: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {name: values[name] for name in names if name in values}


def _set(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _time(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
