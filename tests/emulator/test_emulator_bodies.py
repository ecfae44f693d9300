"""The emulator's schemas of v2 against the specification, whose facts are in ``tests/data``."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from sunshine_async.emulator import (
    apps,
    channels,
    contents,
    conversations,
    integration_bodies,
    messages,
    switchboards,
)
from sunshine_async.emulator.fields import Schema

DATA = Path(__file__).parents[1] / "data" / "sunshine-bodies.json"
SPEC: Mapping[str, Any] = json.loads(DATA.read_text(encoding="utf-8"))
BODIES: Mapping[str, Schema] = {
    "messagePost": contents.MESSAGE_POST,
    "conversationCreateBody": conversations.CREATE_BODY,
    "conversationUpdateBody": conversations.UPDATE_BODY,
    "activityPost": conversations.ACTIVITY_BODY,
    "downloadMessageRefBody": conversations.DOWNLOAD_BODY,
    "switchboardIntegrationCreateBody": switchboards.CREATE_BODY,
    "switchboardIntegrationUpdateBody": switchboards.RESPONDER_BODY,
    "switchboardUpdateBody": switchboards.UPDATE_BODY,
    "passControlBody": switchboards.TARGET_BODY,
    "offerControlBody": switchboards.TARGET_BODY,
    "acceptControlBody": switchboards.METADATA_BODY,
    "releaseControlBody": switchboards.METADATA_BODY,
    "appCreateBody": apps.CREATE_BODY,
    "appUpdateBody": apps.UPDATE_BODY,
    "clientCreate": channels.CREATE_BODY,
    "attachmentDeleteBody": messages.REMOVE_BODY,
    "webhookCreateBody": integration_bodies.WEBHOOK_BODY,
    "webhookBody": integration_bodies.WEBHOOK_UPDATE_BODY,
}
TABLES: Mapping[str, Mapping[str, Schema]] = {
    "integrations": integration_bodies.INTEGRATIONS,
    "updates": integration_bodies.UPDATES,
    "contents": contents.CONTENTS,
    "actions": contents.ACTIONS,
    "criteria": channels.CRITERIA,
    "bodies": BODIES,
}
STRICTER = (
    "subtypes min", "subtypes max", "target min", "target format", "secret min", "address format",
    "displayStyle enum",
)  # fmt: skip
"""The emulator checks one subtype and the style of a button (the specification says so at another
place), and that an address can be one."""
OF_A_FORM = {
    f"web.prechatCapture.fields[] fields: {name}"
    for name in ("placeholder", "minSize", "maxSize", "options")
}
"""A form before a conversation has the fields of any form, as in the specification's example."""


def differences(schema: Schema, spec: Mapping[str, Any], path: str) -> Iterator[str]:
    """Yield the facts of *schema* that aren't the specification's; unions are compared elsewhere."""
    if "union" in spec:
        return
    found = {
        "type": schema.type,
        "min": schema.min_length,
        "max": schema.max_length,
        "minimum": schema.minimum,
        "maximum": schema.maximum,
        "nullable": schema.nullable,
        "format": schema.format if schema.format in {"uri", "email"} else None,
        "enum": [*schema.enum] if not path.endswith(".type") else spec.get("enum"),
    }
    for name, value in found.items():
        if (value or None) != (spec.get(name) or None):
            yield f"{path} {name}"
    if schema.fields is None and schema.kinds is None and "properties" in spec:
        yield f"{path} fields"
    if schema.fields is not None and "properties" in spec:
        for name in sorted(schema.fields.keys() ^ spec["properties"].keys()):
            yield f"{path} fields: {name}"
        required = {*schema.required} ^ {*spec.get("required", ())}
        if required - {"type"}:
            yield f"{path} required"
        for name in schema.fields.keys() & spec["properties"].keys():
            yield from differences(schema.fields[name], spec["properties"][name], f"{path}.{name}")
    if schema.items is not None and "items" in spec:
        yield from differences(schema.items, spec["items"], f"{path}[]")


@pytest.mark.parametrize("table", TABLES)
def test_bodies_are_those_of_the_specification(table: str) -> None:
    """Types, lengths, limits, fields and required fields of all bodies are the specification's."""
    assert TABLES[table].keys() == SPEC[table].keys()
    found = [
        difference
        for name, schema in TABLES[table].items()
        for difference in differences(schema, SPEC[table][name], name)
    ]

    assert [one for one in found if not one.endswith(STRICTER) and one not in OF_A_FORM] == []


def test_secrets_are_those_of_the_specification() -> None:
    """The fields that never come back are those that the specification calls write-only."""
    found = {
        kind: sorted(
            {*integration_bodies.WRITE_ONLY.get(kind, ())}
            | ({"defaultResponderId"} & integration_bodies.INTEGRATIONS[kind].fields.keys())
        )
        for kind in integration_bodies.INTEGRATIONS
        if integration_bodies.INTEGRATIONS[kind].fields
    }

    assert found == SPEC["writeOnly"]


@pytest.mark.parametrize("kind", ["list", "carousel"])
def test_the_actions_of_an_item_are_those_of_the_specification(kind: str) -> None:
    """Items take four of the six actions."""
    schema: Any = contents.CONTENTS[kind]

    assert sorted(schema.fields["items"].items.fields["actions"].items.kinds) == SPEC["itemActions"]
