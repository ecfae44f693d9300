"""The models of linking a Smooch v1.1 app user to a channel."""

from typing import Self

from attrs import field, frozen
from attrs.validators import instance_of

from sunshine_async._codec.model import UNSET, Model, Unset, concealed
from sunshine_async.smooch.models import filled, needed


@frozen(kw_only=True, slots=False)
class ConfirmationAction(Model):
    """A button below a `ConfirmationMessage`."""

    type: str
    """``link``: the service takes no other."""
    text: str = field(repr=concealed)
    uri: str | Unset = field(default=UNSET, repr=concealed)


@frozen(kw_only=True, slots=False)
class ConfirmationMessage(Model):
    """The message by which a user is asked, or told: it doesn't become a part of a conversation."""

    role: str
    """``appMaker``."""
    type: str
    """``text`` or ``image``: the service takes no other."""
    text: str | Unset = field(default=UNSET, repr=concealed)
    media_url: str | Unset = field(default=UNSET, repr=concealed)
    """For an image."""
    media_type: str | Unset = UNSET
    """For an image, such as ``image/png``."""
    alt_text: str | Unset = field(default=UNSET, repr=concealed)
    actions: list[ConfirmationAction] | Unset = UNSET
    name: str | Unset = field(default=UNSET, repr=concealed)
    """The author's name, as it is shown."""
    avatar_url: str | Unset = field(default=UNSET, repr=concealed)


@frozen(kw_only=True, slots=False)
class Confirmation(Model):
    """How a link is confirmed."""

    type: str
    """``immediate`` (it isn't), ``userActivity`` (by the user's answer to *message*) or ``prompt``

    (Twilio only: by the answer to a text of the service's own).
    """
    message: ConfirmationMessage | Unset = field(
        default=UNSET, validator=instance_of((ConfirmationMessage, Unset))
    )

    def __attrs_post_init__(self) -> None:
        if self.type == "userActivity" and self.message is UNSET:
            message = "message is not set: without it the user has nothing to act on"
            raise ValueError(message)


@frozen(kw_only=True, slots=False)
class AppUserLink(Model):
    """The body of `AppUsers.link`. There is a constructor for each channel that can be linked."""

    type: str = field(validator=filled)
    confirmation: Confirmation
    integration_id: str | Unset = UNSET
    """Which integration of that *type*, where the app has several."""
    phone_number: str | Unset = field(default=UNSET, repr=concealed)
    address: str | Unset = field(default=UNSET, repr=concealed)
    given_name: str | Unset = field(default=UNSET, repr=concealed)
    surname: str | Unset = field(default=UNSET, repr=concealed)
    subject: str | Unset = field(default=UNSET, repr=concealed)
    primary: bool | Unset = UNSET
    """Whether it becomes the primary client: the service's default is that it does."""

    @classmethod
    def twilio(
        cls,
        *,
        phone_number: str,
        confirmation: Confirmation,
        integration_id: str | Unset = UNSET,
        primary: bool | Unset = UNSET,
    ) -> Self:
        """Return a link by SMS to *phone_number*, which has a plus sign and the country's code."""
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
        """Return a link by SMS to *phone_number*, which has a plus sign and the country's code."""
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
        """Return a link to *phone_number*, which has a plus sign and the country's code."""
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
        """Return a link to whom Messenger knows by *phone_number*, and more surely by the names.

        `ValueError` for a *confirmation* without a message: Messenger needs one.
        """
        if confirmation.message is UNSET:
            message = "confirmation.message is not set: Messenger needs one"
            raise ValueError(message)
        return cls(
            type="messenger",
            confirmation=confirmation,
            integration_id=integration_id,
            phone_number=needed("phone_number", phone_number),
            given_name=given_name,
            surname=surname,
            primary=primary,
        )

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
    """What a user opens, or enters, to link a channel."""

    integration_id: str | None = None
    type: str | None = None
    """The channel, such as ``telegram``; the service may add others."""
    code: str | None = field(default=None, repr=concealed)
    """Links whoever uses it: as good as a password until it is used."""
    url: str | None = field(default=None, repr=concealed)
    """The same as something to open."""


@frozen(kw_only=True, slots=False)
class LinkRequestResponse(Model):
    """The answer that `AppUsers.link_requests` takes its list from."""

    link_requests: list[LinkRequest] | None = None


@frozen(kw_only=True, slots=False)
class ChannelEntityItem(Model):
    """Who a user is on a channel: which field that is depends on the channel."""

    type: str | None = None
    """The channel, such as ``twilio``; the service may add others."""
    integration_id: str | None = None
    phone_number: str | None = field(default=None, repr=concealed)
    """Twilio's and MessageBird's."""
    user_id: str | None = field(default=None, repr=concealed)
    """Messenger's, Viber's, LINE's, WeChat's and Twitter's."""
    address: str | None = field(default=None, repr=concealed)
    """Mailgun's."""
    username: str | None = field(default=None, repr=concealed)
    """WhatsApp's."""
    chat_id: str | None = field(default=None, repr=concealed)
    """Telegram's."""


@frozen(kw_only=True, slots=False)
class AppUserChannelsResponse(Model):
    """The answer that `AppUsers.entity_ids` takes its list from."""

    channels: list[ChannelEntityItem] | None = None
