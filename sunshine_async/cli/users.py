"""Commands for a single user: get and delete."""

import sys
from collections.abc import Awaitable, Callable, Mapping
from typing import Annotated, Any, Final

import anyio
import typer
from attrs import frozen

from sunshine_async import ConfigurationError, ConflictError, DixaClient, _codec
from sunshine_async.cli.options import (
    AppId,
    BaseUrl,
    BrandId,
    HelpCommand,
    HelpGroup,
    KeyId,
    SecretFile,
    ServiceName,
    Status,
    Yes,
    exit_on_error,
)
from sunshine_async.cli.services import ConnectionOptions, call_options, confirm, find_service
from sunshine_async.cli.streams import emit, emit_json

users: Final = typer.Typer(cls=HelpGroup, help="Get or delete a single user.", no_args_is_help=True)

UserId = Annotated[
    str, typer.Argument(metavar="ID", help="The user's id or external id; for Dixa the id.")
]


@frozen(kw_only=True)
class UserOptions:
    """Options for a single user that only some services have."""

    brand_id: str | None = None
    force: bool = False


@users.command("get", cls=HelpCommand)
def get_user(
    id: UserId,
    *,
    service: ServiceName = "sunshine",
    brand_id: BrandId = None,
    base_url: BaseUrl = None,
    app_id: AppId = None,
    key_id: KeyId = None,
    secret_file: SecretFile = None,
) -> None:
    """Print a user as JSON.

    Exit status: 0 found; 1 not found, or no answer; 2 could not start.
    """
    connection = call_options(base_url, app_id, key_id, secret_file)

    async def main() -> None:
        user = await _call(_GET, service, id, UserOptions(brand_id=brand_id), connection)
        emit_json(sys.stdout, _codec.unstructure(user), indent=2)

    with exit_on_error(Status.TROUBLE):
        anyio.run(main)


@users.command("delete", cls=HelpCommand)
def delete_user(
    id: UserId,
    *,
    service: ServiceName = "sunshine",
    brand_id: BrandId = None,
    force: Annotated[
        bool, typer.Option("--force", help="Dixa: also with open conversations.")
    ] = False,
    yes: Yes = False,
    base_url: BaseUrl = None,
    app_id: AppId = None,
    key_id: KeyId = None,
    secret_file: SecretFile = None,
) -> None:
    """Delete a user. Dixa anonymizes the user, for good, with all conversations and messages.

    Exit status: 0 deleted; 1 not found, or no answer; 2 could not start.
    """
    connection = call_options(base_url, app_id, key_id, secret_file)
    options = UserOptions(brand_id=brand_id, force=force)

    async def main() -> None:
        await _call(_DELETE, service, id, options, connection)
        emit(sys.stderr, _ANONYMIZED if service == "dixa" else "Deleted.\n")

    with exit_on_error(Status.TROUBLE):
        act = "Anonymize, for good," if service == "dixa" else "Delete"
        confirm(f"{act} 1 user at {service}", yes=yes, may_ask=connection.may_ask)
        anyio.run(main)


UserCall = Callable[[Any, str, UserOptions], Awaitable[object]]


async def _call(
    calls: Mapping[str, UserCall],
    service: str,
    id: str,
    options: UserOptions,
    connection: ConnectionOptions,
) -> object:
    """Call the *service*; raise `ConfigurationError` for an option that the service hasn't."""
    found = find_service(service)
    for name in ("brand_id", "force"):
        if getattr(options, name) and name != _OPTIONS.get(service):
            message = f"--{name.replace('_', '-')} doesn't apply to {service}: leave it out"
            raise ConfigurationError(message)
    async with found.connect(connection) as client:
        return await calls[service](client, id, options)


async def _anonymize(client: DixaClient, id: str, options: UserOptions) -> None:
    try:
        await client.end_users.anonymize(id, force=options.force)
    except ConflictError as error:
        if not options.force:
            error.add_note(
                ". The user may have open conversations: --force anonymizes the user all the same"
            )
        raise


_ANONYMIZED: Final = (
    "Accepted: Dixa anonymizes the end user, with all conversations and messages, for good. "
    "That may take up to 24 hours.\n"
)
_OPTIONS: Final[Mapping[str, str]] = {"sunshine": "brand_id", "dixa": "force"}
"""The option of `UserOptions` that a service has."""
_GET: Final[Mapping[str, UserCall]] = {
    "sunshine": lambda client, user_id, options: client.users.get(
        user_id, brand_id=options.brand_id
    ),
    "smooch": lambda client, user_id, _: client.app_users.get(user_id),
    "dixa": lambda client, user_id, _: client.end_users.get(user_id),
}
_DELETE: Final[Mapping[str, UserCall]] = {
    "sunshine": lambda client, user_id, options: client.users.delete(
        user_id, brand_id=options.brand_id
    ),
    "smooch": lambda client, user_id, _: client.app_users.delete(user_id),
    "dixa": _anonymize,
}
