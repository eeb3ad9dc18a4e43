"""What a repository may be declared to be, by ``classification`` of ``org.yaml`` or a manifest: its exposure and its
criticality, each with the words for it, the points it gives to priority, and how a sentence says it."""

from __future__ import annotations

from dataclasses import dataclass

from tasks.policy.severity import quoted


@dataclass(frozen=True, slots=True, kw_only=True)
class Declared:
    """One thing that a repository may be declared to be: the words for it, its points, and how we say it."""

    words: tuple[str, ...]
    points: int
    phrase: str


EXPOSURE: tuple[Declared, ...] = (
    Declared(words=("internet", "public", "external"), points=12, phrase="reachable from the internet"),
    Declared(words=("partner", "partners", "extranet"), points=8, phrase="reachable by partners"),
    Declared(words=("internal", "intranet", "private"), points=4, phrase="reachable from inside only"),
    Declared(words=("isolated", "offline", "none"), points=0, phrase="reachable from no network"),
)
CRITICALITY: tuple[Declared, ...] = (
    Declared(words=("critical",), points=12, phrase="critical repository"),
    Declared(words=("high",), points=8, phrase="repository of high criticality"),
    Declared(words=("normal", "medium", "moderate"), points=4, phrase="repository of normal criticality"),
    Declared(words=("low",), points=0, phrase="repository of low criticality"),
)
#: What nobody declared counts half of the most.
NOT_DECLARED_POINTS = 6


def relation_of(known: tuple[Declared, ...]) -> str:
    """A relation of (word, name, points, phrase): the words that the policy knows, and the first of those that mean
    the same."""
    rows = ", ".join(
        f"({quoted(w)}, {quoted(d.words[0])}, {d.points}, {quoted(d.phrase)})" for d in known for w in d.words
    )
    return f"(SELECT * FROM (VALUES {rows}) AS v(word, name, points, phrase))"


def phrase_of(what: str) -> str:
    """How the sentence tells what a repository is declared to be: by a known word, by another one, or not at all.

    An expression over ``r``, a row of ``repositories``, and ``relation_of`` joined under the first letter of ``what``.
    """
    foreign = f"'{what} not declared (' || trim(r.{what}) || ' is no word of the policy)'"
    return f"coalesce({what[0]}.phrase, CASE WHEN trim(r.{what}) <> '' THEN {foreign} END, '{what} not declared')"


def word_of(what: str) -> str:
    """The word by which rules know it: the first of those that mean the same, else its own in small letters; null where
    none is declared. An expression over the same as ``phrase_of``."""
    return f"coalesce({what[0]}.name, nullif(lower(trim(r.{what})), ''))"
