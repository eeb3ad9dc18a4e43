"""A slow, obvious model of the life of findings: everything is told anew from all looks there ever were."""

from __future__ import annotations

from dataclasses import dataclass, replace

from tests.lifecycle.world import Look, Name, Night, Scope

#: A finding of a scope.
Key = tuple[Name, str, str]


@dataclass(frozen=True, kw_only=True)
class Life:
    """What a model knows of one finding."""

    present: bool
    scan_status: str
    status: str
    origin: str
    first_seen: int
    opened: int
    path: str
    decision: str | None = None
    until: int | None = None
    closed: int | None = None
    reason: str | None = None
    moved_from: Name | None = None


#: (night, finding, status before, status, cause)
Event = tuple[int, Key, str | None, str, str]


def tell(nights: list[Night]) -> tuple[dict[Key, Life], list[Event]]:
    """All findings as they stand after the last night, and all that ever happened to them."""
    lives: dict[Key, Life] = {}
    events: list[Event] = []
    looks: dict[Scope, list[Look]] = {}
    for night in nights:
        causes: dict[Key, str] = {}
        before = dict(lives)
        looked = {scope for scope, some in looks.items() if some}
        for look in night.looks:
            _look(lives, before, looks.setdefault(look.scope, []), look, causes, looked)
            looks[look.scope].append(look)
        for key, life in list(lives.items()):
            lives[key] = now = _decided(life, key, night)
            old = before.get(key)
            if old is not None and (old.status, old.decision) == (now.status, now.decision):
                continue
            ended = old is not None and old.until is not None and old.until <= night.number and now.decision is None
            cause = causes.get(key) or ("expiry" if ended else "decision")
            events.append((night.number, key, old.status if old is not None else None, now.status, cause))
    return lives, events


def _look(
    lives: dict[Key, Life],
    last_night: dict[Key, Life],
    past: list[Look],
    look: Look,
    causes: dict[Key, str],
    looked: set[Scope],
) -> None:
    """What one look changes in its scope."""
    ref, tool = look.scope[1:]
    mine = {key: life for key, life in lives.items() if key[0][0] == look.scope[0] and key[1:] == (ref, tool)}
    names = {key[0] for key in mine} | set(look.seen())
    stood = {n: {p for p in _places(n, past) if _shows(past, n, p)} for n in names}
    stands = {n: {p for p in _places(n, [*past, look]) if _shows([*past, look], n, p)} for n in names}
    came = [n for n in names if stands[n] and not stood[n]]
    went = [n for n in names if stood[n] and not stands[n]]
    moves = _renames(came, went, stood, look, past)
    for name in sorted(names):
        key = (name, ref, tool)
        if name in look.seen() and key in lives:
            lives[key] = replace(lives[key], path=min(look.seen()[name]))
        if name in came:
            path = min(look.seen()[name])
            old = lives.get(key)
            if name in moves:
                source = mine[moves[name], ref, tool]
                lives[key] = replace(source, path=path, moved_from=moves[name], decision=None, until=None)
                causes[key] = "moved"
                continue
            origin = _origin(name, path, look, past, looked)
            back = old is not None
            elsewhere = _elsewhere(name, tool, last_night)
            if not back and elsewhere is not None:
                status = elsewhere.scan_status if elsewhere.present else "open"
                lives[key] = Life(
                    present=True, scan_status=status, status="", origin=elsewhere.origin, path=path,
                    first_seen=elsewhere.first_seen, opened=elsewhere.opened, moved_from=elsewhere.moved_from,
                )  # fmt: skip
                causes[key] = "branched"
                continue
            lives[key] = Life(
                present=True,
                scan_status="reopened" if back else "open",
                status="",
                origin=old.origin if old is not None else origin,
                first_seen=old.first_seen if old is not None else look.night,
                opened=elsewhere.opened if elsewhere is not None else look.night,
                path=path,
                moved_from=old.moved_from if old is not None else None,
            )
            causes[key] = (
                "restored"
                if old is not None and old.scan_status == "archived"
                else {"backlog": "first_scan", "code": "code_changed", "rules": "rules_changed"}[origin]
            )
        elif name in went:
            causes[key] = "moved" if name in moves.values() else _why(name, stood[name], look, past)
            lives[key] = replace(
                lives[key],
                present=False,
                scan_status="archived" if look.empty else "fixed",
                closed=look.night,
                reason=causes[key],
            )


def _elsewhere(name: Name, tool: str, last_night: dict[Key, Life]) -> Life | None:
    """The life that a flaw which comes to a branch goes on with: nobody has mended it on any branch of its repository
    since it was seen there. Of several the one that has been open for longest."""
    there = sorted(
        (life.opened, life.first_seen, ref, life)
        for (known, ref, by), life in last_night.items()
        if (known, by) == (name, tool) and (life.present or life.scan_status == "archived")
    )
    mended = [
        life.closed or 0
        for (known, _ref, by), life in last_night.items()
        if (known, by) == (name, tool) and life.scan_status == "fixed" and life.reason != "moved"
    ]
    return next((x[3] for x in there if x[3].present or all(n <= (x[3].closed or 0) for n in mended)), None)


def _places(name: Name, looks: list[Look]) -> set[str]:
    return {p for look in looks for p in look.seen().get(name, ())}


def _shows(looks: list[Look], name: Name, path: str) -> bool:
    """Whether the last look that read a path for a flaw's rule saw it there."""
    for look in reversed(looks):
        if look.empty:
            return False
        if path in look.seen().get(name, ()):
            return True
        if path in look.unread or "" in look.unread:
            continue
        if name[1] in look.not_run and path in look.tree:
            continue
        return False
    return False


def _renames(
    came: list[Name], went: list[Name], stood: dict[Name, set[str]], look: Look, past: list[Look]
) -> dict[Name, Name]:
    """What came → what went: the one flaw under a path that is new, of the one under a path that is gone."""
    if look.scope[2] != "code" or not past:
        return {}
    new = [n for n in came if not look.seen()[n] & set(past[-1].tree)]
    old = [n for n in went if not stood[n] & set(look.tree)]
    found = {}
    for n in new:
        same = [o for o in old if (o[1], o[3]) == (n[1], n[3])]
        rivals = [m for m in new if (m[1], m[3]) == (n[1], n[3])]
        if len(same) == len(rivals) == 1 and not look.empty:
            found[n] = same[0]
    return found


def _origin(name: Name, path: str, look: Look, past: list[Look], looked: set[Scope]) -> str:
    repo, _ref, tool = look.scope
    if not past:
        if look.expected_before or not any(s[0] == repo for s in looked):
            return "backlog"
        return "code" if any((s[0], s[2]) == (repo, tool) for s in looked) else "rules"
    last = past[-1]
    if last.empty:
        return "code"
    if path in last.unread:
        return "backlog"
    if last.config == look.config:
        return "code"
    if last.tree.get(path) == look.tree[path]:
        return "rules"
    return "code" if tool == "secrets" or name[1] in last.rules else "rules"


def _why(name: Name, where: set[str], look: Look, past: list[Look]) -> str:
    if look.empty:
        return {"ref_gone": "ref_gone", "repository_gone": "archived"}[look.empty]
    mended = "code_changed" if where & set(look.tree) else "file_gone"
    if look.scope[2] == "code" and name[1] not in look.rules:
        return mended if name[1] in look.not_run else "rule_gone"
    if past[-1].config == look.config:
        return mended
    same = all(p in look.tree and past[-1].tree.get(p) == look.tree[p] for p in where)
    return "tool_changed" if same else "code_or_tool"


def _decided(life: Life, key: Key, night: Night) -> Life:
    for d in night.decisions:
        if life.present and d.until > night.number and d.rule == key[0][1] and d.path in (None, life.path):
            return replace(life, status=d.status, decision=d.id, until=d.until)
    return replace(life, status=life.scan_status, decision=None, until=None)
