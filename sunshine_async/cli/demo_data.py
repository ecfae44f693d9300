"""Made-up users of many languages, and files of users. Pure: a seed gives the same users each time."""

import csv
import io
import json
from random import Random
from typing import Final

from attrs import frozen

COLUMNS: Final = (
    "externalId",
    "profile.givenName",
    "profile.surname",
    "profile.email",
    "profile.locale",
    "signedUpAt",
    "metadata.street",
    "metadata.city",
    "metadata.visits:number",
    "metadata.newsletter:boolean",
)

_PLACES: Final = (
    ("fr-CA", "Montréal", "{} rue Saint-Denis", ("Zoë", "Éloïse", "Jean-Luc"), ("Tremblay", "D'Amours")),
    ("de-DE", "Köln", "Große Straße {}", ("Jürgen", "Käthe", "Ömer"), ("Müller-Lüdenscheidt", "Weiß")),
    ("ja-JP", "東京", "千代田区{}番地", ("陽子", "健"), ("佐藤", "渡邊")),
    ("zh-TW", "台北", "忠孝東路{}號", ("美玲", "志明"), ("陳", "歐陽")),
    ("ar-EG", "القاهرة", "{} شارع طلعت حرب", ("فاطمة", "يوسف"), ("حسن", "عبد الله")),
    ("he-IL", "תל אביב", "דיזנגוף {}", ("נועה", "אורי"), ("לוי", "כהן")),
    ("ru-RU", "Москва", "ул. Тверская, {}", ("Наталья", "Пётр"), ("Ёлкина", "Щербаков")),
    ("hi-IN", "मुंबई", "{} मरीन ड्राइव", ("प्रिया", "अर्जुन"), ("शर्मा", "")),
    ("el-GR", "Αθήνα", "Ερμού {}", ("Ελένη", "Γιώργος"), ("Παπαδοπούλου",)),
    ("en-US", "San José, CA", '{} "Old" Mill Rd\nApt 4', ("Jane", "X Æ", "Bob 🎸"), ("O'Neil", "de la Cruz", "")),
)  # fmt: skip

_BAD: Final[tuple[bytes, ...]] = (
    b"bad-1,too,few,cells\n",
    b"bad-2,Ren\xe9,Latin-1,,,,,,,\n",
    b"bad-3,Ann,Number,,,,,,a lot,\n",
    b"bad-4,Bo,Date,,,yesterday,,,,\n",
    b'bad-5,"never closed,,,,,,,,\n',
)
"""Rows that can't be read, each for a different reason."""


@frozen
class DemoUsers:
    """A file of made-up users, and the counts to expect."""

    csv: bytes
    rows: int
    bad: int
    duplicates: int
    keys: tuple[str, ...]


def make_users(rows: int, *, seed: int = 1) -> DemoUsers:
    """Return a file of *rows* rows: mostly different users, some duplicates, and some bad rows."""
    luck = Random(seed)  # noqa: S311 - the same users every time
    duplicates = max(1, rows // 250)
    people = rows - duplicates - len(_BAD)
    keys = tuple(f"customer-{number:05}" for number in range(1, people + 1))
    lines = [_line(_person(key, luck)) for key in keys]
    lines += [_line(_person(luck.choice(keys), luck)) for _ in range(duplicates)]
    for bad in _BAD:
        lines.insert(luck.randrange(len(lines)), bad)
    return DemoUsers(b"".join([_line(COLUMNS), *lines]), rows, len(_BAD), duplicates, keys)


def make_end_users(keys: tuple[str, ...]) -> bytes:
    """Return an end user of Dixa for each key, as JSON lines."""
    users = (
        {"externalId": key, "displayName": key.title(), "email": f"{key}@example.org"}
        for key in keys
    )
    return "".join(json.dumps(user) + "\n" for user in users).encode()


def _person(key: str, luck: Random) -> tuple[str, ...]:
    locale, city, street, given, surnames = luck.choice(_PLACES)
    number = luck.randrange(1, 400)
    day = f"20{luck.randrange(15, 26)}-{luck.randrange(1, 13):02}-{luck.randrange(1, 29):02}"
    missing = luck.random() < 0.1  # noqa: PLR2004 - a tenth of the users has few fields
    return (
        key,
        luck.choice(given),
        luck.choice(surnames),
        "" if missing else f"{key}@example.org",
        locale,
        "" if missing else f"{day}T{luck.randrange(24):02}:30:00Z",
        "" if missing else street.format(number),
        city,
        str(number),
        luck.choice(("yes", "no")),
    )


def _line(cells: tuple[str, ...]) -> bytes:
    out = io.StringIO(newline="")
    csv.writer(out, lineterminator="\n").writerow(cells)
    return out.getvalue().encode()
