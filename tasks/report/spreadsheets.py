"""Tables for spreadsheets: CSV by RFC 4180, and XLSX (ECMA-376) by XlsxWriter, row by row. Pure but for the file.

What stands in a cell was written by strangers. In CSV a text that a spreadsheet would take for a formula begins with
an apostrophe (``for_spreadsheet``). In XLSX each text is written as a text: none becomes a formula, a link or a number.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from math import isfinite
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from tasks.core.text import for_spreadsheet, without_controls

if TYPE_CHECKING:
    from xlsxwriter.format import Format
    from xlsxwriter.workbook import Workbook
    from xlsxwriter.worksheet import Worksheet

#: Limits of Excel: rows of a sheet, and characters of a cell, counted in UTF-16 units.
MOST_ROWS = 1_048_576
MOST_CHARACTERS = 32_767
#: A piece of CSV is about so many characters.
_PIECE = 65_536
#: A whole number up to here keeps all its digits in a cell, which is a float.
_WHOLE = 2**53
#: What no XML 1.0 document may hold, beside what is taken out as a control character.
_NOT_XML = re.compile("[\ufffe\uffff]")
#: How a time is shown: its cell holds a number, in which no zone can stand.
_TIME = 'yyyy-mm-dd hh:mm:ss" UTC"'
_WIDTHS = {"title": 50, "path": 40, "priority_why": 50, "slug": 25, "detail": 40, "meaning": 40, "remedy": 60}


@dataclass(frozen=True, slots=True, kw_only=True)
class Sheet:
    """One table; its rows are read once. One that is too long goes on in sheets of the same name and a number."""

    name: str
    columns: Sequence[str]
    rows: Iterable[Sequence[Any]]


def csv_pieces(columns: Sequence[str], rows: Iterable[Sequence[Any]], *, end: str = "\r\n") -> Iterator[str]:
    """The table as CSV in pieces of text: a line of names, lines end in ``end``, times are ISO 8601 in UTC, lists are
    their values with commas between, and what is nested deeper is JSON."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator=end)
    writer.writerow([for_spreadsheet(c) for c in columns])
    for row in rows:
        writer.writerow([_csv_cell(v) for v in row])
        if buffer.tell() > _PIECE:
            yield buffer.getvalue()
            buffer.seek(0)
            buffer.truncate()
    yield buffer.getvalue()


def _csv_cell(value: Any) -> Any:
    """What ``csv`` writes as it stands: numbers and nothing; all else is a text, which is defused."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None or isinstance(value, int | float | Decimal):
        return value
    return for_spreadsheet(told(value))


def told(value: Any) -> str:
    """A value as the text of a cell. A time without a zone is told without one."""
    if isinstance(value, datetime):
        return (value.astimezone(UTC) if value.tzinfo is not None else value).isoformat()
    if isinstance(value, list) and not any(isinstance(v, list | dict) for v in value):
        return ", ".join("" if v is None else told(v) for v in value)
    if isinstance(value, list | dict):
        return json.dumps(value, default=told, ensure_ascii=False)
    return str(value)


def write_xlsx(path: Path, sheets: Iterable[Sheet], *, made_at: datetime, most_rows: int = MOST_ROWS) -> None:
    """Write a workbook; memory does not grow with its rows. What it needs on the way lies beside ``path``.

    Times are UTC: a cell has no zone, so its format says it. Raises OSError.
    """
    from xlsxwriter.exceptions import FileCreateError
    from xlsxwriter.workbook import Workbook

    options = {"constant_memory": True, "strings_to_formulas": False, "strings_to_urls": False}
    with TemporaryDirectory(dir=path.parent, prefix=f"{path.name}.") as scratch:
        book = Workbook(str(path), {**options, "tmpdir": scratch})
        book.use_zip64()
        # The same run gives the same file.
        book.set_properties({"created": made_at.astimezone(UTC).replace(tzinfo=None)})
        formats = (book.add_format({"bold": True}), book.add_format({"num_format": _TIME}))
        for sheet in sheets:
            _write(book, sheet, formats, most_rows)
        try:
            book.close()
        except FileCreateError as e:
            raise (e.args[0] if e.args and isinstance(e.args[0], OSError) else OSError(str(e))) from None


def _write(book: Workbook, sheet: Sheet, formats: tuple[Format, Format], most_rows: int) -> None:
    part, at, page = 1, 0, _page(book, sheet.name, sheet.columns, formats[0])
    for row in sheet.rows:
        at += 1
        if at == most_rows:
            part, at = part + 1, 1
            page = _page(book, f"{sheet.name} {part}", sheet.columns, formats[0])
        for n, value in enumerate(row):
            _put(page, at, n, value, formats[1])


def _page(book: Workbook, name: str, columns: Sequence[str], bold: Format) -> Worksheet:
    page = book.add_worksheet(name)
    page.freeze_panes(1, 0)
    for n, column in enumerate(columns):
        page.set_column(n, n, _WIDTHS.get(column, 25 if column.endswith("_at") else 14))
    for n, column in enumerate(columns):
        page.write_string(0, n, column, bold)
    return page


def _put(page: Worksheet, row: int, column: int, value: Any, time: Format) -> None:
    """One cell. What is neither a time, a number nor a truth is a text."""
    if value is None:
        return
    if isinstance(value, bool):
        page.write_boolean(row, column, value)
    elif (isinstance(value, int) and abs(value) <= _WHOLE) or (isinstance(value, float) and isfinite(value)):
        page.write_number(row, column, value)
    elif isinstance(value, datetime) and value.year >= 1900:
        page.write_datetime(row, column, value.astimezone(UTC).replace(tzinfo=None), time)
    else:
        page.write_string(row, column, cell_text(told(value)))


def cell_text(text: str) -> str:
    """A text as a cell of XLSX may hold it: no character that XML forbids, cut at what Excel takes."""
    clean = _NOT_XML.sub("\ufffd", without_controls(text))
    if clean.startswith("<r>"):
        # XlsxWriter would take it for markup of its own and write it as it stands.
        clean = " " + clean
    if len(clean) * 2 > MOST_CHARACTERS:
        units = clean.encode("utf-16-le")
        if len(units) > MOST_CHARACTERS * 2:
            return units[: MOST_CHARACTERS * 2 - 2].decode("utf-16-le", "ignore") + "…"
    return clean
