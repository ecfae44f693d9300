"""Contents of messages: nine kinds, and six kinds of actions, each chosen by ``type``.

Match on `Content`::

    match message.content:
        case TextMessage(text=text): ...
        case ImageMessage(media_url=url) | FileMessage(media_url=url): ...
        case UnknownContent(type=kind, extra=everything): ...
        case _: ...

- Bodies and answers share these classes. None, the default, leaves a key out: no field takes null.
- In answers, content without a field that the service requires is an `UnknownContent`, an action
  an `UnknownAction`; *extra* then has all data.
- The service sets the fields that are called read-only, and answers 400 for a value that is no use.
- A ``repr`` shows no text, no payload and no URL.
"""

from collections.abc import Mapping
from typing import Any, TypeAlias

from attrs import field, frozen

from sunshine_async._codec.model import AS_TYPE, WIRE, Model, redact

Metadata: TypeAlias = Mapping[str, Any]
"""Properties of the caller's own: flat, texts, numbers and booleans, 4 KB in all."""


@frozen(kw_only=True, slots=False)
class MessengerChannelOptions(Model):
    """Options for Facebook Messenger."""

    messenger_extensions: bool | None = field(default=None, metadata={WIRE: "messenger_extensions"})
    """True: a webview loads with Messenger Extensions."""
    webview_share_button: str | None = field(default=None, metadata={WIRE: "webview_share_button"})
    """``hide``: a webview shows no button to share."""


@frozen(kw_only=True, slots=False)
class ExtraChannelOptions(Model):
    """Options that go to a channel unchanged."""

    messenger: MessengerChannelOptions | None = None


@frozen(kw_only=True, slots=False)
class _Action(Model):
    text: str = field(repr=redact)
    """The text of the button."""
    metadata: Metadata | None = field(default=None, repr=redact)


@frozen(kw_only=True, slots=False)
class Buy(_Action):
    """Action: pay an amount."""

    amount: int
    """In the smallest unit: 999 is 9.99."""
    currency: str | None = None
    """An ISO 4217 code."""
    type: str = field(default="buy", metadata=AS_TYPE)


@frozen(kw_only=True, slots=False)
class Link(_Action):
    """Action: open a URI."""

    uri: str = field(repr=redact)
    default: bool | None = None
    """True: the default action of an item in Facebook Messenger."""
    extra_channel_options: ExtraChannelOptions | None = None
    type: str = field(default="link", metadata=AS_TYPE)


@frozen(kw_only=True, slots=False)
class LocationRequest(_Action):
    """Action: share the location."""

    type: str = field(default="locationRequest", metadata=AS_TYPE)


@frozen(kw_only=True, slots=False)
class Postback(_Action):
    """Action: send *payload* to the business, without a message."""

    payload: str = field(repr=redact)
    type: str = field(default="postback", metadata=AS_TYPE)


@frozen(kw_only=True, slots=False)
class Reply(_Action):
    """Action: answer with the text of the button, as a message with *payload*."""

    payload: str = field(repr=redact)
    icon_url: str | None = field(default=None, repr=redact)
    type: str = field(default="reply", metadata=AS_TYPE)


@frozen(kw_only=True, slots=False)
class Webview(_Action):
    """Action: open a URI inside the channel."""

    uri: str = field(repr=redact)
    fallback: str = field(repr=redact)
    """The URI for channels without webviews."""
    default: bool | None = None
    """True: the default action of an item in Facebook Messenger."""
    size: str | None = None
    """``compact``, ``tall`` or ``full``."""
    open_on_receive: bool | None = None
    """True: open at once, in the Web Messenger; for one action of a message."""
    extra_channel_options: ExtraChannelOptions | None = None
    type: str = field(default="webview", metadata=AS_TYPE)


@frozen(kw_only=True, slots=False)
class UnknownAction(Model):
    """Action of an unknown kind; *extra* has all data."""

    type: str | None = field(default=None, metadata=AS_TYPE)


Action: TypeAlias = Buy | Link | LocationRequest | Postback | Reply | Webview | UnknownAction
"""Action of a text, of an image."""
ActionSubset: TypeAlias = Buy | Link | Postback | Webview | UnknownAction
"""Action of an item, and of a list."""


@frozen(kw_only=True, slots=False)
class Item(Model):
    """Item of a carousel or a list."""

    title: str = field(repr=redact)
    """1 to 128 characters."""
    actions: list[ActionSubset]
    """1 to 3 actions."""
    description: str | None = field(default=None, repr=redact)
    """Up to 128 characters."""
    media_url: str | None = field(default=None, repr=redact)
    media_type: str | None = None
    alt_text: str | None = field(default=None, repr=redact)
    """Description of the image, for people who can't see the image: up to 128 characters."""
    size: str | None = None
    """``compact`` or ``large``."""
    metadata: Metadata | None = field(default=None, repr=redact)


@frozen(kw_only=True, slots=False)
class DisplaySettings(Model):
    """Layout of a carousel."""

    image_aspect_ratio: str | None = None
    """``horizontal`` (the default) or ``square``."""


@frozen(kw_only=True, slots=False)
class FormOption(Model):
    """Option of a field of type ``select``."""

    name: str | None = None
    label: str | None = None


@frozen(kw_only=True, slots=False)
class _Field(Model):
    type: str | None = None
    """``email``, ``select`` or ``text``."""
    name: str | None = None
    """Unique in the form: 1 to 128 characters."""
    label: str | None = None
    """1 to 128 characters."""
    text: str | None = field(default=None, repr=redact)
    """The response of a field of type ``text``."""
    email: str | None = field(default=None, repr=redact)
    """The response of a field of type ``email``."""
    select: list[FormOption] | None = field(default=None, repr=redact)
    """The response of a field of type ``select``."""
    format: str | None = None
    """Of a field of type ``text``: ``integer`` or ``decimal``."""


@frozen(kw_only=True, slots=False)
class FormMessageField(_Field):
    """Field of a form; the service needs *type*, *name* and *label*."""

    placeholder: str | None = None
    min_size: int | None = None
    """The fewest characters of a response, 1 to 256."""
    max_size: int | None = None
    """The most characters of a response, 1 to 256."""
    options: list[FormOption] | None = None
    """Up to 200 options of a field of type ``select``."""


@frozen(kw_only=True, slots=False)
class FormResponseMessageField(_Field):
    """Field of a form, with the user's response."""

    quoted_message_id: str | None = None
    """The id of the form's message."""


@frozen(kw_only=True, slots=False)
class Coordinates(Model):
    """Coordinates of a place, in degrees."""

    lat: float = field(repr=redact)
    long: float = field(repr=redact)


@frozen(kw_only=True, slots=False)
class Location(Model):
    """Name and address of a place."""

    address: str | None = field(default=None, repr=redact)
    name: str | None = field(default=None, repr=redact)


@frozen(kw_only=True, slots=False)
class _Content(Model):
    block_chat_input: bool | None = None
    """True: the user can't write while this message is the newest."""


@frozen(kw_only=True, slots=False)
class _RichText(_Content):
    text: str | None = field(default=None, repr=redact)
    """Up to 4,096 characters."""
    html_text: str | None = field(default=None, repr=redact)
    """HTML in place of *text*, up to 4,096 characters."""
    markdown_text: str | None = field(default=None, repr=redact)
    """Markdown in place of *html_text*; answers have *html_text* instead."""


@frozen(kw_only=True, slots=False)
class TextMessage(_RichText):
    """Content: a text, with actions. Needs *text*, *html_text*, *markdown_text* or *actions*."""

    actions: list[Action] | None = None
    payload: str | None = field(default=None, repr=redact)
    """The payload of the `Reply` that the user chose."""
    type: str = field(default="text", metadata=AS_TYPE)


@frozen(kw_only=True, slots=False)
class CarouselMessage(_Content):
    """Content: 1 to 10 items, side by side."""

    items: list[Item]
    text: str | None = field(default=None, repr=redact)
    """The text for channels without carousels; read-only."""
    display_settings: DisplaySettings | None = None
    type: str = field(default="carousel", metadata=AS_TYPE)


@frozen(kw_only=True, slots=False)
class _Media(_RichText):
    media_url: str = field(repr=redact)
    """The URL of the file, such as `Attachment.media_url`.

    With private attachments, a request for the file needs an authorization header.
    """
    media_type: str | None = None
    """The MIME type; read-only."""
    media_size: float | None = None
    """The size in bytes; read-only."""
    alt_text: str | None = field(default=None, repr=redact)
    """Description, up to 128 characters; the file's name by default."""
    attachment_id: str | None = None
    """For the service's own use."""


@frozen(kw_only=True, slots=False)
class FileMessage(_Media):
    """Content: a file."""

    type: str = field(default="file", metadata=AS_TYPE)


@frozen(kw_only=True, slots=False)
class FormMessage(_Content):
    """Content: a form of 1 to 20 fields."""

    fields: list[FormMessageField]
    submitted: bool | None = None
    """True: the user has sent the form; read-only."""
    text: str | None = field(default=None, repr=redact)
    """Text above the link to the form, on social channels."""
    type: str = field(default="form", metadata=AS_TYPE)


@frozen(kw_only=True, slots=False)
class FormResponseMessage(Model):
    """Content: the user's response to a form. The API takes no such message."""

    fields: list[FormResponseMessageField]
    text_fallback: str | None = field(default=None, repr=redact)
    """A line ``label: value`` for each field; read-only."""
    type: str = field(default="formResponse", metadata=AS_TYPE)


@frozen(kw_only=True, slots=False)
class ImageMessage(_Media):
    """Content: an image, with actions."""

    actions: list[Action] | None = None
    type: str = field(default="image", metadata=AS_TYPE)


@frozen(kw_only=True, slots=False)
class ListMessage(_Content):
    """Content: 1 to 10 items in a column, and actions of the list."""

    items: list[Item]
    actions: list[ActionSubset] | None = None
    type: str = field(default="list", metadata=AS_TYPE)


@frozen(kw_only=True, slots=False)
class LocationMessage(_Content):
    """Content: a place."""

    coordinates: Coordinates
    location: Location | None = None
    text: str | None = field(default=None, repr=redact)
    """The text for channels without places; read-only."""
    type: str = field(default="location", metadata=AS_TYPE)


@frozen(kw_only=True, slots=False)
class TemplateMessage(_Content):
    """Content: a template of WhatsApp, with ``schema="whatsapp"`` in `MessagePost`."""

    template: Mapping[str, Any] = field(repr=redact)
    type: str = field(default="template", metadata=AS_TYPE)


@frozen(kw_only=True, slots=False)
class UnknownContent(Model):
    """Content of an unknown kind; *extra* has all data."""

    type: str | None = field(default=None, metadata=AS_TYPE)


Content: TypeAlias = (
    TextMessage
    | CarouselMessage
    | FileMessage
    | FormMessage
    | FormResponseMessage
    | ImageMessage
    | ListMessage
    | LocationMessage
    | TemplateMessage
    | UnknownContent
)
