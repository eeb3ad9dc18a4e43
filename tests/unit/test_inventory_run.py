"""The inventory of a fake store into a lake, night after night: what opens, stays and closes, and what was not read."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tasks.core.secret_stores import StoredKind, StoredSecret, StoreFlaw, StoreGap
from tasks.lake import gc
from tasks.lake.lake import Lake
from tasks.lake.publish import publish
from tasks.lake.schema import TABLES
from tasks.lake.verify import verify
from tasks.lake.views import run_query
from tasks.patrol import hygiene_rows, secret_rows
from tasks.patrol.inventory_run import InventoryRun, InventoryTold
from tasks.patrol.secret_reading import StoreReading
from tasks.patrol.stored_secrets import Configured
from tasks.policy import POLICY
from tasks.policy.secret_hygiene import HygieneLimits
from tests.lake_rows import night as rows_of_a_night
from tests.store_fakes import AWS, VAULT, FakeStore, ago, old, stored

LIMITS = HygieneLimits()


def shop(**more: Any) -> Configured:
    values: dict[str, Any] = {
        "name": "shop-db", "store": "vault", "at": "secret/shop/db", "staged_at": "secret/shop/db-nightwarden",
        "target": "postgresql", "failure_class": "postgresql db", "every": timedelta(days=30),
        "grace": timedelta(hours=1), "consumers": ("cart",),
    }  # fmt: skip
    return Configured(**{**values, **more})


def night(
    lake: Lake, *stores: FakeStore, configured: Iterable[Configured] = (), limits: HygieneLimits = LIMITS, **more: Any
) -> tuple[InventoryTold, InventoryRun]:
    run = InventoryRun([s.configured() for s in stores], tuple(configured), limits, **more)
    run.all()
    with lake.lock():
        told = run.publish(lake)
    assert verify(lake) == []
    return told, run


def ask(lake: Lake, sql: str) -> list[tuple[Any, ...]]:
    return [tuple(r) for r in run_query(lake.snapshot(), sql, POLICY)[1]]


def findings(lake: Lake, where: str = "is_open") -> list[tuple[Any, ...]]:
    return ask(lake, f"SELECT rule_id, path, status FROM findings WHERE {where} ORDER BY path, rule_id")


def scans(lake: Lake) -> list[tuple[Any, ...]]:
    """The coverage record of the newest run."""
    newest = "(SELECT arg_max(run_id, seq) FROM runs)"
    sql = f"SELECT tool, outcome, reason_code FROM scans WHERE run_id = {newest} ORDER BY repo_id, tool"
    return ask(lake, sql)


def test_what_is_wrong_opens_stays_and_closes(lake: Lake) -> None:
    store = FakeStore(
        [stored("fine"), old("old"), old("never", rotated_at=None), stored("unused", created_at=ago(400),
         rotated_at=ago(20), last_used_at=None), stored("left", orphan="its user is gone")],
        [StoreFlaw(rule_id="vault-no-audit", resource="sys/audit", detail="none is on")],
    )  # fmt: skip
    told, run = night(lake, store)
    assert (told.opened, told.fixed, told.gaps) == (5, 0, 0)
    assert findings(lake) == [
        ("vault-no-audit", "sys/audit", "open"),
        ("secret-orphaned", "vault:secret/left", "open"),
        ("secret-never-rotated", "vault:secret/never", "open"),
        ("secret-overdue", "vault:secret/old", "open"),
        ("secret-unused", "vault:secret/unused", "open"),
    ]
    assert scans(lake) == [("secrets", "ok", None), ("vault", "ok", None)]
    assert "5 secrets (0 managed), 4 of them with something wrong; 1 flaws" in run.sentence()
    before = ask(lake, "SELECT count(*) FROM observations"), ask(lake, "SELECT count(*) FROM ledger")

    told, _ = night(lake, store)
    assert (told.opened, told.fixed) == (0, 0)
    assert scans(lake) == [("secrets", "unchanged", None), ("vault", "unchanged", None)]
    assert (ask(lake, "SELECT count(*) FROM observations"), ask(lake, "SELECT count(*) FROM ledger")) == before
    assert ask(lake, "SELECT count(*) FROM finding_events") == [(5,)]

    store.secrets = [s for s in store.secrets if isinstance(s, StoredSecret) and not s.place.endswith(("old", "left"))]
    store.flaws = ()
    told, _ = night(lake, store)
    assert (told.opened, told.fixed) == (0, 3)
    assert findings(lake) == [
        ("secret-never-rotated", "vault:secret/never", "open"), ("secret-unused", "vault:secret/unused", "open"),
    ]  # fmt: skip
    assert {r[0] for r in ask(lake, "SELECT fixed_reason FROM findings WHERE status = 'fixed'")} == {"settings_changed"}
    gone = ask(lake, "SELECT place FROM secrets WHERE NOT present ORDER BY place")
    assert gone == [("vault:secret/left",), ("vault:secret/old",)]


def test_what_a_refused_mount_held_stays_open_until_it_is_read_without_it(lake: Lake) -> None:
    kept, other = old("kept"), old("vault:apps/other")
    night(lake, FakeStore([kept, other]))
    refused = StoreGap(topic="inventory/apps", reason_code="backend_denied", detail="403")
    told, _ = night(lake, FakeStore([kept, refused]))
    assert (told.opened, told.fixed, told.gaps) == (0, 0, 1)
    assert scans(lake) == [("secrets", "partial", None), ("vault", "unchanged", None)]
    assert ask(lake, "SELECT path, reason_code FROM gaps_now") == [("inventory/apps", "backend_denied")]
    assert len(findings(lake)) == 2
    assert ask(lake, "SELECT count(*) FROM secrets WHERE present") == [(2,)]
    events = ask(lake, "SELECT count(*) FROM finding_events")
    night(lake, FakeStore([refused]))
    assert findings(lake) == [("secret-overdue", "vault:apps/other", "open")], "the other mount was read without it"
    night(lake, FakeStore([refused]))
    night(lake, FakeStore([other]))
    assert len(findings(lake)) == 1
    assert ask(lake, "SELECT count(*) FROM finding_events") == [(events[0][0] + 1,)]
    told, _ = night(lake, FakeStore([]))
    assert (told.fixed, findings(lake)) == (1, [])


@pytest.mark.parametrize("topic", ["inventory", "inventory/", "inventory/mounts", "inventory/vault:"])
def test_a_gap_that_names_no_place_may_be_about_everything(lake: Lake, topic: str) -> None:
    night(lake, FakeStore([old("a")]))
    told, _ = night(lake, FakeStore([StoreGap(topic=topic, reason_code="backend_denied")]))
    assert (told.fixed, len(findings(lake))) == (0, 1)


@pytest.mark.parametrize(
    "topic",
    [
        "inventory/vault:secret/a",
        "inventory/vault:sec",
        "inventory/secret/abc",
        "inventory/policies/shop",
        "inventory/readers",
    ],
)
def test_a_gap_beside_a_place_is_not_about_it(lake: Lake, topic: str) -> None:
    night(lake, FakeStore([old("ab")]))
    told, _ = night(lake, FakeStore([StoreGap(topic=topic, reason_code="backend_denied")]))
    assert (told.fixed, findings(lake)) == (1, [])


def test_a_store_that_stops_half_way_closes_only_what_it_told_of(lake: Lake) -> None:
    night(lake, FakeStore([old("a"), old("b"), old("c")]))
    store = FakeStore([stored("a"), old("b"), stored("c")], fails={"inventory": "backend_unreachable"}, after=1)
    told, _ = night(lake, store)
    assert (told.fixed, told.gaps) == (1, 1)
    assert [f[1] for f in findings(lake)] == ["vault:secret/b", "vault:secret/c"]
    assert scans(lake)[0] == ("secrets", "partial", None)
    assert ask(lake, "SELECT path, reason_code, detail FROM gaps_now") == [
        ("inventory", "backend_unreachable", "it stopped half-way: inventory failed"),
    ]  # fmt: skip
    assert ask(lake, "SELECT count(*) FROM secrets WHERE present") == [(3,)]


@pytest.mark.parametrize(
    ("fails", "code", "outcomes"),
    [
        ({"open": "rotation_unmade"}, "rotation_unmade", ("failed", "failed")),
        ({"store_id": "backend_sealed"}, "backend_sealed", ("failed", "failed")),
        ({"inventory": "backend_limited"}, "backend_limited", ("failed", "unchanged")),
        ({"audit": "no such reason"}, "backend_error", ("unchanged", "failed")),
        ({"audit": ValueError("s3cret")}, "internal", ("unchanged", "failed")),
    ],
)
def test_a_store_that_cannot_be_asked_is_a_failed_row(
    lake: Lake, fails: dict[str, Any], code: str, outcomes: tuple[str, str]
) -> None:
    flaws = [StoreFlaw(rule_id="vault-no-audit", resource="sys/audit")]
    night(lake, FakeStore([old("a")], flaws))
    evidence = ask(lake, "SELECT tool, evidence_at FROM scopes ORDER BY tool")
    told, _ = night(lake, FakeStore([old("a")], flaws, fails=fails))
    assert tuple(s[1] for s in scans(lake)) == outcomes
    assert {s[2] for s in scans(lake) if s[1] == "failed"} == {code}
    assert (told.fixed, told.gaps, len(findings(lake))) == (0, outcomes.count("failed"), 2)
    now = dict(ask(lake, "SELECT tool, evidence_at FROM scopes"))
    kept = [tool for tool, at in evidence if now[tool] == at]
    assert len(kept) == outcomes.count("failed"), "the evidence of what was not read is as old as it was"
    assert not ask(lake, "SELECT * FROM gaps_now WHERE detail LIKE '%s3cret%'")
    night(lake, FakeStore([], []))
    assert findings(lake) == []


def test_a_store_that_was_never_reached_is_known_by_its_label_until_it_says_who_it_is(lake: Lake) -> None:
    def nightly(store: FakeStore) -> None:
        run = InventoryRun([store.configured("aws eu-central-1")], (), LIMITS)
        run.all()
        with lake.lock():
            run.publish(lake)

    down = FakeStore(called=AWS, tool="aws", fails={"store_id": "backend_unreachable"})
    nightly(down)
    assert ask(lake, "SELECT repo_id, outcome FROM scopes") == [("aws eu-central-1", "failed")] * 2
    nightly(FakeStore([old("aws-sm:shop")], called=AWS, tool="aws"))
    told = ask(lake, "SELECT repo_id, tool, outcome, reason_code FROM scopes ORDER BY ALL")
    assert told == [
        ("aws eu-central-1", "aws", "nothing_to_read", "gap_gone"),
        ("aws eu-central-1", "secrets", "nothing_to_read", "gap_gone"),
        (AWS, "aws", "ok", None), (AWS, "secrets", "ok", None),
    ]  # fmt: skip
    nightly(down)
    assert ask(lake, "SELECT repo_id, outcome FROM scopes WHERE reason_code IS DISTINCT FROM 'gap_gone'") == [
        (AWS, "failed"), (AWS, "failed"),
    ]  # fmt: skip
    assert len(findings(lake)) == 1


def test_a_store_that_is_configured_no_more_is_missed_and_a_narrowed_run_misses_none(lake: Lake) -> None:
    vault, aws = FakeStore([old("a")]), FakeStore([old("aws-sm:b")], called=AWS, tool="aws")
    night(lake, vault, aws)
    night(lake, vault, whole=False)
    assert len(scans(lake)) == 2
    told, _ = night(lake, vault)
    assert [s for s in scans(lake) if s[1] == "missing"] == [
        ("aws", "missing", "store_removed"), ("secrets", "missing", "store_removed"),
    ]  # fmt: skip
    assert (told.gaps, len(findings(lake))) == (2, 2)
    night(lake, vault, aws)
    assert {s[1] for s in scans(lake)} == {"unchanged"}
    assert ask(lake, "SELECT present, reason_code FROM repositories") == [(True, None)] * 2


def test_what_a_store_does_not_tell_is_neither_a_finding_nor_clean(lake: Lake) -> None:
    told_of = old("a", last_used_at=ago(400), created_at=ago(900))
    night(lake, FakeStore([told_of]))
    assert [f[0] for f in findings(lake)] == ["secret-overdue", "secret-unused"]
    untold = replace(told_of, rotation_is_told=False, rotated_at=None, use_is_told=False, last_used_at=None)
    told, run = night(lake, FakeStore([untold]))
    assert (told.opened, told.fixed, len(findings(lake))) == (0, 0, 2)
    assert [(g.path, g.reason_code) for _, g in run.gaps] == [
        ("inventory/kv/rotation", "rotation_not_told"), ("inventory/kv/use", "use_not_told"),
    ]  # fmt: skip
    assert scans(lake)[0] == ("secrets", "partial", None)
    told, _ = night(lake, FakeStore([stored("a")]))
    assert (told.fixed, findings(lake)) == (2, [])


def test_a_rule_of_the_audit_that_could_not_be_looked_at_keeps_its_findings(lake: Lake) -> None:
    flaws = [StoreFlaw(rule_id=r, resource=n) for r in ("vault-no-audit", "vault-wide-policy") for n in ("x", "y/z")]
    night(lake, FakeStore((), flaws))
    for topic, left in (
        ("audit/vault-wide-policy", [("vault-wide-policy", "x"), ("vault-wide-policy", "y/z")]),
        ("audit/vault-wide-policy/y", [("vault-wide-policy", "y/z")]),
    ):
        night(lake, FakeStore((), [StoreGap(topic=topic, reason_code="backend_denied")]))
        assert sorted(f[:2] for f in findings(lake)) == left
    told, _ = night(lake, FakeStore((), [StoreGap(topic="audit/everything", reason_code="backend_denied")]))
    assert told.fixed == 0, "what a topic means that is no rule nobody knows"


def test_a_managed_secret_and_what_lies_at_its_place_are_one_row(lake: Lake) -> None:
    staged, left = stored("shop/db-nightwarden"), stored("gone/db-nightwarden")
    late = stored("shop/db", created_at=ago(500), rotated_at=ago(61))
    _, run = night(lake, FakeStore([late, staged, left, stored("other", rotated_at=ago(61))]), configured=[shop()])
    assert findings(lake) == [
        ("secret-orphaned", "vault:secret/gone/db-nightwarden", "open"),
        ("secret-overdue", "vault:secret/shop/db", "open"),
    ], "twice its period went by; what is not managed may be ninety days old"
    sql = "SELECT secret, place, is_managed, due, target, kind, store, readers FROM secrets ORDER BY secret"
    rows = ask(lake, sql)
    assert [r[:6] for r in rows] == [
        ("shop-db", "vault:secret/shop/db", True, "unknown", "postgresql", "kv"),
        ("vault:secret/gone/db-nightwarden", "vault:secret/gone/db-nightwarden", False, None, None, "kv"),
        ("vault:secret/other", "vault:secret/other", False, None, None, "kv"),
    ]
    assert {(r[6], tuple(r[7])) for r in rows} == {(VAULT, ("admin", "shop"))}
    assert run.looked[0].found is not None and [*run.looked[0].found.names] == ["vault:secret/shop/db"]
    night(lake, FakeStore([late, left, stored("other", rotated_at=ago(61))]))
    assert findings(lake)[0][1] == "vault:secret/gone/db-nightwarden"
    rows = ask(lake, "SELECT secret, present FROM secrets ORDER BY secret")
    assert rows[0] == ("shop-db", False) and ("vault:secret/shop/db", True) in rows, "nobody manages it any more"
    assert len(findings(lake)) == 1, "as one that is not managed it is young enough"


def test_the_value_of_a_managed_secret_is_as_old_as_its_own_store_says(lake: Lake) -> None:
    """One that a rotation has looked at needs no times of the inventory."""
    untold = stored("shop/db", created_at=ago(500), rotated_at=None, rotation_is_told=False)
    _, run = night(lake, FakeStore([untold]), configured=[shop()])
    assert ("inventory/kv/rotation", "rotation_not_told") in [(g.path, g.reason_code) for _, g in run.gaps]


def test_access_keys_of_a_managed_user_go_by_the_schedule_of_its_secret(lake: Lake) -> None:
    key = old("aws-iam:user/deploy/AKIA1", kind=StoredKind.ACCESS_KEY)
    other = old("aws-iam:user/deploy2/AKIA2", kind=StoredKind.ACCESS_KEY)
    mine = shop(store="aws", at="deploy/key", staged_at=None, iam_user="deploy", region="eu-central-1")
    night(lake, FakeStore([key, other, stored("aws-sm:deploy/key")], called=AWS, tool="aws"), configured=[mine])
    assert [f[1] for f in findings(lake)] == ["aws-iam:user/deploy2/AKIA2"]
    told = ask(lake, "SELECT rotated_by FROM secrets WHERE place LIKE 'aws-iam:user/deploy/%'")
    assert told == [("the managed secret shop-db",)]


def test_two_stores_may_have_the_same_place(lake: Lake) -> None:
    one, two = FakeStore([old("a")]), FakeStore([old("a")], called="vault:https://two.test")
    for _ in range(2):
        night(lake, one, two)
        assert ask(lake, "SELECT secret, store FROM secrets ORDER BY ALL") == [
            ("vault:secret/a", VAULT), ("vault:secret/a (vault:https://two.test)", "vault:https://two.test"),
        ]  # fmt: skip
        assert len(findings(lake)) == 2


DEV, US = "aws:210987654321/eu-central-1", "aws:123456789012/us-east-1"


@pytest.mark.parametrize(
    ("other", "own", "region", "managed"),
    [
        (DEV, AWS, "eu-central-1", AWS),
        (DEV, DEV, "eu-central-1", DEV),
        (DEV, "aws:000000000000/eu-central-1", "eu-central-1", None),
        (DEV, None, "eu-central-1", "unsure"),
        (US, AWS, None, AWS),
        (US, None, "us-east-1", US),
        (US, None, None, "unsure"),
    ],
)
def test_of_two_accounts_or_regions_the_managed_secret_is_in_that_of_our_own_access(
    lake: Lake, other: str, own: str | None, region: str | None, managed: str | None
) -> None:
    """What has its name elsewhere has a row of its own; where nobody can say which it is, that is told."""
    mine = shop(store="aws", at="shop/db", staged_at=None, region=region, iam_user="deploy")
    key = old("aws-iam:user/deploy/AKIA1", kind=StoredKind.ACCESS_KEY)
    stores = [FakeStore([stored("aws-sm:shop/db"), key], called=c, tool="aws") for c in (other, AWS)]
    for whole in (True, False):
        run_of = stores if whole else stores[:1]
        _, run = night(lake, *run_of, configured=[mine], own=lambda: own, whole=whole)
        rows = ask(
            lake, "SELECT store, secret FROM secrets WHERE kind <> 'access_key' AND store IS NOT NULL AND present"
        )
        assert {s for s, name in rows if name == "shop-db"} == {managed} - {"unsure", None}
        assert {s for s, _ in rows} == {other, AWS}, "nothing is without a row"
        told = {(slug, g.path) for slug, g in run.gaps if g.reason_code == "account_not_told"}
        unsure = {other, AWS} if whole else {other}
        assert told == ({(s, "inventory/aws-sm:shop/db") for s in unsure} if managed == "unsure" else set())
    if other == DEV and own in (AWS, DEV):
        keys = ask(lake, "SELECT store FROM secrets WHERE kind = 'access_key' AND rotated_by IS NOT NULL")
        assert keys == [(own,)], "a user of the same name is another one elsewhere"


def test_one_store_that_goes_by_two_names_is_told_once(lake: Lake) -> None:
    store = FakeStore([old("a")])
    run = InventoryRun([store.configured("one"), store.configured("two")], (), LIMITS)
    run.all()
    with lake.lock():
        run.publish(lake)
    assert (len(run.looked), run.notes) == (1, ["two is the same store as one: it was told once"])


def test_why_findings_came(lake: Lake) -> None:
    night(lake, FakeStore([stored("a"), old("first")]))
    night(lake, FakeStore([old("a"), old("b"), old("first")]))
    strict = HygieneLimits(maximum_age_days=2)
    store = FakeStore([old("a"), old("b"), old("first"), stored("c")])
    night(lake, store, limits=HygieneLimits())
    night(lake, store, limits=strict)
    told = dict(ask(lake, "SELECT path, origin FROM findings"))
    assert told == {
        "vault:secret/first": "backlog", "vault:secret/a": "time", "vault:secret/b": "settings",
        "vault:secret/c": "rules",
    }  # fmt: skip
    night(lake, store, limits=HygieneLimits())
    assert ask(lake, "SELECT fixed_reason FROM findings WHERE path LIKE '%/c'") == [("tool_changed",)]


def test_owners_are_those_of_the_store(lake: Lake) -> None:
    store = FakeStore([old("a"), old("b", owner=None)], [StoreFlaw(rule_id="vault-no-audit", resource="sys")])
    night(lake, store)
    assert ask(lake, "SELECT path, owners, owner_from FROM findings ORDER BY path") == [
        ("sys", None, None), ("vault:secret/a", ["team-shop"], "store"), ("vault:secret/b", None, None),
    ]  # fmt: skip
    store.secrets = [old("a"), old("b", owner="team-cart")]
    night(lake, store)
    assert ask(lake, "SELECT owners FROM findings WHERE path = 'vault:secret/b'") == [(["team-cart"],)]


def test_rules_have_severity_remedy_and_source(lake: Lake) -> None:
    night(lake, FakeStore([old("a")], [StoreFlaw(rule_id="vault-no-audit", resource="sys")]))
    night(lake, FakeStore([old("a")]))
    told = ask(lake, "SELECT tool, rule_id, severity_tool, remedy, url FROM rules ORDER BY ALL")
    assert len(told) == 8 and len({r[:2] for r in told}) == 8
    assert ("vault", "vault-no-audit", "high", "Switch an audit device on.", "https://vault.test/audit") in told
    assert all(r[2] and r[3] and (r[4] or "Source: " in r[3]) for r in told)
    severities = dict(ask(lake, "SELECT rule_id, severity FROM ranked"))
    assert severities == {"secret-overdue": "medium"}


def test_certificates_that_are_gone_go_with_the_runs_and_are_not_read_before(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not what comes back, what a finding is about, nor what is no certificate."""
    cert = [stored(f"vault:pki/cert/{n}", kind=StoredKind.CERTIFICATE, expires_at=ago(-90)) for n in range(4)]
    kept, gone = FakeStore([*cert, stored("kv")]), FakeStore([])
    night(lake, kept)
    night(lake, gone)
    assert secret_rows.known_rows(lake.snapshot(), ()) == [] == [*secret_rows.managed_rows(lake.snapshot(), ())]
    assert [r["present"] for r in secret_rows.known_rows(lake.snapshot(), {"vault:secret/kv"})] == [False]
    night(lake, FakeStore(cert[:1]))
    assert ask(lake, "SELECT secret FROM secrets WHERE present") == [("vault:pki/cert/0",)], "it has its row again"
    with lake.lock():
        assert gc.collect(lake, keep_days=1).rows.get("secrets") == 0
        now = lake.place.now()
        monkeypatch.setattr(type(lake.place), "now", lambda _self: now + timedelta(days=2))
        assert gc.collect(lake, keep_days=1).rows["secrets"] == 3
    assert ask(lake, "SELECT secret FROM secrets ORDER BY 1") == [("vault:pki/cert/0",), ("vault:secret/kv",)]
    assert verify(lake) == []


HOSTILE = (
    "vault:secret/a\nb", "vault:secret/\x1b[31mred", "vault:secret/\u202eevil", "vault:secret/a|b",
    "=cmd()", "vault:secret/" + "x" * 5000, "vault:secret/\ud800", "vault:secret/'; DROP TABLE secrets; --",
)  # fmt: skip


def test_names_may_be_anything(lake: Lake) -> None:
    store = FakeStore(
        [old(p, owner=f"o{p}", readers=(p,), orphan=None) for p in HOSTILE] + [old("o", orphan="gone\x1b[2J")],
        [StoreFlaw(rule_id=p[:200], resource=p, detail=p) for p in HOSTILE],
    )
    told, _ = night(lake, store)
    assert told.opened == 2 * len(HOSTILE) + 1
    told, _ = night(lake, store)
    assert (told.opened, told.fixed) == (0, 0)
    assert {s[1] for s in scans(lake)} == {"unchanged"}
    assert ask(lake, "SELECT count(*) FROM secrets WHERE present") == [(len(HOSTILE) + 1,)]
    assert not ask(lake, "SELECT owner FROM secrets WHERE contains(owner, chr(27))")


def test_a_store_that_talks_nonsense_is_told_once_a_place(lake: Lake) -> None:
    naive = old("a", created_at=ago(900).replace(tzinfo=None))
    store = FakeStore([naive, stored("a"), stored("", place=""), "what", None], [7, StoreFlaw(rule_id="", resource="")])  # type: ignore[list-item]
    night(lake, store)
    assert [f[:2] for f in findings(lake)] == [("", ""), ("secret-overdue", "vault:secret/a")]


def test_twenty_thousand_secrets_are_gone_through_once(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = Counter[str]()

    def counted(module: Any, name: str) -> None:
        real = getattr(module, name)

        def call(*args: Any, **more: Any) -> Any:
            calls[name] += 1
            return real(*args, **more)

        monkeypatch.setattr(module, name, call)

    counted(hygiene_rows, "judge")
    counted(StoreReading, "hides")
    many = [old(f"team/{n:05}", readers=("a", "b")) for n in range(20_000)]
    told, _ = night(lake, FakeStore(many))
    assert (told.opened, calls) == (20_000, {"judge": 20_000})
    refused = StoreGap(topic="inventory/vault:apps", reason_code="backend_denied")
    told, _ = night(lake, FakeStore([*many[:-2], refused]))
    assert told.fixed == 2
    assert calls == {"judge": 39_998, "hides": 4}, "of what is gone alone: its row and its finding"
    assert ask(lake, "SELECT count(*) FROM secrets WHERE present") == [(19_998,)]


def decide(lake: Lake, name: str, kind: str, **matchers: str) -> None:
    """A decision in force, as a patrol that read the file leaves it."""
    row = dict.fromkeys(TABLES["decisions"].schema.names) | {
        "decision_id": name, "state": "in_force", "kind": kind, "matchers": json.dumps(matchers), "matches": 1,
        "matched": 1, "reason": "known", "expires": f"{datetime.now(UTC) + timedelta(days=20):%Y-%m-%d}",
        "decided_at": ago(1), "file": "decisions.yaml", "kept_in": "decisions.yaml", "line": 1,
    }  # fmt: skip
    with lake.lock():
        publish(lake, lake.snapshot(), replace(rows_of_a_night(lake.snapshot().seq), decisions=lambda: [row]))


def test_decisions_speak_of_findings_and_gaps_of_stores(lake: Lake) -> None:
    night(lake, FakeStore([stored("a")]))
    decide(lake, "gap", "accepted_gap", gap="backend_denied", repository=VAULT)
    decide(lake, "old", "accepted", rule="secret-overdue", repository=f"{VAULT}*", path="vault:secret/a")
    store = FakeStore([old("a"), old("b"), StoreGap(topic="inventory/kv", reason_code="backend_denied")])
    told, _ = night(lake, store)
    assert (told.gaps, told.accepted) == (1, 1)
    assert ask(lake, "SELECT state, gaps, gaps_accepted FROM runs ORDER BY seq DESC LIMIT 1") == [("Completed", 1, 1)]
    assert ask(lake, "SELECT path, status, decision_id FROM findings ORDER BY path") == [
        ("vault:secret/a", "accepted", "old"), ("vault:secret/b", "open", None),
    ]  # fmt: skip
    told, _ = night(lake, store)
    assert (told.gaps, told.accepted) == (1, 1), "also of an unchanged night"
    store.fails = {"store_id": "backend_sealed"}
    told, _ = night(lake, store)
    assert (told.gaps, told.accepted) == (2, 0)
