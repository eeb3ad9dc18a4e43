"""Whole numbers as bytes that order like them: what all keys of versions are made of.

The format: a number without its leading zeros has n digits. Its bytes are 0x60 + n, then the digits in ASCII; of more
than 0x7F digits the two bytes 0xE000 + n stand in place of the first. More digits make the larger number, and of as
many the digits decide, so bytewise order is that of the numbers, and no number's bytes begin another's. The first byte
lies in 0x60 … 0xF0: grammars take smaller and larger ones as their own marks, for what sorts before and after numbers.
"""

from __future__ import annotations

#: The longest version that is read, in characters; longer ones follow no grammar. No registry allows as many.
LONGEST = 4096

ZERO = b"\x60"
_ONE_BYTE = 0x7F


class _Numbers(dict[str, bytes]):
    """From digits (leading zeros allowed, "" is 0) to bytes. Small numbers are looked up; others are not kept."""

    def __missing__(self, digits: str) -> bytes:
        bare = digits.lstrip("0")
        size = len(bare)
        if size <= _ONE_BYTE:
            return bytes((0x60 + size,)) + bare.encode("ascii")
        return (0xE000 + size).to_bytes(2, "big") + bare.encode("ascii")


_empty = _Numbers()
#: ``NUMBER["17"]``; digits must be ASCII and at most ``LONGEST``.
NUMBER = _Numbers({str(number): _empty[str(number)] for number in range(10_000)})
