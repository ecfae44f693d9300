"""Files as operators have them, made here: the bytes, the options, and the expected reading."""

import gzip
import io
import tarfile
import zipfile
from collections.abc import Mapping
from typing import Any, Final

from attrs import field, frozen

EXCEL: Final = "open it in Excel, and save it as CSV UTF-8"


@frozen
class RealFile:
    """A file *name* with *data*, opened with *options*.

    *ids* are the external ids of the rows, *bad* the beginning of the reason by line. With
    *refused* the file isn't opened, and the error has that text.
    """

    name: str
    data: bytes
    ids: str = ""
    bad: Mapping[int, str] = field(factory=dict)
    refused: str = ""
    options: Mapping[str, Any] = field(factory=dict)


def _zip(*names: str) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in names:
            info = zipfile.ZipInfo(
                name
            )  # else with the time: the cases are the same in each worker
            archive.writestr(info, "externalId\na\n", zipfile.ZIP_DEFLATED)
    return out.getvalue()


def _tar() -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        member = tarfile.TarInfo("users.csv")
        member.size = len(b"externalId\na\n")
        archive.addfile(member, io.BytesIO(b"externalId\na\n"))
    return out.getvalue()


def _options(**options: Any) -> Mapping[str, Any]:
    return options


_HEAD: Final = "externalId,profile.givenName\n"
_TWO: Final = _HEAD + "a,Zoë\nb,Łukasz\n"
_WEST: Final = _HEAD + "a,Zoë\nb,Jürgen\n"
_NOT_UTF_8: Final = "not UTF-8: save the file as UTF-8, or name its encoding: --encoding cp1252"
_SHORT: Final = "1 cell, where the header has 2"
_AGAIN: Final = "a header again: were files joined?"
_TIMES: Final = "externalId,signedUpAt\n"
_BERLIN: Final = _options(timezone="Europe/Berlin")
_DAYS: Final = _options(timezone="Europe/Berlin", date_formats=["%d/%m/%Y %H:%M", "%d/%m/%Y"])

FILES: Final = (
    RealFile("plain.csv", _TWO.encode(), "ab"),
    RealFile("excel-utf-8.csv", _TWO.replace("\n", "\r\n").encode("utf-8-sig"), "ab"),
    RealFile("no-line-end.csv", _TWO.strip().encode(), "ab"),
    RealFile("packed.csv.gz", gzip.compress(_TWO.encode(), mtime=0), "ab"),
    RealFile("packed-without-suffix.csv", gzip.compress(_TWO.encode(), mtime=0), "ab"),
    RealFile("sep-semicolon.csv", b"sep=;\r\nexternalId;profile.givenName\r\na;Jane\r\n", "a"),
    RealFile("sep-quoted.csv", b'"sep=;"\r\nexternalId;profile.givenName\r\na;Jane\r\n', "a"),
    RealFile("sep-tab.csv", b"SEP=\t\nexternalId\tprofile.givenName\na\tJane\n", "a"),
    RealFile("sep-comma-padded.csv", b"sep=,,\nexternalId,profile.givenName\na,Jane\n", "a"),
    RealFile("wrong-delimiter-only-mapped.csv", b"externalId;Fax\na;1\n", refused="--delimiter ';'", options=_options(only_mapped=True)),
    RealFile("sep-below-blank-lines.csv", b"\n  \nsep=;\nexternalId;metadata.x\na;1\n", "a"),
    RealFile("mapped-twice.csv", b"Nr,No\na,1\n", refused="two options --map set metadata.x", options=_options(renames={"metadata.x": "Nr", "metadata.x:number": "No"})),
    RealFile("utf-32-be.csv", _TWO.encode("utf-32-be"), "ab", options=_options(encoding="utf-32")),
    RealFile("sep-bom.csv", b"\xef\xbb\xbfsep=;\nexternalId;metadata.x\na;1\n", "a"),
    RealFile("trailing-everywhere.csv", b"externalId;metadata.x;\na;1;\nb;2;\n", "ab", options=_options(delimiter=";")),
    RealFile("trailing-in-rows.csv", b"externalId,metadata.x\na,1,\nb,2,,,\n", "ab"),
    RealFile("trailing-in-header.csv", b"externalId,metadata.x,,\na,1\nb,2,,\n", "ab"),
    RealFile("trailing-value.csv", b"externalId,metadata.x,\na,1,\nb,2,lost\n", "a", {3: "a value in column 3, which has no name: --skip '#3' leaves it out"}),
    RealFile("trailing-value-skipped.csv", b"externalId,metadata.x,\na,1,\nb,2,lost\n", "ab", options=_options(skip=["#3"])),
    RealFile("too-many-cells.csv", b"externalId,metadata.x\na,1,2\nb,2\n", "b", {2: "3 cells, where the header has 2"}),
    RealFile("too-few-cells.csv", b"externalId,metadata.x\na\nb,2\n", "b", {2: _SHORT}),
    RealFile("empty-final-rows.csv", _TWO.encode() + b",\n,\n,,,\n", "ab"),
    RealFile("empty-rows-above-and-between.csv", b",,,\n\nexternalId,metadata.x\na,1\n,\n\nb,2\n", "ab"),
    RealFile("nameless.csv", b"externalId,,metadata.x\na,1,2\n", refused="no field is known here for: a column without a name (#2)"),
    RealFile("nameless-skipped.csv", b"externalId,,metadata.x\na,1,2\n", "a", options=_options(skip=["#2"])),
    RealFile("nameless-named.csv", b"externalId,,metadata.x\na,1,2\n", "a", options=_options(renames={"metadata.y": "#2"})),
    RealFile("pandas-index.csv", b",externalId\n0,a\n1,b\n", "ab", options=_options(skip=["#1"])),
    RealFile("nameless-last-named.csv", b"externalId,\na,1\n", "a", options=_options(renames={"metadata.y": "#2"})),
    RealFile("repeated.csv", b"externalId,metadata.x,metadata.x\na,1,2\n", refused="'metadata.x', where metadata.x has a column, (#3)"),
    RealFile("repeated-skipped.csv", b"externalId,metadata.x,metadata.x\na,1,2\n", "a", options=_options(skip=["#3"])),
    RealFile("repeated-mapped.csv", b"externalId,Mail,Mail\na,1,2\n", refused="has 2 columns 'Mail' for profile.email", options=_options(renames={"profile.email": "Mail"})),
    RealFile("crm.csv", b"Contact ID,First Name,Last Name,Fax\na,Jane,Doe,1\n", refused="--map 'externalId=Contact ID' --map 'profile.givenName=First Name' --map 'profile.surname=Last Name' --skip Fax"),
    RealFile("crm-only-mapped.csv", b"Contact ID,First Name,,Fax,Fax,\na,Jane,x,1,2,3\n", "a", options=_options(renames={"externalId": "Contact ID"}, only_mapped=True)),
    RealFile("crm-nothing-mapped.csv", b"Number,Fax\na,1\n", refused="has no column that is read", options=_options(only_mapped=True)),
    RealFile("title-above.csv", b"Export of May,,\nexternalId,metadata.x,\na,1,\n", refused="no field is known here for: 'Export of May'"),
    RealFile("wrong-delimiter.csv", b"externalId;Vorname\na;Jane\n", refused="--delimiter ';'"),
    RealFile("wrong-delimiter-mapped.csv", b"Nr;Vorname\na;Jane\n", refused="--delimiter ';'", options=_options(renames={"externalId": "Nr"})),
    RealFile("wrong-delimiter-tab.txt", b"Nr\tVorname\na\tJane\n", refused="--delimiter tab", options=_options(renames={"externalId": "Nr"})),
    RealFile("wrong-delimiter-pipe.csv", b"externalId|profile.email\na|x\n", refused="--delimiter '|'"),
    RealFile("utf-16-mark.csv", _TWO.encode("utf-16"), refused="is UTF-16: name its encoding (--encoding utf-16)"),
    RealFile("utf-16-no-mark.csv", _TWO.encode("utf-16-le"), refused="is UTF-16: name its encoding (--encoding utf-16)"),
    RealFile("utf-16-mark-read.csv", _TWO.encode("utf-16"), "ab", options=_options(encoding="utf-16")),
    RealFile("utf-16-le-read.csv", _TWO.encode("utf-16-le"), "ab", options=_options(encoding="UTF16")),
    RealFile("utf-16-be-read.csv", _TWO.encode("utf-16-be"), "ab", options=_options(encoding="utf-16")),
    RealFile("utf-16-be-mark.csv", b"\xfe\xff" + _TWO.encode("utf-16-be"), "ab", options=_options(encoding="utf-16")),
    RealFile("utf-16-chinese.csv", "客户编号,名\na,子\n".encode("utf-16-le"), "a", options=_options(encoding="utf-16", renames={"externalId": "客户编号", "metadata.x": "名"})),
    RealFile("utf-16-chinese-be.csv", "客户编号,名\na,子\n".encode("utf-16-be"), "a", options=_options(encoding="utf-16", renames={"externalId": "客户编号", "metadata.x": "名"})),
    RealFile("utf-16-chinese-named.csv", "客户编号,名\na,子\n".encode("utf-16-be"), "a", options=_options(encoding="utf-16-be", renames={"externalId": "客户编号", "metadata.x": "名"})),
    RealFile("utf-16-packed.csv.gz", gzip.compress(_TWO.encode("utf-16"), mtime=0), "ab", options=_options(encoding="utf-16")),
    RealFile("utf-16-cut.csv", _TWO.encode("utf-16-le")[:-3], "a", {3: "not utf-16-le: name the file's own encoding"}, options=_options(encoding="utf-16")),
    RealFile("utf-16-lines.jsonl", '{"externalId": "a"}\n'.encode("utf-16"), "a", options=_options(encoding="utf-16")),
    RealFile("utf-32.csv", _TWO.encode("utf-32"), "ab", options=_options(encoding="utf-32")),
    RealFile("utf-16-empty.csv", b"", refused="it is empty", options=_options(encoding="utf-16")),
    RealFile("not-utf-16.csv", _TWO.encode(), refused="isn't UTF-16: leave out --encoding", options=_options(encoding="utf-16")),
    RealFile("cp1252.csv", _WEST.encode("cp1252"), "", {2: _NOT_UTF_8, 3: _NOT_UTF_8}),
    RealFile("cp1252-header.csv", "externalId,Straße\na,x\n".encode("cp1252"), refused=_NOT_UTF_8),
    RealFile("cp1252-read.csv", _WEST.encode("cp1252"), "ab", options=_options(encoding="cp1252")),
    RealFile("cp1252-hole.csv", _HEAD.encode() + b"a,\x81\nb,\xe4\n", "b", {2: "not cp1252: name the file's own encoding"}, options=_options(encoding="cp1252")),
    RealFile("latin-1-read.csv", _WEST.encode("latin-1"), "ab", options=_options(encoding="latin-1")),
    RealFile("utf-8-as-cp1252.csv", _WEST.encode(), refused="is UTF-8, not cp1252: leave out --encoding", options=_options(encoding="cp1252")),
    RealFile("utf-16-as-cp1252.csv", _WEST.encode("utf-16"), refused="--encoding utf-16", options=_options(encoding="cp1252")),
    RealFile("shift-jis.csv", _HEAD.encode() + "a,花子\n".encode("shift_jis"), "a", options=_options(encoding="shift_jis")),
    RealFile("mark-as-gbk.csv", b"\xef\xbb\xbf" + _HEAD.encode() + b"a,b\n", refused="is UTF-8, not gbk: leave out --encoding", options=_options(encoding="gbk")),
    RealFile("mark-named.csv", _TWO.encode("utf-8-sig"), "ab", options=_options(encoding="utf-8-sig")),
    RealFile("gbk-like-utf-8.csv", _HEAD.encode() + "a,模\n".encode("gbk"), "a", options=_options(encoding="gbk")),
    RealFile("encoding-unknown.csv", b"", refused="--encoding klingon: not known here", options=_options(encoding="klingon")),
    RealFile("encoding-no-text.csv", b"", refused="--encoding rot13: not known here", options=_options(encoding="rot13")),
    RealFile("workbook.csv", _zip("[Content_Types].xml", "xl/workbook.xml"), refused=f"is an Excel workbook (.xlsx), not CSV or JSON lines: {EXCEL}"),
    RealFile("office.csv", _zip("[Content_Types].xml"), refused="is an Excel workbook (.xlsx) or another Office file"),
    RealFile("spreadsheet.csv", b"PK\x03\x04....mimetypeapplication/vnd.oasis.opendocument.spreadsheetPK", refused="is a LibreOffice spreadsheet (.ods)"),
    RealFile("old-workbook.csv", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", refused="is an old Excel workbook (.xls)"),
    RealFile("zipped.csv", _zip("users.csv"), refused="is a zip archive, not CSV or JSON lines: unpack it, and import the file inside"),
    RealFile("tar.csv", _tar(), refused="is a tar archive"),
    RealFile("tar-gz.csv", gzip.compress(_tar(), mtime=0), refused="is a tar archive"),
    RealFile("gzip-twice.csv", gzip.compress(gzip.compress(b"x", mtime=0), mtime=0), refused="is compressed with gzip twice"),
    RealFile("run.sqlite", b"SQLite format 3\0....", refused="is a SQLite database"),
    RealFile("login.csv", b"\n<!DOCTYPE html>\n<title>Sign in</title>", refused="is a web page"),
    RealFile("zeros.csv", b"external\0\0\0\n", refused="isn't text: its first line has zero bytes"),
    RealFile("joined.csv", (_TWO + _TWO.replace("b,", "c,")).encode(), "abac", {4: _AGAIN}),
    RealFile("joined-marks.csv", _TWO.encode("utf-8-sig") * 2, "abab", {4: _AGAIN}),
    RealFile("joined-other-order.csv", (_TWO + "profile.givenName,externalId\nZoë,c\n" + _HEAD + "d,x\n").encode(), "abd", {4: _AGAIN, 5: "below the header in line 4, which differs from the first", 6: _AGAIN}),
    RealFile("joined-other-mark.csv", _TWO.encode() + b"\xef\xbb\xbfmail,note\nx@x.org,y\n", "ab", {4: _AGAIN, 5: "below the header in line 4"}),
    RealFile("joined-sep.csv", b"sep=;\nexternalId;metadata.x\na;1\n" * 2, "aa", {4: _AGAIN, 5: _AGAIN}),
    RealFile("times-without-zone.csv", _TIMES.encode() + b"a,2020-05-21\nb,21/05/2020 15:53\n", "", {}, options=_options()),
    RealFile("times-iso.csv", _TIMES.encode() + b"a,2020-05-21\nb,2020-05-21 15:53\nc,2020-05-21T15:53:30Z\nd,\n", "abcd", options=_BERLIN),
    RealFile("times-formats.csv", _TIMES.encode() + b"a,21/05/2020 15:53\nb,21/05/2020\nc,05/21/2020\nd,2020-05-21\n", "abd", {4: "signedUpAt: expected a time such as 21/05/2020 15:53 or 21/05/2020 or 2020-05-21T15:53:30"}, options=_DAYS),
    RealFile("times-set-back.csv", _TIMES.encode() + b"a,2020-10-25 02:30\nb,2020-03-29 02:30\nc,2020-10-25\n", "c", {2: "signedUpAt: the clock in Europe/Berlin shows this time twice", 3: "signedUpAt: the clock in Europe/Berlin never shows this time"}, options=_BERLIN),
    RealFile("times-midnight-left-out.csv", _TIMES.encode() + b"a,2018-11-04\n", "a", options=_options(timezone="America/Sao_Paulo")),
    RealFile("times-no-zone.csv", _TIMES.encode() + b"a,21/05/2020\n", "", {2: "signedUpAt: the time has no zone: --timezone Europe/Berlin"}, options=_options(date_formats=["%d/%m/%Y"])),
    RealFile("times-other.csv", _TIMES.encode() + b"a,May 21\n", "", {2: "signedUpAt: expected a time such as 2020-05-21T15:53:30 (--date-format '%d/%m/%Y %H:%M'"}, options=_BERLIN),
    RealFile("zone-unknown.csv", _TIMES.encode(), refused="isn't a known time zone, such as Europe/Berlin or UTC. Did you mean Europe/Berlin", options=_options(timezone="Europe/Brelin")),
    RealFile("zone-nonsense.csv", _TIMES.encode(), refused="--timezone /etc isn't a known time zone", options=_options(timezone="/etc")),
    RealFile("format-unusable.csv", _TIMES.encode(), refused="--date-format '%H:%M' isn't the format of a date", options=_options(date_formats=["%H:%M"])),
    RealFile("format-nonsense.csv", _TIMES.encode(), refused="--date-format '%q' isn't the format of a date", options=_options(date_formats=["%q"])),
    RealFile("encoding-no-ascii.csv", b"", refused="--encoding cp037: not known here", options=_options(encoding="cp037")),
    RealFile("mark-web-page.csv", b"\xef\xbb\xbf \n<HTML>", refused="is a web page, not CSV or JSON lines"),
    RealFile("array.json", b'[\n{"externalId": "a"}\n]', refused="jq -c '.[]'"),
    RealFile("lines.jsonl", b'{"externalId": "a", "Fax": 1}\n', "a", options=_options(only_mapped=True)),
    RealFile("unclosed.csv", b'externalId,metadata.x\na,"open\nb,2\n', "b", {2: 'a quote (") is opened and never closed'}),
)  # fmt: skip
