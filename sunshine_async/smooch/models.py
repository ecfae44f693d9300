"""Models of Smooch v1.1 app users, under the service's names; `links`, `messages` have the rest.

- Bodies (`AppUserPreCreate`, `AppUserUpdate`, `AppUserMerge`) leave `UNSET` fields out and send
  None as null. The service doesn't document if null clears a field.
- In answers any field may be absent, and reads as None. So does a value of an unexpected type: the
  raw value stays in *extra*, under the name on the wire. A number for a text id reads as text.
- *extra* also has all unknown keys, and goes back out.
- Not in the service's schema: *avatar_url* of bodies and `AppUser` (from the guides); *linked_at*,
  *device_id*, *avatar_url*, *primary* and *blocked* of `Client`, and *devices*, *has_payment_info*
  and *credential_required* of `AppUser` (from recorded answers).
- ``_id`` is *id* here. A `Client` also has an ``id``, so a client's ``_id`` is in *extra*.
- A ``repr`` shows no personal data.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final, TypeAlias, TypeVar, cast

from attrs import Attribute, field, frozen

from sunshine_async._calls.arguments import check_type
from sunshine_async._codec.model import AS_ID, UNSET, Model, Unset, redact, require_time_zone

T = TypeVar("T")

Properties: TypeAlias = Mapping[str, str | float | bool | None]

MAX_PROPERTIES_BYTES: Final = 4096
"""Largest size of a user's properties, in bytes: keys and values together."""


def filled(_model: object, field: "Attribute[Any]", value: object) -> None:
    """Validate a required text: `ValueError` for an empty value, `TypeError` for another type."""
    check_type(field.name, type(needed(field.name, value)))


def needed(name: str, value: T) -> T:
    """Return *value*; raise `ValueError`, naming *name*, if *value* is empty or not set."""
    if not value:
        message = f"{name} is empty"
        raise ValueError(message)
    return value


def _flat(_model: object, field: "Attribute[Any]", value: object) -> None:
    """Raise `ValueError` for properties that the service would refuse."""
    if not isinstance(value, Mapping):
        if value is not None and value is not UNSET:
            message = f"{field.name} must be a mapping, not {type(value).__name__}"
            raise ValueError(message)
        return
    size = 0
    for key, inner in cast("Mapping[object, object]", value).items():
        if not (inner is None or inner is UNSET or isinstance(inner, str | int | float)):
            message = (
                f"{field.name}.{key} is {type(inner).__name__}: properties are flat,"
                " each a text, a number, true or false"
            )
            raise ValueError(message)
        size += _size(key) + _size(inner)
    if size > MAX_PROPERTIES_BYTES:
        message = (
            f"{field.name} are {size} bytes, keys and values together;"
            f" the service takes {MAX_PROPERTIES_BYTES} at most"
        )
        raise ValueError(message)


def _size(value: object) -> int:
    return len(str(value).encode(errors="surrogatepass"))


@frozen(kw_only=True, slots=False)
class AppUserPreCreate(Model):
    """The body of `AppUsers.pre_create`."""

    user_id: str = field(validator=filled, repr=redact)
    """The caller's own key, unique in the app."""
    given_name: str | Unset | None = field(default=UNSET, repr=redact)
    surname: str | Unset | None = field(default=UNSET, repr=redact)
    email: str | Unset | None = field(default=UNSET, repr=redact)
    avatar_url: str | Unset | None = field(default=UNSET, repr=redact)
    signed_up_at: datetime | Unset | None = field(default=UNSET, validator=require_time_zone)
    """Time of signing up, with a zone; sent in UTC with milliseconds."""
    properties: Properties | Unset | None = field(default=UNSET, validator=_flat, repr=redact)
    """The caller's own properties, flat, 4 KB in all."""


@frozen(kw_only=True, slots=False)
class AppUserUpdate(Model):
    """The body of `AppUsers.update`: a field or property left out stays unchanged."""

    given_name: str | Unset | None = field(default=UNSET, repr=redact)
    surname: str | Unset | None = field(default=UNSET, repr=redact)
    email: str | Unset | None = field(default=UNSET, repr=redact)
    avatar_url: str | Unset | None = field(default=UNSET, repr=redact)
    signed_up_at: datetime | Unset | None = field(default=UNSET, validator=require_time_zone)
    """Time of signing up, with a zone; sent in UTC with milliseconds."""
    properties: Properties | Unset | None = field(default=UNSET, validator=_flat, repr=redact)
    """The caller's own properties, flat, 4 KB in all."""


@frozen(kw_only=True, slots=False)
class MergedUser(Model):
    """User of a merge."""

    id: str = field(validator=filled, metadata=AS_ID)
    """The service's id, ``_id``; a *user_id* doesn't work."""


def _merged_user(user: str | MergedUser) -> MergedUser:
    return user if isinstance(user, MergedUser) else MergedUser(id=user)


@frozen(kw_only=True, slots=False)
class AppUserMerge(Model):
    """The body of `AppUsers.merge`: both users, by the service's ids."""

    surviving: MergedUser = field(converter=_merged_user)
    """The user that stays, with the data of both."""
    discarded: MergedUser = field(converter=_merged_user)
    """The user that is merged into *surviving*, and deleted."""

    def __attrs_post_init__(self) -> None:
        if self.surviving.id == self.discarded.id:
            message = "discarded is the same user as surviving"
            raise ValueError(message)


@frozen(kw_only=True, slots=False)
class ClientInfo(Model):
    """Data that a client reports of the device and the user."""

    app_name: str | None = None
    avatar_url: str | None = field(default=None, repr=redact)
    carrier: str | None = field(default=None, repr=redact)
    city: str | None = field(default=None, repr=redact)
    country: str | None = field(default=None, repr=redact)
    device_model: str | None = None
    device_platform: str | None = None
    gender: str | None = field(default=None, repr=redact)
    is_payment_enabled: bool | None = None
    locale: str | None = None
    os: str | None = None
    os_version: str | None = None
    phone_number: str | None = field(default=None, repr=redact)
    radio_access_technology: str | None = None
    state: str | None = field(default=None, repr=redact)
    """The state or province."""
    timezone: float | None = None
    """The offset of the client's time zone."""
    wifi: str | None = None


@frozen(kw_only=True, slots=False)
class Client(Model):
    """Client of a user: a device, or an account on a channel."""

    id: str | None = None
    platform: str | None = None
    """The channel, such as ``web`` or ``whatsapp``; the service may add values."""
    status: str | None = None
    """Such as ``active``, ``blocked``, ``inactive`` or ``pending``."""
    external_id: str | None = field(default=None, repr=redact)
    """The user's identity on the channel, such as a phone number."""
    active: bool | None = None
    """Replaced by *status*."""
    last_seen: datetime | None = None
    linked_at: datetime | None = None
    integration_id: str | None = None
    push_notification_token: str | None = field(default=None, repr=redact)
    app_version: str | None = None
    device_id: str | None = field(default=None, repr=redact)
    display_name: str | None = field(default=None, repr=redact)
    avatar_url: str | None = field(default=None, repr=redact)
    primary: bool | None = None
    blocked: bool | None = None
    info: ClientInfo | None = None
    raw: Mapping[str, Any] | None = field(default=None, repr=redact)
    """The channel's raw data of the user."""


@frozen(kw_only=True, slots=False)
class AppUser(Model):
    """App user, in answers."""

    id: str | None = field(default=None, metadata=AS_ID)
    """The service's id, ``_id`` on the wire."""
    user_id: str | None = field(default=None, repr=redact)
    """The caller's own key."""
    given_name: str | None = field(default=None, repr=redact)
    surname: str | None = field(default=None, repr=redact)
    email: str | None = field(default=None, repr=redact)
    avatar_url: str | None = field(default=None, repr=redact)
    signed_up_at: datetime | None = None
    properties: Mapping[str, Any] | None = field(default=None, repr=redact)
    conversation_started: bool | None = None
    clients: list[Client] | None = None
    pending_clients: list[Client] | None = None
    """Clients with a link that isn't confirmed yet."""
    devices: list[Client] | None = None
    """Replaced by *clients*."""
    has_payment_info: bool | None = None
    credential_required: bool | None = None


@frozen(kw_only=True, slots=False)
class BusinessSystemItem(Model):
    """Place of a user's conversation in a business system; each system has an id field."""

    type: str | None = None
    """Such as ``slack`` or ``zendesk``; the service may add values."""
    channel_id: str | None = None
    """Of Slack."""
    ticket_id: str | None = None
    """Of Zendesk."""
    room_id: int | None = None
    """Of HipChat."""
    conversation_id: str | None = None
    """Of Help Scout."""


@frozen(kw_only=True, slots=False)
class AppUserBusinessSystemsResponse(Model):
    """Answer with the list that `AppUsers.business_system_ids` returns."""

    business_systems: list[BusinessSystemItem] | None = None
