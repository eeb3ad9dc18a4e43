"""What an inventory writes of one store: results, scopes, the coverage record, and why findings came or went.

Two scopes a store: ``secrets``, what is wrong with what it holds, and one of the store's own tool, what is wrong with
the store itself. A result is named by what was found and what could not be told, not by when: the same night again
writes no observation.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from tasks.core.identity import hygiene_anchor, occurrence_uid
from tasks.core.secret_stores import StoredSecret, StoreGap, StoreRule
from tasks.core.text import one_line
from tasks.core.types import Cause, Gap, Kind, Observation, Outcome, Scan, ScanResult, ScopeState, Unit, digest
from tasks.lake.changes import Aged, Change, Origin, ScopeKey, Unjudged
from tasks.patrol.importing import form_of
from tasks.patrol.owning import COLUMNS
from tasks.patrol.secret_reading import INVENTORY, LEFT_OUT, Stop, StoreReading
from tasks.patrol.stored_secrets import Joined
from tasks.policy import secret_hygiene as hygiene
from tasks.policy.secret_hygiene import HygieneLimits, Judgement, Successors, judge

#: The source of stores in ``repositories``; no configuration can name it.
STORE_SOURCE = "(stores)"
#: The scope of what is wrong with what a store holds.
SECRETS = "secrets"
#: A store has no branches.
REF = ""
#: Raised when the same answers of a store give another result.
REVISION = 1
#: What cannot be told of secrets of a kind: the rules, the word of the gap's topic, and its reason.
_UNTOLD = (
    (frozenset({hygiene.UNUSED}), "use", "use_not_told"),
    (frozenset({hygiene.OVERDUE, hygiene.NEVER}), "rotation", "rotation_not_told"),
    (frozenset({hygiene.EXPIRING, hygiene.EXPIRED}), "expiry", "expiry_not_told"),
)
_DETAIL = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One scope of a store, as this run found it. ``result`` None: it could not be read at all, ``stop`` says why.
    ``unjudged`` and ``aged`` are as in ``Change``."""

    key: ScopeKey
    version: str
    config_digest: str
    rules_digest: str
    rules: tuple[StoreRule, ...]
    stop: Stop | None
    result: ScanResult | None = None
    known: frozenset[str] = frozenset()
    unjudged: Unjudged = field(default=lambda _rule, _place: INVENTORY, repr=False)
    aged: Aged = field(default=lambda _rule, _place: False, repr=False)


class Hygiene:
    """What is wrong with what one store holds."""

    def __init__(self, reading: StoreReading, found: Joined, limits: HygieneLimits, known: frozenset[str]) -> None:
        """``known`` are the places that were there before."""
        self._reading, self._known = reading, known
        ends = Successors(found.secrets)
        self.judged: dict[str, Judgement] = {
            s.place: judge(
                s, reading.at, limits, by=found.rotated.get(s.place), is_replaced=ends.has(s)
            ) for s in found.secrets
        }  # fmt: skip
        self._secrets: Mapping[str, StoredSecret] = {s.place: s for s in found.secrets}
        self._names = {place: c.name for place, c in found.names.items()}
        self._told = frozenset(s.place for s in reading.secrets)
        self._limits, self._unsure = limits, found.gaps

    def part(self) -> Part:
        """The scope."""
        reading = self._reading
        assert reading.store_id is not None
        config = digest(SECRETS, REVISION, self._limits.label())
        rules = digest(SECRETS, hygiene.REVISION)
        key = (reading.store_id, REF, SECRETS)
        part = Part(
            key=key, version=str(hygiene.REVISION), config_digest=config, rules_digest=rules, rules=hygiene.RULES,
            stop=reading.inventory_stop, known=self._known, unjudged=self._unjudged, aged=self._aged,
        )  # fmt: skip
        if not reading.is_read:
            return part
        gaps = [*_gaps(reading.inventory_gaps, INVENTORY, reading.inventory_stop), *self._untold()]
        gaps += [Gap(path=f"{INVENTORY}/{g.topic}", reason_code=g.reason_code, detail=g.detail) for g in self._unsure]
        return replace(part, result=_result(part, reading, [*self._observations()], gaps))

    def _observations(self) -> Iterator[Observation]:
        by_id = {r.rule_id: r for r in hygiene.RULES}
        for place in sorted(self.judged):
            s = self._secrets[place]
            for rule_id in sorted(self.judged[place].found):
                more = {"stored_kind": str(s.kind)}
                if s.orphan is not None:
                    more["detail"] = s.orphan
                if place in self._names:
                    more["managed_as"] = self._names[place]
                yield _observation(by_id[rule_id], rule_id, place, more)

    def _untold(self) -> Iterator[Gap]:
        """What the store does not tell of secrets of a kind, once each: the columns of ``secrets`` tell of which."""
        found = {
            (self._topic(place, word), code)
            for place, judgement in self.judged.items()
            for rules, word, code in _UNTOLD
            if judgement.unknown & rules
        }
        for topic, code in sorted(found):
            yield Gap(path=topic, reason_code=code)
        if any(self._reading.leaves_out(place) for place in self._known - self._told):
            yield Gap(path=LEFT_OUT, reason_code="mount_left_out")

    def _topic(self, place: str, word: str) -> str:
        return f"{INVENTORY}/{self._secrets[place].kind}/{word}"

    def _unjudged(self, rule_id: str, place: str) -> str | None:
        judgement = self.judged.get(place)
        if judgement is not None and rule_id in judgement.unknown:
            return next(self._topic(place, word) for rules, word, _ in _UNTOLD if rule_id in rules)
        return self._reading.hides(place) if place not in self._told else None

    def _aged(self, rule_id: str, place: str) -> bool:
        return rule_id in hygiene.BY_TIME and place in self._known


def audited(reading: StoreReading) -> Part:
    """What is wrong with a store itself."""
    assert reading.store_id is not None
    tool = reading.store.tool
    rules = digest(tool, *(f"{r.rule_id}={r.severity}={r.title}" for r in reading.rules))
    part = Part(
        key=(reading.store_id, REF, tool), version=str(REVISION), config_digest=digest(tool, REVISION),
        rules_digest=rules, rules=reading.rules, stop=reading.audit_stop, unjudged=reading.unruled,
    )  # fmt: skip
    if not reading.is_audited:
        return part
    by_id = {r.rule_id: r for r in reading.rules}
    seen = [
        _observation(by_id.get(f.rule_id), f.rule_id, f.resource, {"detail": f.detail} if f.detail else {})
        for f in reading.flaws
    ]
    return replace(
        part, result=_result(part, reading, seen, _gaps(reading.audit_gaps, "audit", reading.audit_stop))
    )  # fmt: skip


def unreached(reading: StoreReading, store_id: str) -> tuple[Part, Part]:
    """The scopes of a store that could not even say who it is; ``store_id`` is what it said last, else its label."""
    stop = reading.inventory_stop
    made = [
        Part(key=(store_id, REF, tool), version="", config_digest="", rules_digest="", rules=(), stop=stop)
        for tool in (SECRETS, reading.store.tool)
    ]
    return made[0], made[1]


def _gaps(told: Iterable[StoreGap], topic: str, stop: Stop | None) -> list[Gap]:
    gaps = [Gap(path=g.topic, reason_code=g.reason_code, detail=g.detail) for g in told]
    if stop is not None:
        gaps.append(Gap(path=topic, reason_code=stop.reason_code, detail=f"it stopped half-way: {stop.detail}"))
    return gaps


def _observation(rule: StoreRule | None, rule_id: str, place: str, more: Mapping[str, str]) -> Observation:
    anchor = hygiene_anchor(rule_id=rule_id, place=place)
    extra = {k: one_line(v, _DETAIL) for k, v in more.items()}
    if rule is not None:
        extra["source"] = rule.source
    return Observation(
        anchor_uid=anchor,
        occurrence_uid=occurrence_uid(anchor_uid=anchor, path=place, line=None, blob=None),
        kind=Kind.SECRET_HYGIENE,
        rule_id=rule_id,
        title=rule.title if rule is not None else rule_id,
        severity_tool=rule.severity if rule is not None else None,
        path=place,
        resource=place,
        url=_page(rule),
        extra=extra,
    )


def _page(rule: StoreRule | None) -> str | None:
    return rule.source if rule is not None and rule.source.startswith("https://") else None


def _result(part: Part, reading: StoreReading, seen: list[Observation], gaps: list[Gap]) -> ScanResult:
    said = [f"{g.path}|{g.reason_code}|{g.detail}" for g in gaps]
    store_id, ref, tool = part.key
    name = digest("store", REVISION, store_id, tool, part.config_digest, part.rules_digest, *map(form_of, seen), *said)
    return ScanResult(
        scan_name=name, result_name=f"{name}.{REVISION}", tool=tool, tool_version=part.version,
        kind=Kind.SECRET_HYGIENE, unit=Unit.SETTINGS, config_digest=part.config_digest, rules_digest=part.rules_digest,
        parse_revision=REVISION, repo_id=store_id, ref=ref, commit="", outcome=Outcome.PARTIAL if gaps else Outcome.OK,
        observations=tuple(seen), gaps=tuple(gaps), started_at=reading.at, duration_s=reading.duration_s,
        exit_code=None, sandbox="none", files_read=0, bytes_read=0, peak_rss_bytes=0,
    )  # fmt: skip


# -- what the lake is told ------------------------------------------------------------------------------------------


def scope_rows(
    part: Part, before: ScopeState | None, reading: StoreReading, slug: str
) -> tuple[Scan, ScopeState, Change | None]:
    """The row of the coverage record, the scope as it stands now, and what becomes of its findings."""
    store_id, ref, tool = part.key
    result = part.result
    common: dict[str, Any] = {"repo_id": store_id, "ref": ref, "tool": tool, "slug": slug}
    if result is None:
        stop = part.stop or Stop(reason_code="internal", detail="")
        return *_unread(common, before, Outcome.FAILED, stop, reading.at), None
    same = before is not None and before.result_name == result.result_name
    told: dict[str, Any] = {
        **common, "scan_name": result.scan_name, "result_name": result.result_name, "commit": None,
        "tool_version": part.version, "config_digest": part.config_digest, "rules_digest": part.rules_digest,
        "observations": len(result.observations), "gaps": len(result.gaps),
    }  # fmt: skip
    cause = Cause.NONE if same else Cause.NEW if before is None else Cause.CHANGED
    scan = Scan(
        **told, unit=Unit.SETTINGS, cause=cause, outcome=Outcome.UNCHANGED if same else result.outcome,
        started_at=reading.at, duration_s=reading.duration_s,
    )  # fmt: skip
    scope = ScopeState(
        **told, source=STORE_SOURCE, outcome=result.outcome, evidence_at=reading.at, duration_s=reading.duration_s,
        result_part=before.result_part if before is not None and same else None,
    )  # fmt: skip
    return scan, scope, None if same else _change(part, result, before, slug)


def unwatched(before: ScopeState, at: datetime, code: str, outcome: Outcome, detail: str) -> tuple[Scan, ScopeState]:
    """The rows of a scope that was not looked at, of a store that was known."""
    common: dict[str, Any] = {
        "repo_id": before.repo_id, "ref": before.ref, "tool": before.tool, "slug": before.slug,
    }  # fmt: skip
    return _unread(common, before, outcome, Stop(reason_code=code, detail=detail), at)


def _unread(
    common: Mapping[str, Any], before: ScopeState | None, outcome: Outcome, stop: Stop, at: datetime
) -> tuple[Scan, ScopeState]:
    scan = Scan(
        **common, scan_name=None, result_name=None, commit=None, tool_version=None, unit=Unit.SETTINGS,
        config_digest=None, rules_digest=None, cause=Cause.NONE, outcome=outcome, reason_code=stop.reason_code,
        detail=stop.detail, started_at=at,
    )  # fmt: skip
    base = before if before is not None else ScopeState(**common, source=STORE_SOURCE, outcome=outcome)
    scope = replace(base, outcome=outcome, reason_code=stop.reason_code, detail=stop.detail, last_attempt_at=at)
    return scan, scope


def _change(part: Part, result: ScanResult, before: ScopeState | None, slug: str) -> Change:
    store_id, ref, tool = part.key
    is_first = before is None or before.evidence_at is None
    other = not is_first and before is not None and before.config_digest != part.config_digest
    return Change(
        repo_id=store_id, ref=ref, tool=tool, slug=slug, commit=None, result=result,
        before=before.result_name if before is not None else None, origin=Origin.BACKLOG if is_first else None,
        other_tool=other, same_paths=lambda: part.known, of_settings=True,
        rules=frozenset(r.rule_id for r in part.rules), unjudged=part.unjudged, aged=part.aged,
    )  # fmt: skip


def rule_rows(parts: Collection[Part]) -> list[dict[str, Any]]:
    """Rows of ``rules``, each once, of scopes that were read."""
    made: dict[tuple[str, ...], dict[str, Any]] = {}
    for part in parts:
        for r in part.rules if part.result is not None else ():
            page = _page(r)
            made[part.key[2], part.version, part.rules_digest, r.rule_id] = {
                "tool": part.key[2], "tool_version": part.version, "rules_digest": part.rules_digest,
                "rule_id": r.rule_id, "title": r.title, "severity_tool": r.severity, "cwe": None,
                "remedy": r.remedy if page else f"{r.remedy} Source: {r.source}.", "url": page, "pack": None,
            }  # fmt: skip
    return [*made.values()]


def store_row(store_id: str, label: str, before: Mapping[str, Any] | None, *, present: bool, reason: str | None,
              at: datetime) -> dict[str, Any]:  # fmt: skip
    """The row of ``repositories`` that a store has, so that its findings are told as any other's."""
    return {
        "repo_id": store_id, "slug": store_id, "source": STORE_SOURCE, "url": label, "default_branch": None,
        "head": None, "owner": None, "criticality": None, "exposure": None, "scopes": [], "present": present,
        "reason_code": reason, "first_seen_at": before["first_seen_at"] if before is not None else at,
        "changed_at": at, **dict.fromkeys(COLUMNS),
    }  # fmt: skip
