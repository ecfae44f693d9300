"""Phone numbers as people write them, turned into E.164."""

import re
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from typing import Any, Final, cast

from sunshine_async._codec import Misfit
from sunshine_async.rows.columns import Shape, SourceError

_E164: Final = re.compile(r"\+[1-9][0-9]{1,14}")
_MISSING: Final = (
    "--default-region needs phonenumberslite, which knows the numbers of all countries: "
    "pip install 'sunshine-async[cli]'"
)


class Numbers:
    """Turns the phone numbers of rows into E.164, those without a country code as in *region*.

    What is E.164 already stays as it is. Raise `SourceError` for a region that isn't one, for rows
    whose *shape* has no phone numbers, and without the package that knows them.
    """

    def __init__(self, region: str, shape: Shape) -> None:
        self.region: Final = region.upper()
        self.turned = 0
        """How many it has turned."""
        self._fields: Final = shape.phones
        if not self._fields:
            message = (
                "--default-region is for rows with phone numbers in E.164, which are those of "
                "Dixa to create, update and upsert: leave it out"
            )
            raise SourceError(message)
        self._read: Final = _reader(self.region)

    def turn(self, data: dict[str, Any]) -> None:
        """Turn the numbers of a row; raise `Misfit` for one that can't be read."""
        for name in self._fields:
            value = data.get(name)
            if isinstance(value, str):
                data[name] = self._one(value, name)
            elif isinstance(value, list):
                data[name] = [
                    self._one(one, f"{name}[{place}]") if isinstance(one, str) else one
                    for place, one in enumerate(cast("list[object]", value))
                ]

    def _one(self, text: str, path: str) -> str:
        if _E164.fullmatch(text):
            return text
        reason, number = self._read(text)
        if reason:
            raise Misfit(reason, path)
        self.turned += 1
        return number


def national(data: Mapping[str, Any], shape: Shape) -> int:
    """Return how many phone numbers of a row aren't E.164."""
    values = (data.get(name) for name in shape.phones)
    texts = (
        text
        for value in values
        for text in (cast("list[object]", value) if isinstance(value, list) else [value])
    )
    return sum(isinstance(text, str) and not _E164.fullmatch(text) for text in texts)


def _reader(region: str) -> Callable[[str], tuple[str, str]]:
    """Return what reads a number: why it can't be, or else the number in E.164."""
    try:
        import phonenumbers  # noqa: PLC0415 - it is an extra, and large
    except ImportError:
        raise SourceError(_MISSING) from None
    if region not in phonenumbers.SUPPORTED_REGIONS:
        near = get_close_matches(region, phonenumbers.SUPPORTED_REGIONS, n=3, cutoff=0.5)
        more = f"; is it one of {', '.join(near)}?" if near else ""
        message = f"--default-region {region} isn't a country's two letters, such as DE{more}"
        raise SourceError(message)
    no_number = f"no phone number of {region}, nor an international one, which begins with +"
    extended = "it has an extension, which E.164 can't hold: take it out"

    def read(text: str) -> tuple[str, str]:
        try:
            number = phonenumbers.parse(text, region)
        except phonenumbers.NumberParseException:
            return no_number, ""
        if not phonenumbers.is_valid_number(number):
            return no_number, ""
        if number.extension:
            return extended, ""
        return "", phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)

    return read
