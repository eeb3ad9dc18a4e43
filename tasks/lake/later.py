"""What a result saw, read when it is gone through: a run may refer to more of it than memory holds."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar, overload

_T = TypeVar("_T")


class Later(Sequence[_T]):
    """Items that are read each time they are asked for; equal to the same items in any other sequence.

    How many there are is known without reading. ``what`` says in words what they are.
    """

    __slots__ = ("_count", "_read", "_what")

    def __init__(self, read: Callable[[], Sequence[_T]], count: int, what: str) -> None:
        self._read, self._count, self._what = read, count, what

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[_T]:
        return iter(self._read())

    @overload
    def __getitem__(self, index: int) -> _T: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[_T]: ...
    def __getitem__(self, index: int | slice) -> _T | Sequence[_T]:
        return self._read()[index]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and len(self) == len(other) and tuple(self) == tuple(other)

    def __hash__(self) -> int:
        return hash(tuple(self._read()))

    def __repr__(self) -> str:
        return f"<{self._count} {self._what}>"
