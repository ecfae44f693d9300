"""Phone numbers as people write them, normalized to E.164."""

import re
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from typing import Any, Final, cast

from sunshine_async._codec import Misfit
from sunshine_async.rows.shape import Shape, SourceError

_E164: Final = re.compile(r"\+[1-9][0-9]{1,14}")
_MISSING: Final = (
    "--default-region needs phonenumberslite, which knows the numbers of all countries: "
    "pip install 'sunshine-async[cli]'"
)


class PhoneNormalizer:
    """Normalizes the phone numbers of rows to E.164. *region* applies without a country code.

    A number in E.164 stays unchanged. Raise `SourceError` for an unknown region, for a *shape*
    without phone numbers, and if the package `phonenumbers` isn't installed.
    """

    def __init__(self, region: str, shape: Shape) -> None:
        self.region: Final = region.upper()
        self.count = 0
        """The number of phone numbers changed so far."""
        self._fields: Final = shape.phones
        if not self._fields:
            message = (
                "--default-region is for rows with phone numbers in E.164, which are those of "
                "Dixa to create, update and upsert: leave it out"
            )
            raise SourceError(message)
        self._parse: Final = _parser(self.region)

    def normalize(self, data: dict[str, Any]) -> None:
        """Normalize the numbers of a row; raise `Misfit` for an unreadable number."""
        for name in self._fields:
            value = data.get(name)
            if isinstance(value, str):
                data[name] = self._normalize(value, name)
            elif isinstance(value, list):
                data[name] = [
                    self._normalize(item, f"{name}[{index}]") if isinstance(item, str) else item
                    for index, item in enumerate(cast("list[object]", value))
                ]

    def _normalize(self, text: str, path: str) -> str:
        if _E164.fullmatch(text):
            return text
        reason, number = self._parse(text)
        if reason:
            raise Misfit(reason, path)
        self.count += 1
        return number


def count_national(data: Mapping[str, Any], shape: Shape) -> int:
    """Return the number of phone numbers in a row that aren't E.164."""
    values = (data.get(name) for name in shape.phones)
    texts = (
        text
        for value in values
        for text in (cast("list[object]", value) if isinstance(value, list) else [value])
    )
    return sum(isinstance(text, str) and not _E164.fullmatch(text) for text in texts)


def _parser(region: str) -> Callable[[str], tuple[str, str]]:
    """Return a parser of phone numbers, which returns the reason of a failure, and the number."""
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

    def parse(text: str) -> tuple[str, str]:
        try:
            number = phonenumbers.parse(text, region)
        except phonenumbers.NumberParseException:
            return no_number, ""
        if not phonenumbers.is_valid_number(number):
            return no_number, ""
        if number.extension:
            return extended, ""
        return "", phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)

    return parse
