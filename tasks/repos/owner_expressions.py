"""Regular expressions of Gitea's CODEOWNERS, matched by RE2 as in Gitea (Go's ``regexp`` has its syntax and promise).

RE2 takes time that grows with the text only, whatever the expression is. DuckDB brings it along, so no other engine is
needed: Python's ``re`` reads another syntax, and a hostile expression can hold it for years.

Where its states do not fit into its memory RE2 goes through the whole program of an expression for each character:
``(\\pL|x){1,300}.*(\\pL{1,100})*z`` takes most of a second for one path. So expressions are weighed before, by an upper
bound of that program, and what is too heavy never matches.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

import duckdb
import pyarrow as pa

#: Heaviest expression that is tried: so many steps a character of a path takes at most.
MAX_WEIGHT = 20_000
#: A class of Unicode is some hundreds of ranges of bytes, any other that holds more than ASCII a dozen.
_CLASS, _ANY = re.compile(r"\\[pP]|\[:"), re.compile(r"\.|\[\^|\\[DSW]")
_REPEAT = re.compile(r"\{([0-9]{1,9})(?:,([0-9]{0,9}))?\}")


class Expressions:
    """Some expressions, each of which must match a whole path as ``^EXPRESSION$``. Those that are none never match."""

    def __init__(self, expressions: Sequence[str]) -> None:
        self._texts = [f"^{e}$" for e in expressions]
        #: What is wrong with an expression, by its number.
        self.faults: dict[int, str] = {}
        weights = [_weight(e) for e in expressions]
        self.faults |= {n: "it is too large with all its repetitions" for n, w in enumerate(weights) if w > MAX_WEIGHT}
        #: Steps that a character of a path takes at most, with all expressions.
        self.weight = sum(w for w in weights if w <= MAX_WEIGHT)
        con = duckdb.connect(":memory:", config={"threads": "1", "enable_external_access": "false"})
        try:
            for n, text in enumerate(self._texts):
                if n in self.faults:
                    continue
                try:
                    con.execute("SELECT regexp_matches('', ?)", [text]).fetchone()
                except duckdb.Error as e:
                    self.faults[n] = str(e).partition("Input Error: ")[2] or "it is no expression"
        finally:
            con.close()

    def matching(self, paths: Collection[str]) -> dict[str, list[int]]:
        """Of each path the numbers of the expressions that match it, in order. Many at a time are quicker."""
        found: dict[str, list[int]] = {p: [] for p in paths}
        con = duckdb.connect(":memory:", config={"threads": "1", "enable_external_access": "false"})
        try:
            con.register("given", pa.table({"path": pa.array(list(found), pa.string())}))
            for n, text in enumerate(self._texts):
                if n not in self.faults:
                    sql = "SELECT path FROM given WHERE regexp_matches(path, ?)"
                    for (path,) in con.execute(sql, [text]).fetchall():
                        found[path].append(n)
        finally:
            con.close()
        return found


def _weight(expression: str) -> int:
    """More than the instructions of its program: as if each repetition stood around all of it."""
    weight = len(expression) + 12 * len(_ANY.findall(expression)) + 600 * len(_CLASS.findall(expression))
    for least, most in _REPEAT.findall(expression):
        weight *= max(int(least), int(most or 0), 1)
        if weight > MAX_WEIGHT:  # the numbers would grow without end
            break
    return weight
