"""Regular expressions of Gitea's CODEOWNERS, matched by RE2 as in Gitea (Go's ``regexp`` has its syntax and promise).

RE2 takes time that grows with the text only, whatever the expression is. DuckDB brings it along, so no other engine is
needed: Python's ``re`` reads another syntax, and a hostile expression can hold it for years.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import duckdb
import pyarrow as pa


class Expressions:
    """Some expressions, each of which must match a whole path as ``^EXPRESSION$``. Those that are none never match."""

    def __init__(self, expressions: Sequence[str]) -> None:
        self._texts = [f"^{e}$" for e in expressions]
        #: What is wrong with an expression, by its number.
        self.faults: dict[int, str] = {}
        con = duckdb.connect(":memory:", config={"threads": "1", "enable_external_access": "false"})
        try:
            for n, text in enumerate(self._texts):
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
