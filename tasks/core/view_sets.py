"""Views over the lake that another room gives: SQL and words, so that the lake needs to know nothing of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """One view: its name, what one of its rows is, and the SELECT over tables and views of the lake or of its set.

    ``without`` has by table the SELECT that says the same, at less cost, where that table is empty.
    """

    name: str
    meaning: str
    sql: str
    without: Mapping[str, str] = field(default_factory=dict)

    def over(self, is_empty: Callable[[str], bool]) -> str:
        """The SELECT for a lake of which some tables are empty."""
        return next((sql for table, sql in self.without.items() if is_empty(table)), self.sql)


@dataclass(frozen=True, slots=True, kw_only=True)
class Saved:
    """One query that is kept under a name, and what it answers."""

    description: str
    sql: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ViewSet:
    """Views, each after those that it reads, and saved queries over them. No name may be one of the lake's own.

    ``columns`` says by view what the columns mean that it makes, ``handed_on`` the tables of which it hands on others.
    """

    views: tuple[View, ...] = ()
    saved: Mapping[str, Saved] = field(default_factory=dict)
    columns: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    handed_on: Mapping[str, Sequence[str]] = field(default_factory=dict)


NO_VIEWS = ViewSet()


def set_of(what: str) -> str:
    """The values of a group in order, each once; most groups have one, and sorting is what takes long."""
    return f"CASE WHEN len({what}) < 2 THEN {what} ELSE list_sort(list_distinct({what})) END"


def few(select: str) -> str:
    """A SELECT of the same rows, that DuckDB takes for one row: it guesses what is grouped as large as what it is made
    of, and would then build its hash tables of the findings instead of the handful that is looked up."""
    return f"SELECT unnest(list(few), max_depth := 2) FROM ({select}) few"
