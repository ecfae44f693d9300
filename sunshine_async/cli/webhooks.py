"""Commands for webhooks: show and record deliveries as they come, and send a recording again."""

from pathlib import Path
from typing import Annotated, Any, Final

import anyio
import typer

from sunshine_async import ConfigurationError
from sunshine_async.cli.options import (
    HelpCommand,
    HelpGroup,
    Port,
    ServiceName,
    credential,
    exit_on_error,
    option,
)
from sunshine_async.cli.services import (
    ConnectionOptions,
    can_prompt,
    find_secret,
    find_service,
)

webhooks: Final = typer.Typer(
    cls=HelpGroup, help="Show, record and replay deliveries of webhooks.", no_args_is_help=True
)

SecretFile = Annotated[
    Path | None,
    credential(
        metavar="FILE",
        help="File with the secret of the webhook. Or set SUNSHINE_WEBHOOK_SECRET, SMOOCH_WEBHOOK_SECRET or DIXA_WEBHOOK_SECRET.",
    ),
]


@webhooks.command("listen", cls=HelpCommand)
def listen(
    *,
    port: Port = 8081,
    service: ServiceName = "sunshine",
    secret_file: SecretFile = None,
    record: Annotated[
        Path | None,
        option(metavar="FILE", help="A file that gets each delivery as a line of JSON."),
    ] = None,
) -> None:
    """Show deliveries as they come, a line for each event, until interrupted.

    Only deliveries with the secret are taken. The recording has the bodies, and so personal data, and not the secret; only you can read the file.
    """
    with exit_on_error():
        parts = _parts()
        name = find_service(service).service.name
        parts.run_listener(name, _secret(name, secret_file), record, port)


@webhooks.command("replay", cls=HelpCommand)
def replay(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A recording of `webhooks listen`.")],
    *,
    target: Annotated[
        str, typer.Option(metavar="URL", help="The URL that receives the deliveries.")
    ],
    secret_file: SecretFile = None,
) -> None:
    """Send the deliveries of a recording again, in order, signed with the secret.

    Each delivery is sent once. Exit status: 0 all were answered with success; 1 some were not; 2 could not start.
    """
    if not target.startswith(("http://", "https://")):
        message = "give a URL such as http://127.0.0.1:8000/webhooks/"
        raise typer.BadParameter(message, param_hint="'--target'")
    with exit_on_error():
        parts = _parts()
        recordings = parts.read_recordings(file)
        secrets = {
            name: _secret(name, secret_file)
            for name in dict.fromkeys(one.service for one in recordings)
        }
        for name, secret in secrets.items():
            parts.PARSERS[name](secret)  # raises for an impossible secret
        raise typer.Exit(anyio.run(parts.send_recordings, recordings, secrets, target))


def _parts() -> Any:
    """Return the module `webhook_listener`, which needs the extra of the emulator."""
    try:
        import sunshine_async.cli.webhook_listener as parts  # noqa: PLC0415 - in the extra
    except ImportError as error:
        message = f"this command uses the server of the emulator, and {error}"
        raise ConfigurationError(message) from None
    return parts


def _secret(service: str, secret_file: Path | None) -> str:
    connection = ConnectionOptions(secret_file=secret_file, may_ask=can_prompt())
    variable = f"{service.upper()}_WEBHOOK_SECRET"
    return find_secret(connection, variable, what="webhook's secret")
