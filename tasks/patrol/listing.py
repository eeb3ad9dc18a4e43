"""What registries say of packages in use, each asked once a run; and what of it decides about a step."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping
from datetime import datetime

import pyarrow as pa

from tasks.core.disk import is_full
from tasks.core.errors import UsageError
from tasks.core.types import digest
from tasks.deps.registries import REGISTRIES
from tasks.deps.registries.asking import Answer, Package, Registries
from tasks.deps.registries.port import Unlisted
from tasks.lake.lake import Lake, Snapshot
from tasks.lake.views import arrow_of

#: (ecosystem, package, version)
Version = tuple[str, str, str]
#: The registry's, the network's or this machine's fault, whatever it said of other packages.
_ALWAYS = frozenset({Unlisted.UNREACHABLE, Unlisted.DISK_FULL})
#: Its fault if it says so of every package; else it is one package that is refused, or broken, there.
_OF_ALL = frozenset({Unlisted.DENIED, Unlisted.INVALID})
#: What the project asks for itself, or may: private names of folders and commits are no registry's.
_IN_USE = """
    SELECT DISTINCT ecosystem, package, version FROM inventory
    WHERE is_direct IS NOT FALSE AND source = 'registry' AND version IS NOT NULL"""


class Listing:
    """The answers of registries. Without registries, or of an ecosystem that none of them is of, the reason alone."""

    def __init__(self, registries: Registries | None = None) -> None:
        self._registries = registries
        self._known: dict[Package, Answer] = {}

    @property
    def ecosystems(self) -> frozenset[str]:
        """Those of which a registry may be asked."""
        return self._registries.ecosystems if self._registries is not None else frozenset()

    def of(self, packages: Iterable[Package]) -> Mapping[Package, Answer]:
        """The answer for each package; none is asked about twice. Raises UsageError: answers cannot be kept."""
        fresh = [p for p in dict.fromkeys(packages) if p not in self._known]
        asked = [p for p in fresh if p[0] in self.ecosystems]
        for package in fresh:
            none = Unlisted.NOT_CONFIGURED if package[0].partition(":")[0] in REGISTRIES else Unlisted.NO_REGISTRY
            self._known[package] = Answer(reason=none)
        if asked and self._registries is not None:
            try:
                self._known |= self._registries.published(asked)
            except OSError as e:
                if not is_full(e):
                    told = f"answers of registries cannot be kept: {e.strerror}"
                    raise UsageError(told, advice="Look at the folder `registries` of `home`.") from None
                self._known |= dict.fromkeys(asked, Answer(reason=Unlisted.DISK_FULL))
        return self._known

    def dated(self, wanted: Mapping[Package, Collection[str]]) -> Mapping[Package, Mapping[str, datetime]]:
        """When some versions were published, of registries whose lists do not tell; what cannot be learned is left
        out, and its days stay unknown."""
        try:
            return self._registries.dated(wanted) if wanted and self._registries is not None else {}
        except OSError:  # no room for the answers
            return {}

    def troubles(self) -> Mapping[str, int]:
        """Packages by the reason why a registry could not tell, where somebody should look into it."""
        return in_trouble((package[0], a.reason) for package, a in self._known.items())

    def warm(self, lake: Lake) -> int:
        """Ask for all that is in use, before the lake is locked, so that nobody waits for the network. How many
        packages there are."""
        if not self.ecosystems:
            return 0
        snapshot = lake.snapshot()
        known = arrow_of(snapshot, "SELECT DISTINCT ecosystem, package FROM vulnerable").to_pydict()
        packages = {(e, name) for e, name, _ in in_use(snapshot, self.ecosystems)}
        packages |= {p for p in zip(known["ecosystem"], known["package"], strict=True) if p[0] in self.ecosystems}
        self.of(sorted(packages))
        return len(packages)


def in_trouble(told: Iterable[tuple[str, str | None]]) -> Mapping[str, int]:
    """Of the reasons (None: it could tell) of an ecosystem's packages those that are a gap, each with how often."""
    by: defaultdict[str, Counter[str | None]] = defaultdict(Counter)
    for ecosystem, reason in told:
        by[ecosystem][reason] += 1
    found: Counter[str] = Counter()
    for counts in by.values():
        faults = _ALWAYS if None in counts else _ALWAYS | _OF_ALL
        found.update({str(reason): n for reason, n in counts.items() if reason in faults})
    return found


def in_use(snapshot: Snapshot, ecosystems: Collection[str]) -> set[Version]:
    """What the projects of the organisation ask for themselves, of some ecosystems."""
    if not ecosystems:
        return set()
    chosen = pa.table({"ecosystem": pa.array(sorted(ecosystems), pa.string())})
    rows = arrow_of(snapshot, f"{_IN_USE} AND ecosystem IN (FROM chosen)", chosen=chosen).to_pydict()
    return set(zip(rows["ecosystem"], rows["package"], rows["version"], strict=True))


def judged_over(revision: int, answer: Answer) -> str:
    """Digest of what an answer says that decides about a step; of none, of that alone."""
    said = sorted(
        f"{v.version}|{v.at.isoformat() if v.at else ''}|{v.is_withdrawn}|{v.word or ''}" for v in answer.versions
    )
    return digest("step", revision, answer.word, answer.unread, *said)
