"""Models for linking a Smooch v1.1 app user to a channel."""

from collections.abc import Iterable
from typing import Any, Self

from attrs import Attribute, evolve, field, frozen

from sunshine_async._calls.arguments import check_type, several
from sunshine_async._codec.model import UNSET, Model, Unset, redact
from sunshine_async.smooch.models import filled, needed


@frozen(kw_only=True, slots=False)
class ConfirmationAction(Model):
    """Button below a `ConfirmationMessage`."""

    type: str
    """``link``: the only type that the service accepts."""
    text: str = field(repr=redact)
    uri: str | Unset = field(default=UNSET, repr=redact)


@frozen(kw_only=True, slots=False)
class ConfirmationMessage(Model):
    """Message that asks for a confirmation, or informs; not part of a conversation."""

    role: str
    """``appMaker``."""
    type: str
    """``text`` or ``image``: the only types that the service accepts."""
    text: str | Unset = field(default=UNSET, repr=redact)
    media_url: str | Unset = field(default=UNSET, repr=redact)
    """For an image."""
    media_type: str | Unset = UNSET
    """For an image, such as ``image/png``."""
    alt_text: str | Unset = field(default=UNSET, repr=redact)
    actions: list[ConfirmationAction] | Unset = UNSET
    name: str | Unset = field(default=UNSET, repr=redact)
    """The author's name, as shown."""
    avatar_url: str | Unset = field(default=UNSET, repr=redact)


def _message(_model: object, field: "Attribute[Any]", value: object) -> None:
    """Raise `TypeError` for a message of another type; the error doesn't show the value."""
    if not isinstance(value, ConfirmationMessage | Unset):
        message = f"{field.name} must be a ConfirmationMessage, not {type(value).__name__}"
        raise TypeError(message)


@frozen(kw_only=True, slots=False)
class Confirmation(Model):
    """Confirmation of a link."""

    type: str
    """``immediate`` (no confirmation), ``userActivity`` (by the user's answer to *message*), or

    ``prompt`` (Twilio only: by the user's answer to a text of the service).
    """
    message: ConfirmationMessage | Unset = field(default=UNSET, validator=_message)

    def __attrs_post_init__(self) -> None:
        if self.type == "userActivity" and self.message is UNSET:
            message = "message is not set: without it the user has nothing to act on"
            raise ValueError(message)


@frozen(kw_only=True, slots=False)
class AppUserLink(Model):
    """The body of `AppUsers.link`, with a constructor for each channel that can be linked."""

    type: str = field(validator=filled)
    confirmation: Confirmation
    integration_id: str | Unset = UNSET
    """The integration, if the app has several of *type*."""
    phone_number: str | Unset = field(default=UNSET, repr=redact)
    address: str | Unset = field(default=UNSET, repr=redact)
    given_name: str | Unset = field(default=UNSET, repr=redact)
    surname: str | Unset = field(default=UNSET, repr=redact)
    subject: str | Unset = field(default=UNSET, repr=redact)
    primary: bool | Unset = UNSET
    """True, the service's default: the new client becomes the primary client."""

    @classmethod
    def twilio(
        cls,
        *,
        phone_number: str,
        confirmation: Confirmation,
        integration_id: str | Unset = UNSET,
        primary: bool | Unset = UNSET,
    ) -> Self:
        """Return a link by SMS to *phone_number*, with plus sign and country code."""
        return cls._by_phone("twilio", phone_number, confirmation, integration_id, primary)

    @classmethod
    def messagebird(
        cls,
        *,
        phone_number: str,
        confirmation: Confirmation,
        integration_id: str | Unset = UNSET,
        primary: bool | Unset = UNSET,
    ) -> Self:
        """Return a link by SMS to *phone_number*, with plus sign and country code."""
        return cls._by_phone("messagebird", phone_number, confirmation, integration_id, primary)

    @classmethod
    def whatsapp(
        cls,
        *,
        phone_number: str,
        confirmation: Confirmation,
        integration_id: str | Unset = UNSET,
        primary: bool | Unset = UNSET,
    ) -> Self:
        """Return a link to *phone_number*, with plus sign and country code."""
        return cls._by_phone("whatsapp", phone_number, confirmation, integration_id, primary)

    @classmethod
    def messenger(
        cls,
        *,
        phone_number: str,
        confirmation: Confirmation,
        given_name: str | Unset = UNSET,
        surname: str | Unset = UNSET,
        integration_id: str | Unset = UNSET,
        primary: bool | Unset = UNSET,
    ) -> Self:
        """Return a link to the person that Messenger knows by *phone_number*; names help to match.

        `ValueError` for a *confirmation* without a message, which Messenger needs.
        """
        if confirmation.message is UNSET:
            message = "confirmation.message is not set: Messenger needs one"
            raise ValueError(message)
        link = cls._by_phone("messenger", phone_number, confirmation, integration_id, primary)
        return evolve(link, given_name=given_name, surname=surname)

    @classmethod
    def mailgun(
        cls,
        *,
        address: str,
        confirmation: Confirmation,
        subject: str | Unset = UNSET,
        integration_id: str | Unset = UNSET,
        primary: bool | Unset = UNSET,
    ) -> Self:
        """Return a link to the e-mail *address*."""
        return cls(
            type="mailgun",
            confirmation=confirmation,
            integration_id=integration_id,
            address=needed("address", address),
            subject=subject,
            primary=primary,
        )

    @classmethod
    def _by_phone(
        cls,
        type: str,
        phone_number: str,
        confirmation: Confirmation,
        integration_id: str | Unset,
        primary: bool | Unset,  # noqa: FBT001
    ) -> Self:
        return cls(
            type=type,
            confirmation=confirmation,
            integration_id=integration_id,
            phone_number=needed("phone_number", phone_number),
            primary=primary,
        )


@frozen(kw_only=True, slots=False)
class LinkRequest(Model):
    """Link, or code, by which a user links a channel."""

    integration_id: str | None = None
    type: str | None = None
    """The channel, such as ``telegram``; the service may add values."""
    code: str | None = field(default=None, repr=redact)
    """A secret until first used: anyone can link with the code."""
    url: str | None = field(default=None, repr=redact)
    """A link to open, with the same effect as *code*."""


def join_ids(integration_ids: Iterable[str]) -> str:
    """Return *integration_ids* for the query; raise `TypeError` or `ValueError` for invalid ids."""
    ids = several("integration_ids", integration_ids)
    for each in ids:
        check_type("each of integration_ids", type(each))
    if not all(ids) or any("," in one for one in ids):
        message = "integration_ids has an empty id, or an id with a comma, which joins ids"
        raise ValueError(message)
    return ",".join(ids)


@frozen(kw_only=True, slots=False)
class LinkRequestResponse(Model):
    """Answer with the list that `AppUsers.link_requests` returns."""

    link_requests: list[LinkRequest] | None = None


@frozen(kw_only=True, slots=False)
class ChannelEntityItem(Model):
    """Identity of a user on a channel; each channel has an identity field."""

    type: str | None = None
    """The channel, such as ``twilio``; the service may add values."""
    integration_id: str | None = None
    phone_number: str | None = field(default=None, repr=redact)
    """Of Twilio and MessageBird."""
    user_id: str | None = field(default=None, repr=redact)
    """Of Messenger, Viber, LINE, WeChat and Twitter."""
    address: str | None = field(default=None, repr=redact)
    """Of Mailgun."""
    username: str | None = field(default=None, repr=redact)
    """Of WhatsApp."""
    chat_id: str | None = field(default=None, repr=redact)
    """Of Telegram."""


@frozen(kw_only=True, slots=False)
class AppUserChannelsResponse(Model):
    """Answer with the list that `AppUsers.entity_ids` returns."""

    channels: list[ChannelEntityItem] | None = None
