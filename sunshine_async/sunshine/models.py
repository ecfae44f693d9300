"""Models of Sunshine Conversations v2 users, under the service's names.

- Bodies (`UserCreateBody`, `UserUpdateBody`, `SyncUserBody`, `Profile`) leave `UNSET` fields out
  and send None as null.
- In answers (`User`, `UserProfile`, `Identity`) an absent field reads as None. So does a value of
  an unexpected type: the raw value stays in *extra*, under the name on the wire. A number for a
  text id reads as text.
- Each model keeps unknown keys in *extra*, and sends *extra* back out.
- The service checks limits, and answers 400. A value of another type than declared is a
  `ValueError` before anything is sent. Times have a zone.
- A ``repr`` shows no personal data.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from attrs import field, frozen

from sunshine_async._codec.model import UNSET, Model, Unset, redact, require_time_zone


@frozen(kw_only=True, slots=False)
class Profile(Model):
    """Personal data of a user, in bodies."""

    given_name: str | Unset | None = field(default=UNSET, repr=redact)
    """First name: 1 to 128 characters."""
    surname: str | Unset | None = field(default=UNSET, repr=redact)
    """Last name: 1 to 128 characters."""
    email: str | Unset | None = field(default=UNSET, repr=redact)
    """An e-mail address: 1 to 128 characters."""
    avatar_url: str | Unset | None = field(default=UNSET, repr=redact)
    """The URI of a picture: 1 to 2048 characters."""
    locale: str | Unset | None = UNSET
    """A BCP 47 language tag such as ``fr-CA``: 1 to 64 characters."""


@frozen(kw_only=True, slots=False)
class UserCreateBody(Model):
    """The body of `Users.create`."""

    external_id: str | Unset = field(default=UNSET, repr=redact)
    """The caller's own key, unique in the app: 1 to 1024 characters."""
    brand_id: str | Unset | None = UNSET
    """For a brand-separated user: the brand, 1 to 24 characters."""
    signed_up_at: datetime | Unset = field(default=UNSET, validator=require_time_zone)
    """Time of signing up, with a zone; sent in UTC with milliseconds."""
    to_be_retained: bool | Unset = UNSET
    """True: the service keeps the user past the inactive expiry."""
    profile: Profile | Unset = UNSET
    metadata: Mapping[str, str | float | bool | None] | Unset | None = field(
        default=UNSET, repr=redact
    )
    """The caller's own properties, flat, 4 KB in all. None as a value unsets a property."""


@frozen(kw_only=True, slots=False)
class UserUpdateBody(Model):
    """The body of `Users.update`: a field left out stays unchanged."""

    signed_up_at: datetime | Unset = field(default=UNSET, validator=require_time_zone)
    """Time of signing up, with a zone; sent in UTC with milliseconds."""
    to_be_retained: bool | Unset = UNSET
    """True: the service keeps the user past the inactive expiry."""
    profile: Profile | Unset = UNSET
    metadata: Mapping[str, str | float | bool | None] | Unset | None = field(
        default=UNSET, repr=redact
    )
    """The caller's own properties, flat, 4 KB in all. None as a value unsets a property."""


@frozen(kw_only=True, slots=False)
class SyncUserBody(Model):
    """The body of `Users.sync`."""

    surviving_zendesk_id: str | Unset = UNSET
    """After a merge in Support: the id of the remaining Support user."""


@frozen(kw_only=True, slots=False)
class UserProfile(Model):
    """Personal data of a user, in answers."""

    given_name: str | None = field(default=None, repr=redact)
    surname: str | None = field(default=None, repr=redact)
    email: str | None = field(default=None, repr=redact)
    avatar_url: str | None = field(default=None, repr=redact)
    locale: str | None = None
    locale_origin: str | None = None
    """The source of the locale; in the service's examples, not in the schema."""


@frozen(kw_only=True, slots=False)
class Identity(Model):
    """A connected identity of a user, such as an e-mail address."""

    type: str | None = None
    """Such as ``email``; the service may add values."""
    value: str | None = field(default=None, repr=redact)
    verification: str | None = None
    """The way of verification, such as ``sso`` or ``embed``; the service may add values."""


@frozen(kw_only=True, slots=False)
class User(Model):
    """User of an app, in answers.

    Only *id* is always present: an answer without *id* is a `ResponseDecodeError`.
    """

    id: str
    authenticated: bool | None = None
    """True if the user has authenticated, by JWT or through the help centre."""
    external_id: str | None = field(default=None, repr=redact)
    zendesk_id: str | None = None
    """The id of the user's Support record."""
    brand_id: str | None = None
    signed_up_at: datetime | None = None
    to_be_retained: bool | None = None
    profile: UserProfile | None = None
    metadata: Mapping[str, Any] | None = field(default=None, repr=redact)
    identities: list[Identity] | None = None
    has_payment_info: bool | None = None
    """In the service's examples, not in the schema."""
