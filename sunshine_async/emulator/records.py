"""Records of users: a user of Sunshine Conversations with all parts, and the rules of a change."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final

from attrs import evolve, field, frozen

from sunshine_async.emulator.fields import (
    JsonObject,
    JsonObjects,
    Refusal,
    format_time,
    omit,
    pick,
    without_none,
)
from sunshine_async.emulator.tables import is_within_limit, merged_metadata

PERSONAL: Final = frozenset({"givenName", "surname", "email", "avatarUrl"})
"""The profile fields that `Record.without_personal_information` clears."""
ONLY_V2: Final = ("locale", "localeOrigin")
"""The profile fields that v1.1 lacks."""
_PERSONAL_OF_CLIENT: Final = frozenset({"displayName", "avatarUrl", "info", "raw"})


@frozen(kw_only=True)
class Record:
    """User with all parts on the platform. Immutable: a change makes a new record."""

    user: JsonObject
    """The user in the format of v2."""
    clients: JsonObjects = field(factory=list[Mapping[str, Any]])
    pending_clients: JsonObjects = field(factory=list[Mapping[str, Any]])
    business_systems: JsonObjects = field(factory=list[Mapping[str, Any]])
    devices: JsonObjects = field(factory=list[Mapping[str, Any]])
    """Devices in the format of v2."""
    conversations: list[str] = field(factory=list[str])
    """Ids, in the order of joining."""

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
            devices=[omit(device, *_PERSONAL_OF_CLIENT) for device in self.devices],
        )

    @property
    def all_clients(self) -> JsonObjects:
        """The clients, the pending ones last."""
        return [*self.clients, *self.pending_clients]

    def with_clients(self, keep: Callable[[Mapping[str, Any]], bool]) -> "Record":
        """Return the record with the clients, pending or not, for which *keep* is true."""
        return evolve(
            self,
            clients=[*filter(keep, self.clients)],
            pending_clients=[*filter(keep, self.pending_clients)],
        )

    def without_channel(self, channel: str) -> "Record":
        """Return the record without the clients of *channel*."""
        return self.with_clients(lambda client: client.get("platform") != channel)

    def merge_with(self, discarded: "Record") -> "Record":
        """Return the record with the missing parts filled from *discarded*."""
        return Record(
            user=_merge_users(self.user, discarded.user),
            clients=[*self.clients, *discarded.clients],
            pending_clients=[*self.pending_clients, *discarded.pending_clients],
            business_systems=[*self.business_systems, *discarded.business_systems],
            devices=[*self.devices, *discarded.devices],
            conversations=[*dict.fromkeys([*self.conversations, *discarded.conversations])],
        )


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
        changed["metadata"] = merged_metadata(user["metadata"], body["metadata"])
    return changed


def identity_key(identity: Mapping[str, Any]) -> tuple[Any, str]:
    """Return the key by which identities are equal: type, and value in small letters."""
    return identity.get("type"), identity.get("value", "").lower()


def external_key(user: Mapping[str, Any]) -> tuple[str | None, str | None]:
    """Return the key by which external ids are unique: brand and external id."""
    return user.get("brandId"), user.get("externalId")


def _merge_users(survivor: JsonObject, discarded: JsonObject) -> JsonObject:
    """Return *survivor*, gaps filled from *discarded*, except another brand and external id."""
    union = {**discarded, **survivor}
    if survivor.get("brandId") != discarded.get("brandId"):
        union |= {name: survivor.get(name) for name in ("brandId", "externalId")}
    keys = {identity_key(identity) for identity in survivor["identities"]}
    metadata = survivor["metadata"]
    for name, value in discarded["metadata"].items():
        wider = {name: value, **metadata}
        metadata = wider if is_within_limit(wider) else metadata
    union["identities"] = [
        *survivor["identities"],
        *(identity for identity in discarded["identities"] if identity_key(identity) not in keys),
    ]
    union["profile"] = {**discarded["profile"], **survivor["profile"]}
    union["metadata"] = metadata
    return without_none(union)


def with_primary_email(identities: JsonObjects, email: str | None) -> list[Mapping[str, Any]]:
    """Return *identities* with *email* instead of the first e-mail identity."""
    first = next((identity for identity in identities if identity.get("type") == "email"), None)
    others = [identity for identity in identities if identity is not first]
    if email is None:
        return others
    new = {"type": "email", "value": email}
    key = identity_key(new)
    same = next((identity for identity in identities if identity_key(identity) == key), new)
    return [{**same, **new}, *(identity for identity in others if identity is not same)]
