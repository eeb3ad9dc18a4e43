"""The vulnerable rows of an inventory: what a judge says, joined to the rows that have it.

Columns of few texts are dictionaries: what is compared, joined and written are then small numbers.
"""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc

from tasks.deps.matching import Answer, Judge

#: Bytes of a dictionary above which what is not used of it is left out, for a writer would write it all.
_SMALL = 1 << 16


def vulnerable_rows(judge: Judge, rows: pa.Table, carried: Sequence[str], first: int = 0) -> tuple[pa.Table, Answer]:
    """``row`` (counted from ``first``), what is carried, and ``MATCHES``, of some rows of an inventory (``PACKAGES``
    and what is carried): one for each row and advisory that is about it, in the order of rows. Texts are dictionaries.
    With what the judge said."""
    coded, versions = _coded(rows["version"])
    answer = judge.ask(rows, coded, versions)
    n, h, place = answer.expanded()
    columns: dict[str, pa.Array] = {"row": pc.add(n.cast(pa.int64()), first)}
    for column in carried:
        columns[column] = _taken(rows[column], n)
    for column in ("ecosystem", "package"):
        columns[column] = _taken(judge.names[column], answer.named.take(h))
    columns["version"] = _dictionary(answer.v.take(h), versions)
    for column in ("advisory_id", "fixed_version"):
        columns[column] = judge.said(column, place)
    return pa.table(columns), answer


def plain(table: pa.Table) -> pa.Table:
    """The same with texts in place of dictionaries."""
    fields = [f.with_type(f.type.value_type) if pa.types.is_dictionary(f.type) else f for f in table.schema]
    return table.cast(pa.schema(fields))


def _taken(column: pa.ChunkedArray, places: pa.Array) -> pa.Array:
    if not (_is_text(column.type) or pa.types.is_dictionary(column.type)):
        return column.take(places).combine_chunks()
    codes, texts = _coded(column)
    return _dictionary(codes.combine_chunks().take(places), texts)


def _coded(column: pa.ChunkedArray) -> tuple[pa.ChunkedArray, pa.Array]:
    """Each text as its place in an array of distinct ones; null stays null."""
    if not pa.types.is_dictionary(column.type):
        column = column.cast(pa.string()).dictionary_encode()
    whole = column.unify_dictionaries()
    texts = whole.chunk(0).dictionary.cast(pa.string()) if whole.num_chunks else pa.array([], pa.string())
    return pa.chunked_array([c.indices.cast(pa.int32()) for c in whole.chunks], pa.int32()), texts


def _dictionary(codes: pa.Array, texts: pa.Array) -> pa.DictionaryArray:
    if texts.nbytes > _SMALL:
        used = pc.unique(codes).drop_null()
        codes, texts = pc.index_in(codes, used), texts.take(used)
    return pa.DictionaryArray.from_arrays(codes, texts)


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))
