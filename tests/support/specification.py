"""Facts of the vendors' specifications, and endpoints and models beside these facts."""

import inspect
import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import attrs
import pytest

from sunshine_async._calls.endpoint import Endpoint
from sunshine_async._codec import name_of, unstructure
from sunshine_async._http.messages import Response

_DATA: Final = Path(__file__).parents[1] / "data"


def facts_in(name: str) -> Any:
    """Return the facts in the file *name*."""
    return json.loads((_DATA / name).read_text(encoding="utf-8"))


def finder(endpoints: Iterable[Endpoint[Any, Any]]) -> Callable[[str], Endpoint[Any, Any]]:
    """Return a function from an operation's name to its endpoint, the only one."""

    def the(operation: str) -> Endpoint[Any, Any]:
        [endpoint] = (endpoint for endpoint in endpoints if endpoint.operation == operation)
        return endpoint

    return the


def names(kind: type[attrs.AttrsInstance]) -> set[str]:
    """Return the names on the wire of the fields of *kind*."""
    return {name_of(field) for field in attrs.fields(kind)} - {"extra"}


def needed_by(kind: type[attrs.AttrsInstance]) -> set[str]:
    """Return the names on the wire of the fields of *kind* without a default."""
    return {name_of(field) for field in attrs.fields(kind) if field.default is attrs.NOTHING}


def required_arguments(resource: type[Any], operation: str) -> int:
    """Return the number of arguments without a default of the method that sends *operation*."""
    [method] = (
        method
        for _, method in inspect.getmembers(resource, inspect.isfunction)
        if f"({operation})" in (method.__doc__ or "")
    )
    _, *asked = inspect.signature(method).parameters.values()
    return sum(one.default is one.empty for one in asked)


def examples_of(operations: Mapping[str, Any], *, of_errors: bool = False) -> list[Any]:
    """Return the examples of answers of *operations*, as cases: operation, status, example."""
    return [
        pytest.param(name, int(status), value, id=f"{name} {status}")
        for name, operation in operations.items()
        for status, value in operation["examples"].items()
        if (int(status) >= 300) == of_errors
    ]


def response_with(status: int, example: object) -> Response:
    """Return an answer with *example* in its body."""
    return Response(status, {}, json.dumps(example).encode())


def as_data(result: Any) -> Any:
    """Return an endpoint's result as data again."""
    return [unstructure(one) for one in result] if isinstance(result, list) else unstructure(result)
