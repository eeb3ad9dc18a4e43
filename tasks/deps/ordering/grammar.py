"""What a grammar of versions offers. Each is a file of its own that ends in one typed constant."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


def never(_: str) -> bool:
    """Of versions whose contents stay."""
    return False


def following(_: str, key: bytes) -> bytes:
    """The bytes after a key, for versions that are equal to none but themselves."""
    return key + b"\x00"


@dataclass(frozen=True, slots=True, kw_only=True)
class Grammar:
    """One ecosystem's versions. No function raises on any text, and each answers None for what is no version.

    ``key`` gives bytes: bytewise order and equality are those of the ecosystem. ``is_prerelease`` tells whether the
    ecosystem (or, where it has no such word, common usage) calls it one. ``release`` gives the numbers by which people
    call a step major, minor or patch: the epoch ("0" where there is none), then the leading numbers, as digits without
    leading zeros ("0" for zero). ``is_moving`` tells whether it is a name under which other contents come later.
    ``above`` gives, of a version and its key, the lowest bytes above the keys of all that counts as it at a bound.
    """

    key: Callable[[str], bytes | None]
    is_prerelease: Callable[[str], bool | None]
    release: Callable[[str], tuple[str, ...] | None]
    is_moving: Callable[[str], bool] = never
    above: Callable[[str, bytes], bytes] = following


def plain(numbers: list[str] | tuple[str, ...], epoch: str = "0") -> tuple[str, ...]:
    """The form of ``release``."""
    return (epoch.lstrip("0") or "0", *(number.lstrip("0") or "0" for number in numbers))
