"""The client of Sunshine: resources at their first use, bound to the client or the view."""

import subprocess
import sys
from types import ModuleType
from typing import Any

import pytest

from sunshine_async import BasicAuth, Retry, SunshineClient, bulk, sunshine
from sunshine_async.testing import ScriptedTransport

RESOURCES = [name for name, value in vars(SunshineClient).items() if isinstance(value, property)]


def client(*answers: Any) -> SunshineClient:
    """Return a client that gets *answers*."""
    return SunshineClient(
        "app", auth=BasicAuth("id", "secret"), transport=ScriptedTransport(answers)
    )


@pytest.mark.parametrize("name", RESOURCES)
def test_a_view_has_resources_of_its_own(name: str) -> None:
    """A resource sends by the options of its client or view, whichever was used first."""
    ours = client()
    before = getattr(ours, name)

    view = ours.with_options(retry=Retry(max_attempts=1))

    assert getattr(view, name)._transport is view._transport
    assert getattr(ours, name)._transport is before._transport is ours._transport
    assert view._transport is not ours._transport


def test_a_client_loads_no_resource_but_the_users() -> None:
    """A program that makes a client for users loads no module of another resource."""
    program = (
        "import sys; from sunshine_async import SunshineClient, BasicAuth;"
        "SunshineClient('app', auth=BasicAuth('id', 'secret')).users;"
        "print(*(one for one in sys.modules if one.startswith('sunshine_async.sunshine.')))"
    )
    done = subprocess.run(  # noqa: S603 - our own program
        [sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, check=True
    )

    assert sorted(done.stdout.split()) == [
        f"sunshine_async.sunshine.{name}" for name in ("client", "models", "users")
    ]


@pytest.mark.parametrize("package", [bulk, sunshine])
def test_a_name_that_is_not_there_is_an_attribute_error(package: ModuleType) -> None:
    """A misspelt name is reported as for any module."""
    wrong = "Mesage"

    assert dir(package) == package.__all__
    with pytest.raises(AttributeError, match="has no attribute 'Mesage'"):
        getattr(package, wrong)
