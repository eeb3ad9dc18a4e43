"""Formats of manifests whose samples lie under ``tests/data/deps``, and a manifest as lines that people can read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tasks.deps.formats import (
    bun,
    bundler,
    cargo,
    composer,
    golang,
    not_read,
    npm,
    pip,
    pnpm,
    pyproject,
    python_locks,
    yarn,
)
from tasks.deps.manifest import Dependency, Format, Manifest

FORMATS: tuple[Format, ...] = (
    *pip.FORMATS, *pyproject.FORMATS, *python_locks.FORMATS, *npm.FORMATS, *yarn.FORMATS, *pnpm.FORMATS, *bun.FORMATS,
    *golang.FORMATS, *cargo.FORMATS, *bundler.FORMATS, *composer.FORMATS, *not_read.FORMATS,
)  # fmt: skip
FOLDER = Path(__file__).parent / "data" / "deps"
EXPECTED = "expected.txt"
#: Parts of the logins and tokens that stand in the samples' addresses.
SECRETS = ("hunter2secret", "ghp_", "reader", "user:", "://", "example.invalid/tool")


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One file of a format."""

    format: Format
    path: Path

    @property
    def data(self) -> bytes:
        """Its bytes."""
        return self.path.read_bytes()

    def parsed(self, data: bytes | None = None) -> Manifest:
        """What it, or other bytes under its name, says."""
        return self.format.parse(self.data if data is None else data, self.path.name)

    def __str__(self) -> str:
        return f"{self.format.name}/{self.path.parent.name}"


def samples(of: Iterable[Format] = FORMATS) -> list[Sample]:
    """All of them."""
    return [
        Sample(format=f, path=path)
        for f in of
        for path in sorted((FOLDER / f.name).glob("*/*"))
        if path.name != EXPECTED
    ]


def lines(manifest: Manifest) -> Iterator[str]:
    """The manifest in words."""
    yield f"format {manifest.format}"
    yield from (f"dependency {_line(d)}" for d in manifest.dependencies)
    yield from (f"open {_line(d)}" for d in manifest.open)
    yield from (f"unread {u.why} line {u.line}: {u.detail}" for u in manifest.unread)
    yield from (f"refers {kind} {name}" for kind, name in manifest.refers)
    yield from (f"offers {key} {value}" for key, value in manifest.offers.items())


def _line(d: Dependency) -> str:
    said = d.version if d.version is not None else f"({d.requirement})"
    place = {True: "direct", False: "transitive", None: "direct?"}[d.direct]
    use = {True: "development", False: "runtime", None: "use?"}[d.development]
    more = (f"@{d.revision}" if d.revision else "") + (f" for {', '.join(d.parents)}" if d.parents else "")
    return f"{d.line}: {d.ecosystem} {d.name} {said} {place} {use} {d.source}{more}"
