"""Maven: ComparableVersion of Maven 3.9.

Sources: https://maven.apache.org/pom.html#version-order-specification and
https://github.com/apache/maven/blob/maven-3.9.x/maven-artifact/src/main/java/org/apache/maven/artifact/versioning/ComparableVersion.java.
A version is a list of numbers and words. A hyphen, and a change between digits and others, open a list inside it. Zeros
and words that mean the release itself count for nothing at the end of a list. What is missing is the release: smaller
than a number, larger than alpha, beta, milestone, rc and snapshot, smaller than sp and any other word.

Only what may be a version in a POM is one: ASCII without blanks and without ``\\ / : " < > | ? * [ ] ( ) { } ,``, so
neither a range nor an unresolved ``${property}``.

Maven's own order has circles, such as 1 < 1.sp.1 < 1-alpha < 1: a list is above any word beside it, whatever is in
it. No key can follow those. Here what is below the release is below all that is above it; the rest is Maven's.

Key, one mark an item: word below the release 0x10 … 0x14 (alpha, beta, milestone, rc, snapshot); "release" before what
is smaller 0x18; list that is smaller 0x20; zero before what is smaller 0x28; the end 0x30; "release" before what is
larger 0x38; sp 0x39; any other word 0x3A, its ASCII in lower case and 0x00; list that is larger 0x48; a number as
itself. "Smaller" and "larger" mean than the release, by the first item that differs from it.
"""

from __future__ import annotations

import re

from tasks.deps.ordering.digits import LONGEST, NUMBER, ZERO
from tasks.deps.ordering.grammar import Grammar, plain

_version = re.compile(r'(?:(?![\\/:"<>|?*\[\](){},])[!-~])++').fullmatch
_plain = re.compile(r"[0-9]++(?:\.[0-9]++)*+").fullmatch
_tokens = re.compile(r"[0-9]++|[^0-9.-]++|[.-]").findall
_leading = re.compile(r"[vV]?([0-9]++(?:\.[0-9]++)*+)").match

_BEFORE = {
    "alpha": b"\x10", "beta": b"\x11", "milestone": b"\x12", "rc": b"\x13", "cr": b"\x13", "snapshot": b"\x14",
}  # fmt: skip
_SAME = frozenset({"ga", "final", "release"})
_SHORT = {"a": "alpha", "b": "beta", "m": "milestone"}
_SAME_SMALLER, _LIST_SMALLER, _ZERO_SMALLER, _END = b"\x18", b"\x20", b"\x28", b"\x30"
_SAME_LARGER, _SP, _WORD, _WORD_END, _LIST_LARGER = b"\x38", b"\x39", b"\x3a", b"\x00", b"\x48"
#: Words by which people name pre-releases, beside those that Maven knows.
_CALLED_SO = frozenset({"pre", "preview", "dev", "ea", "nightly", "incubating", "eap"})


def _lists(version: str) -> list[list[str]]:
    """The nested lists, outermost first; each next one is the last item of the one before."""
    current: list[str] = []
    lists = [current]
    run = ""  # digits or a word, waiting for what comes after it
    for token in _tokens(version):
        if token in ".-":
            current.append(run or "0")
            run = ""
            if token == "-":
                lists.append(current := [])
            continue
        if run:
            if token[0].isdigit():
                if current:
                    lists.append(current := [])
                run = _SHORT.get(run, run)
            current.append(run)
            lists.append(current := [])
        run = token
    if run:
        if current and not run.isdigit():
            lists.append(current := [])
        current.append(run)
    for items in lists:
        while items and (items[-1] in _SAME or not items[-1].strip("0")):
            items.pop()
    while len(lists) > 1 and not lists[-1]:
        lists.pop()
    return lists


def _key(version: str) -> bytes | None:
    if len(version) > LONGEST:
        return None
    if _plain(version):
        numbers = [NUMBER[part] for part in version.split(".")]
        while numbers and numbers[-1] == ZERO:
            numbers.pop()
        return b"".join(numbers) + _END
    if _version(version) is None:
        return None
    turned, is_smaller = [_END], False
    for items in reversed(_lists(version.lower())):
        for item in reversed(items):
            if item.isdigit():
                mark = NUMBER[item]
                if mark != ZERO:
                    is_smaller = False
                elif is_smaller:
                    mark = _ZERO_SMALLER
            elif item in _SAME:
                mark = _SAME_SMALLER if is_smaller else _SAME_LARGER
            elif item in _BEFORE:
                mark, is_smaller = _BEFORE[item], True
            else:
                mark, is_smaller = _SP if item == "sp" else _WORD + item.encode("ascii") + _WORD_END, False
            turned.append(mark)
        turned.append(_LIST_SMALLER if is_smaller else _LIST_LARGER)
    turned.pop()  # the outermost list is inside none
    return b"".join(reversed(turned))


def _is_prerelease(version: str) -> bool | None:
    if len(version) > LONGEST or _version(version) is None:
        return None
    return any(item in _BEFORE or item in _CALLED_SO for items in _lists(version.lower()) for item in items)


def _release(version: str) -> tuple[str, ...] | None:
    found = _leading(version) if len(version) <= LONGEST and _version(version) else None
    return None if found is None else plain(found[1].split("."))


MAVEN = Grammar(key=_key, is_prerelease=_is_prerelease, release=_release)
