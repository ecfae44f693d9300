"""The commands for one user."""

import sys
from typing import Annotated, Final

import anyio
import typer

from sunshine_async import _codec
from sunshine_async.cli.options import (
    AppId,
    BaseUrl,
    BrandId,
    KeyId,
    SecretFile,
    Service,
    Status,
    refusals,
)
from sunshine_async.cli.services import Access, How, known, someone_there
from sunshine_async.cli.streams import emit, emit_json

users: Final = typer.Typer(help="One user.", no_args_is_help=True)


@users.command("get")
def get_user(
    id: Annotated[str, typer.Argument(help="The user's id, or external id.")],
    *,
    service: Service = "sunshine",
    brand_id: BrandId = None,
    base_url: BaseUrl = None,
    app_id: AppId = None,
    key_id: KeyId = None,
    secret_file: SecretFile = None,
) -> None:
    """Print one user as JSON. To Dixa ID is its own id. Exit status: 0; 1 not found, or no answer; 2 could not start."""
    access = Access(
        base_url=base_url,
        app_id=app_id,
        key_id=key_id,
        secret_file=secret_file,
        may_ask=someone_there(),
    )

    async def main() -> None:
        found = known(service)
        how = found.meant(How(brand_id=brand_id))
        async with found.connect(access) as client:
            user = await found.get(client, id, how)
        emit_json(sys.stdout, _codec.unstructure(user), indent=2)

    with refusals(Status.TROUBLE):
        anyio.run(main)


@users.command("delete")
def delete_user(
    id: Annotated[str, typer.Argument(help="The user's id, or external id.")],
    *,
    service: Service = "sunshine",
    brand_id: BrandId = None,
    force: Annotated[
        bool, typer.Option("--force", help="Dixa: even with open conversations.")
    ] = False,
    base_url: BaseUrl = None,
    app_id: AppId = None,
    key_id: KeyId = None,
    secret_file: SecretFile = None,
) -> None:
    """Delete one user. Dixa anonymizes it, for good, with its conversations and messages.

    Exit status: 0; 1 not found, or no answer; 2 could not start.
    """
    access = Access(
        base_url=base_url,
        app_id=app_id,
        key_id=key_id,
        secret_file=secret_file,
        may_ask=someone_there(),
    )

    async def main() -> None:
        found = known(service)
        how = found.meant(How(brand_id=brand_id, force=force))
        async with found.connect(access) as client:
            said = await found.delete(client, id, how)
        emit(sys.stderr, f"{said}\n")

    with refusals(Status.TROUBLE):
        anyio.run(main)
