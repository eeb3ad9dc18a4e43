"""Tables of a report as one text that a browser inflates: columns with dictionaries, JSON, gzip, base64.

The JSON is ``{"meta": …, "tables": {name: {"n": rows, "columns": {name: column}}}}``; a column is one of

========================== =====================================================================================
``{"d": […], "i": […]}``   text: the different values, and of each row the number of its value; -1 is none
``{"v": […]}``             whole numbers, null is none
``{"w": 16, "t": "…"}``    text of one width, written one after the other
========================== =====================================================================================

Every text goes through ``tasks.core.text.escaped``, each different one once. A column at a time is in memory as Python
objects, so a report of 100,000 findings needs some tens of megabytes.
"""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from tasks.core.text import escaped

#: zlib's word for a gzip header around the stream.
_GZIP = 31
_LEVEL = 6
_CHUNK = 1 << 16
#: Columns of one width: ids, of which no two are equal, so that a dictionary would only cost.
_FIXED = frozenset({"uid"})


def packed(meta: Mapping[str, Any], tables: Mapping[str, pa.Table]) -> Iterator[str]:
    """The base64 text in pieces. Columns are text, lists of text, whole numbers, truth values or times (UTC)."""
    squeezer = zlib.compressobj(_LEVEL, zlib.DEFLATED, _GZIP)
    left = b""
    for piece in _chunks(_document(meta, tables)):
        left += squeezer.compress(piece)
        whole = len(left) - len(left) % 3
        if whole:
            yield base64.b64encode(left[:whole]).decode()
            left = left[whole:]
    yield base64.b64encode(left + squeezer.flush()).decode()


def _chunks(pieces: Iterable[str]) -> Iterator[bytes]:
    held: list[str] = []
    size = 0
    for piece in pieces:
        held.append(piece)
        size += len(piece)
        if size >= _CHUNK:
            yield "".join(held).encode()
            held, size = [], 0
    yield "".join(held).encode()


def _document(meta: Mapping[str, Any], tables: Mapping[str, pa.Table]) -> Iterator[str]:
    yield f'{{"meta":{_json(_seen(meta))},"tables":{{'
    for n, (name, table) in enumerate(tables.items()):
        yield f'{"," if n else ""}{_json(name)}:{{"n":{table.num_rows},"columns":{{'
        for k, column in enumerate(table.column_names):
            yield f"{',' if k else ''}{_json(column)}:"
            yield _column(column, table.column(column))
        yield "}}"
    yield "}}"


def _seen(value: Any) -> Any:
    """The same value with every text made safe for showing."""
    if isinstance(value, str):
        return escaped(value)
    if isinstance(value, Mapping):
        return {escaped(str(k)): _seen(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_seen(v) for v in value]
    return value


def _column(name: str, values: pa.ChunkedArray) -> str:
    kind = values.type
    if name in _FIXED:
        texts = values.to_pylist()
        width = len(texts[0]) if texts else 1
        assert all(len(t) == width and t.isalnum() for t in texts)
        return _json({"w": width, "t": "".join(texts)})
    if pa.types.is_integer(kind) or pa.types.is_boolean(kind):
        return _json({"v": pc.cast(values, pa.int64()).to_pylist()})
    if pa.types.is_list(kind):
        values = pc.binary_join(values, ", ")
    elif pa.types.is_timestamp(kind):
        values = pc.strftime(pc.cast(values, pa.timestamp("s", "UTC"), safe=False), "%Y-%m-%d %H:%M")
    coded = pc.cast(values, pa.string()).combine_chunks().dictionary_encode()
    codes = pc.fill_null(coded.indices, -1).to_pylist()
    words = [escaped(w) for w in coded.dictionary.to_pylist()]
    return f'{{"d":{_json(words)},"i":{_json(codes)}}}'


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
