"""What one store of secrets told in one look: its inventory and its audit, and what could not be read of either.

Nothing is raised: a store that refuses, stops half-way or talks nonsense is an answer. What it said until then counts.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from tasks.core.errors import NightwardenError
from tasks.core.reasons import REASONS
from tasks.core.rotations import RotationError
from tasks.core.secret_stores import SecretStore, StoredSecret, StoreFlaw, StoreGap, StoreRule
from tasks.core.text import one_line
from tasks.patrol.secret_rows import Shared

INVENTORY, AUDIT = "inventory", "audit"
#: The topic of what the configuration leaves out.
LEFT_OUT = f"{INVENTORY}/left out"
#: Words of topics that hide no place, and of those that may hide any. Of a mount of such a name more stays open.
_FIELDS = frozenset({"readers", "rotated_at", "last_used_at"})
_ALL = frozenset({"", "mounts"})
#: How places begin: a topic that names one says exactly what is unread, any other may be about everything.
_PLACES = ("vault:", "aws-sm:", "aws-iam:")
_DETAIL, _NAME = 500, 2000
_SURROGATE = re.compile("[\ud800-\udfff]")
#: Names of readers that are kept of one secret: more are told by nobody.
_READERS = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    """Why a store could not be asked, or stopped answering."""

    reason_code: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfiguredStore:
    """A store to be looked at. ``label`` is what the configuration calls it; ``only`` are beginnings of places, where
    no others are looked at. ``open`` may raise NightwardenError."""

    label: str
    tool: str
    open: Callable[[], SecretStore]
    only: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreReading:
    """What a store told. ``store_id`` None: it could not even say who it is, and ``inventory_stop`` says why. A stop
    with secrets or flaws beside it came half-way."""

    store: ConfiguredStore
    at: datetime
    store_id: str | None = None
    rules: tuple[StoreRule, ...] = ()
    secrets: tuple[StoredSecret, ...] = field(default=(), repr=False)
    inventory_gaps: tuple[StoreGap, ...] = ()
    inventory_stop: Stop | None = None
    flaws: tuple[StoreFlaw, ...] = ()
    audit_gaps: tuple[StoreGap, ...] = ()
    audit_stop: Stop | None = None
    duration_s: float = 0.0
    #: Which of the gaps is the first about a place and what is below it, by this place.
    _hidden: dict[str, int] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        for n, gap in enumerate(self.inventory_gaps):
            if (above := _above(gap.topic, self.store.tool)) is not None:
                self._hidden.setdefault(above, n)

    @property
    def is_read(self) -> bool:
        """Whether the inventory told anything at all."""
        return self.store_id is not None and (self.inventory_stop is None or bool(self.secrets))

    @property
    def is_audited(self) -> bool:
        """Whether the audit told anything at all."""
        return self.store_id is not None and (self.audit_stop is None or bool(self.flaws))

    def hides(self, place: str) -> str | None:
        """The topic of the gap because of which a place that was not told may be there all the same; None: it is not
        there."""
        if not self.is_read or self.inventory_stop is not None:
            return INVENTORY
        if self.leaves_out(place):
            return LEFT_OUT
        found = [self._hidden[above] for above in _ways_up(place) if above in self._hidden] if self._hidden else []
        return self.inventory_gaps[min(found)].topic if found else None

    def leaves_out(self, place: str) -> bool:
        """Whether the configuration leaves a place out."""
        return bool(self.store.only) and not any(_is_in(place, above) for above in self.store.only)

    def unruled(self, rule_id: str, resource: str) -> str | None:
        """The same of a flaw that was not told."""
        if not self.is_audited or self.audit_stop is not None:
            return AUDIT
        known = {r.rule_id for r in self.rules}
        for gap in self.audit_gaps:
            rule, _, below = _rest(gap.topic, AUDIT).partition("/")
            if rule not in known or (rule == rule_id and _is_in(resource, below)):
                return gap.topic
        return None


def read_store(store: ConfiguredStore, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> StoreReading:
    """Ask a store for all that it tells. Raises nothing but what ends the process."""
    began = clock()
    reading = StoreReading(store=store, at=began)
    try:
        opened = store.open()
        store_id, rules = one_line(opened.store_id(), _NAME), tuple(opened.rules)
    except Exception as e:
        stop = _stop(e)
        return replace(reading, inventory_stop=stop, audit_stop=stop)
    items, inventory_stop = _taken(opened.inventory)
    flaws, audit_stop = _taken(opened.audit)
    shared = Shared()
    told = (_plain(i, shared) for i in reversed(items) if isinstance(i, StoredSecret) and i.place)
    secrets = {s.place: s for s in told}
    found = {(f.rule_id, f.resource): f for i in reversed(flaws) if isinstance(i, StoreFlaw) for f in [_kept(i)]}
    return StoreReading(
        store=store, at=began, store_id=store_id, rules=rules,
        secrets=tuple(secrets[place] for place in sorted(secrets)),
        inventory_gaps=tuple(_gaps(items, INVENTORY)), inventory_stop=inventory_stop,
        flaws=tuple(found[key] for key in sorted(found)),
        audit_gaps=tuple(_gaps(flaws, AUDIT)), audit_stop=audit_stop,
        duration_s=max((clock() - began).total_seconds(), 0.0),
    )  # fmt: skip


def _taken(ask: Callable[[], Iterator[object]]) -> tuple[list[object], Stop | None]:
    """What was told, and why not all of it was."""
    told: list[object] = []
    try:
        told.extend(ask())  # what came before it stops is kept
    except Exception as e:
        return told, _stop(e)
    return told, None


def _stop(e: Exception) -> Stop:
    """Why it stopped. Words of what is not ours may hold what must not be told."""
    if isinstance(e, RotationError):
        return Stop(reason_code=_known(e.reason_code), detail=one_line(e.message, _DETAIL))
    if isinstance(e, NightwardenError):
        return Stop(reason_code="rotation_unmade", detail=one_line(e.message, _DETAIL))
    return Stop(reason_code="internal", detail=type(e).__name__)


def _known(code: str) -> str:
    return code if code in REASONS else "backend_error"


def _gaps(items: Iterable[object], topic: str) -> list[StoreGap]:
    """The gaps, each topic and reason once, in an order of their own: two equal looks say the same."""
    found = {(g.topic, g.reason_code): g for g in items if isinstance(g, StoreGap)}
    return [
        replace(
            found[key], reason_code=_known(key[1]), detail=one_line(found[key].detail, _DETAIL),
            topic=one_line(key[0] if key[0].startswith(topic) else f"{topic}/{key[0]}", _NAME),
        )
        for key in sorted(found)
    ]  # fmt: skip


def _plain(s: StoredSecret, shared: Shared) -> StoredSecret:
    """Its times in UTC, as the port has them, and of its texts what can be kept."""
    place = _text(s.place)
    times = ("created_at", "rotated_at", "last_used_at", "expires_at")
    more: dict[str, object] = {n: _utc(at) for n in times if (at := getattr(s, n)) is not None}
    more |= {n: one_line(t, _DETAIL) for n in ("owner", "rotated_by", "orphan") if (t := getattr(s, n)) is not None}
    if s.readers is not None:
        more["readers"] = shared.of([one_line(r, _DETAIL) for r in sorted(set(s.readers))[:_READERS]])
    return replace(s, place=place, **more)  # type: ignore[arg-type]


def _kept(f: StoreFlaw) -> StoreFlaw:
    return replace(
        f, rule_id=one_line(f.rule_id, _NAME), resource=_text(f.resource), detail=one_line(f.detail, _DETAIL)
    )


def _text(name: str) -> str:
    """A name as a table can hold it; any other character of it stays, and is escaped where it is shown."""
    return _SURROGATE.sub("\ufffd", name)


def _utc(at: datetime) -> datetime:
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)


def _rest(topic: str, of: str) -> str:
    return topic.removeprefix(of).strip("/")


def _above(topic: str, tool: str) -> str | None:
    """The place that a topic of the inventory is about with all that is below it; "" is everything, None nothing: it
    says that something of places is not told which are. Vault's places may be written without ``vault:``."""
    rest = _rest(topic, INVENTORY)
    if rest.startswith(_PLACES):
        return rest
    if rest.partition("/")[0] in _FIELDS:
        return None
    return f"vault:{rest}" if tool == "vault" and rest not in _ALL else ""


def _ways_up(place: str) -> Iterator[str]:
    """Every place that a place lies below, and itself: as ``_is_in`` has it."""
    yield ""
    yield place
    for n, sign in enumerate(place):
        if sign in "/:":
            yield place[: n + (sign == ":")]


def _is_in(place: str, above: str) -> bool:
    """Whether a place is this one, or lies below it: of ``vault:secret`` is ``vault:secret/shop``."""
    return not above or place == above or place.startswith(above if above.endswith(":") else f"{above}/")
