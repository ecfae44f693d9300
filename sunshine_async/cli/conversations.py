"""Commands for conversations and messages of Sunshine Conversations: list, get, send."""

import sys
from collections.abc import Callable, Coroutine, Iterable
from datetime import datetime
from typing import Annotated, Any, Final, TypeVar, cast

import anyio
import typer

from sunshine_async import ConfigurationError, SunshineClient, _codec, sunshine
from sunshine_async._codec.model import Model
from sunshine_async.cli.options import (
    AppId,
    BaseUrl,
    HelpCommand,
    HelpGroup,
    KeyId,
    SecretFile,
    Status,
    exit_on_error,
    number,
    option,
)
from sunshine_async.cli.services import SERVICES, ConnectionOptions, call_options
from sunshine_async.cli.streams import emit_json

T = TypeVar("T")

conversations: Final = typer.Typer(
    cls=HelpGroup,
    help="List and get conversations of Sunshine Conversations.",
    no_args_is_help=True,
)
messages: Final = typer.Typer(
    cls=HelpGroup, help="List and send messages of Sunshine Conversations.", no_args_is_help=True
)

ConversationId = Annotated[
    str, typer.Argument(metavar="CONVERSATION", help="Id of the conversation.")
]
Limit = Annotated[
    int,
    typer.Option(parser=number("results", low=1, whole=True), metavar="N", help="At most so many."),
]


@conversations.command("list", cls=HelpCommand)
def list_conversations(
    *,
    user_id: Annotated[str | None, option(metavar="ID", help="Id of the user.")] = None,
    external_id: Annotated[
        str | None, option(metavar="ID", help="The user's external id, instead.")
    ] = None,
    limit: Limit = 100,
    base_url: BaseUrl = None,
    app_id: AppId = None,
    key_id: KeyId = None,
    secret_file: SecretFile = None,
) -> None:
    """Print the conversations of a user as JSON, a line each.

    Exit status: 0 listed; 1 the user is not found, or no answer; 2 could not start.
    """

    async def find(client: SunshineClient) -> list[sunshine.Conversation]:
        listing = client.conversations.list(user_id=user_id, user_external_id=external_id)
        return await listing.first(limit)

    with exit_on_error(Status.TROUBLE):
        if (user_id is None) == (external_id is None):
            message = "which user? Give --user-id or --external-id, and not both"
            raise ConfigurationError(message)
        _print_lines(_call(find, call_options(base_url, app_id, key_id, secret_file)))


@conversations.command("get", cls=HelpCommand)
def get_conversation(
    id: ConversationId,
    *,
    base_url: BaseUrl = None,
    app_id: AppId = None,
    key_id: KeyId = None,
    secret_file: SecretFile = None,
) -> None:
    """Print a conversation as JSON.

    Exit status: 0 found; 1 not found, or no answer; 2 could not start.
    """

    async def find(client: SunshineClient) -> None:
        found = await client.conversations.get(id)
        emit_json(sys.stdout, _codec.unstructure(found), indent=2)

    with exit_on_error(Status.TROUBLE):
        _call(find, call_options(base_url, app_id, key_id, secret_file))


@messages.command("list", cls=HelpCommand)
def list_messages(
    id: ConversationId,
    *,
    limit: Limit = 100,
    base_url: BaseUrl = None,
    app_id: AppId = None,
    key_id: KeyId = None,
    secret_file: SecretFile = None,
) -> None:
    """Print the newest messages of a conversation as JSON, a line each, the oldest first.

    Exit status: 0 listed; 1 not found, or no answer; 2 could not start.
    """

    async def find(client: SunshineClient) -> list[sunshine.Message]:
        found: list[sunshine.Message] = []
        pages = client.messages.list(id).pages()
        while len(found) < limit and (page := await anext(pages, None)) is not None:
            found = [*page.items, *found]
        return found[-limit:]

    with exit_on_error(Status.TROUBLE):
        _print_lines(_call(find, call_options(base_url, app_id, key_id, secret_file)))


@messages.command("send", cls=HelpCommand)
def send_message(
    id: ConversationId,
    text: Annotated[str, typer.Argument(metavar="TEXT", help="The text.")],
    *,
    once: Annotated[
        str | None,
        option(
            metavar="KEY",
            help="A key of your own. After a lost answer the command looks for the message with the key.",
        ),
    ] = None,
    sent_before: Annotated[
        str | None,
        option(
            metavar="TIME",
            help="Time of an earlier try with the same --once, such as 2020-05-21T15:53:30Z: if the message is there, nothing is sent.",
        ),
    ] = None,
    base_url: BaseUrl = None,
    app_id: AppId = None,
    key_id: KeyId = None,
    secret_file: SecretFile = None,
) -> None:
    """Send a text as the business, and print the message as JSON.

    The text is sent once. An error says if the message may be there nevertheless.

    Exit status: 0 sent; 1 refused, or unknown; 2 could not start.
    """

    async def send(client: SunshineClient) -> list[sunshine.Message]:
        earlier = None if sent_before is None else _time(sent_before)
        return await client.messages.send_text(id, text, once=once, sent_before=earlier)

    with exit_on_error(Status.TROUBLE):
        _print_lines(_call(send, call_options(base_url, app_id, key_id, secret_file)))


def _call(
    call: Callable[[SunshineClient], Coroutine[Any, Any, T]], connection: ConnectionOptions
) -> T:
    """Return the result of *call* with a client of Sunshine."""

    async def main() -> T:
        async with cast("SunshineClient", SERVICES["sunshine"].connect(connection)) as client:
            return await call(client)

    return anyio.run(main)


def _print_lines(models: Iterable[Model]) -> None:
    for model in models:
        emit_json(sys.stdout, _codec.unstructure(model))


def _time(text: str) -> datetime:
    """Return the time in *text*; raise `ConfigurationError` for other text, or without a zone."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        found = None
    if found is None or found.tzinfo is None:
        message = (
            f"--sent-before {text}: expected a time with its zone, such as 2020-05-21T15:53:30Z"
        )
        raise ConfigurationError(message)
    return found
