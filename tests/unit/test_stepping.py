"""The tables `upgrades` and `releases`: what is recommended, when it is judged anew, what registries do to it."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tasks.deps.advisories.fetching import Timing
from tasks.deps.registries.asking import Registries
from tasks.deps.upgrades import Outcome, Published, Reason, Upgrade
from tasks.deps.upgrading import GROUPED, Advised, Basis, known_by_advisories
from tasks.lake.verify import verify
from tasks.lake.views import arrow_of
from tasks.patrol import stepping
from tasks.patrol.asking_steps import what_to_raise
from tasks.patrol.listing import Listing, in_trouble
from tests.bench.upgrades import Judge, by_hand, faults
from tests.inventories import Org
from tests.osv_server import Answer, OsvServer, record, serving
from tests.thorough import THOROUGH, thorough

PINNED = {"requirements.txt": "wheelbarrow==1.0\nspade==2.0\n"}
TIMING = Timing(sleep=lambda _s: None, read_s=5)
STEPS = (
    "SELECT package, version, outcome, to_version, reason, basis, reason_code FROM upgrades WHERE present ORDER BY ALL"
)
BEHIND = (
    "SELECT package, version, newest, releases_behind, days_behind, is_withdrawn, reason_code FROM releases"
    " WHERE present ORDER BY ALL"
)


@pytest.fixture
def org(new_lake: Path, tmp_path: Path) -> Org:
    return Org(tmp_path, new_lake)


@pytest.fixture(scope="module")
def running() -> Iterator[OsvServer]:
    with serving() as server:
        yield server


@pytest.fixture
def server(running: OsvServer) -> OsvServer:
    running.files, running.faults, running.asked = {}, {}, []
    return running


def publish(server: OsvServer, package: str, *versions: str, yanked: str = "", word: str | None = None) -> None:
    """What the index says of a package: a version a day, some of them yanked."""
    files = [
        {"filename": f"{package}-{v}.tar.gz", "upload-time": f"2026-01-{n + 1:02d}T00:00:00Z", "yanked": v == yanked}
        for n, v in enumerate(versions)
    ]
    told: dict[str, Any] = {"name": package, "versions": [*versions], "files": files}
    if word:
        told["project-status"] = {"status": word}
    server.files[f"PyPI/{package}/"] = json.dumps(told).encode()


def listing(
    org: Org, server: OsvServer, *, ecosystem: str = "PyPI", max_age_days: float = 1e-9, **more: Any
) -> Listing:
    """As the next night asks: all answers are too old."""
    return Listing(
        Registries(
            org.place / "registries", {"PyPI": f"{server.url}/PyPI"}, timing=TIMING,
            max_age=timedelta(days=max_age_days), **more,
        )
    )  # fmt: skip


def affected(package: str, *events: dict[str, str]) -> list[dict[str, Any]]:
    ranges = [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, *events]}]
    return [{"package": {"ecosystem": "PyPI", "name": package}, "ranges": ranges}]


def test_without_registries_the_versions_that_advisories_name_stand_in(org: Org) -> None:
    org.patrol(shop=PINNED)
    org.advise(record(3), record(4))
    told = org.assess()
    assert told.steps == 1 and not told.has_gaps
    assert org.ask(STEPS) == [("wheelbarrow", "1.0", "safe", "1.4", None, "advisories", "registry_not_configured")]
    (row,) = org.ask("SELECT step, is_breaking, cleared, remaining, asked_at FROM upgrades")
    assert row == ("minor", False, ["TEST-2026-0003", "TEST-2026-0004"], [], None)
    assert org.ask("SELECT count(*) FROM releases") == [(0,)]
    assert verify(org.lake) == []


def test_what_a_registry_lists_is_judged_and_who_is_behind_is_told(org: Org, server: OsvServer) -> None:
    publish(server, "wheelbarrow", "1.0", "1.3", "1.4", "2.0", yanked="1.4")
    publish(server, "spade", "1.9", "2.0", "2.1", "3.0b1", word="archived")
    org.patrol(shop=PINNED)
    org.advise(record(3))
    told = org.assess(listing=listing(org, server))
    assert sorted(server.asked) == ["PyPI/spade/", "PyPI/wheelbarrow/"]
    assert (told.steps, told.has_gaps) == (1, False)
    assert org.ask(STEPS) == [("wheelbarrow", "1.0", "safe", "1.3", None, "registry", None)]
    assert org.ask("SELECT days_behind, newest, releases_skipped, asked_at IS NOT NULL FROM upgrades") == [
        (1, "2.0", 0, True)
    ]
    assert org.ask(BEHIND) == [
        ("spade", "2.0", "2.1", 1, 1, False, None), ("wheelbarrow", "1.0", "2.0", 2, 3, False, None),
    ]  # fmt: skip
    assert org.ask("SELECT package_word FROM releases WHERE package = 'spade'") == [("archived",)]


def test_an_unchanged_night_asks_what_is_old_and_judges_and_writes_nothing(org: Org, server: OsvServer) -> None:
    publish(server, "wheelbarrow", "1.0", "1.3")
    publish(server, "spade", "2.0")
    org.patrol(shop=PINNED)
    org.advise(record(3))
    org.assess(listing=listing(org, server))
    server.asked.clear()
    before = org.lake.snapshot().seq
    again = org.assess(listing=listing(org, server))
    assert sorted(server.asked) == ["PyPI/spade/", "PyPI/wheelbarrow/"], "whether they are what they were"
    assert (again.run_id, again.steps, again.judged) == (None, 0, 0)
    server.asked.clear()
    assert org.assess(listing=listing(org, server, max_age_days=1)).run_id is None
    assert server.asked == [], "young enough"
    assert org.lake.snapshot().seq == before


@thorough
def test_another_list_of_versions_is_judged_and_no_other_package(org: Org, server: OsvServer) -> None:
    publish(server, "wheelbarrow", "1.0", "1.3")
    publish(server, "spade", "2.0", "3.0")
    org.patrol(shop=PINNED)
    org.advise(record(3), record(9, "spade", affected=affected("spade", {"fixed": "2.5"})))
    org.assess(listing=listing(org, server))
    publish(server, "wheelbarrow", "1.0", "1.3", "1.3.1", yanked="1.3")
    told = org.assess(listing=listing(org, server))
    assert (told.steps, told.judged) == (1, 0), "no inventory is judged, and the step of one version"
    assert org.ask(STEPS)[1][:4] == ("wheelbarrow", "1.0", "safe", "1.3.1")
    assert org.ask(BEHIND)[1][:4] == ("wheelbarrow", "1.0", "1.3.1", 1)


@thorough
def test_an_advisory_about_the_recommended_version_is_judged_though_nobody_has_it(org: Org, server: OsvServer) -> None:
    publish(server, "wheelbarrow", "1.0", "1.3", "1.5")
    org.patrol(shop=PINNED)
    org.advise(record(3))
    org.assess(listing=listing(org, server))
    newer = {**record(8), "affected": affected("wheelbarrow", {"fixed": "1.5"})}
    newer["affected"][0]["ranges"][0]["events"][0] = {"introduced": "1.2"}
    org.advise(record(3), newer)
    told = org.assess(listing=listing(org, server))
    assert (told.steps, told.vulnerable, told.run_id is not None) == (1, 0, True)
    assert org.ask(STEPS) == [("wheelbarrow", "1.0", "safe", "1.5", None, "registry", None)]


def test_what_is_vulnerable_or_in_use_no_more_goes_and_may_come_back(org: Org, server: OsvServer) -> None:
    publish(server, "wheelbarrow", "1.0", "1.3")
    publish(server, "spade", "2.0")
    org.patrol(shop=PINNED)
    org.advise(record(3))
    org.assess(listing=listing(org, server))
    org.patrol(shop={"requirements.txt": "spade==2.0\n"})
    org.assess(listing=listing(org, server))
    assert org.ask(STEPS) == []
    assert [row[0] for row in org.ask(BEHIND)] == ["spade"]
    org.patrol(shop=PINNED)
    assert org.assess(listing=listing(org, server)).steps == 1
    assert [row[3] for row in org.ask(STEPS)] == ["1.3"]
    # No registry any more: nobody knows who is behind, and the advisories stand in.
    org.assess()
    assert org.ask(STEPS)[0][5:] == ("advisories", "registry_not_configured")
    assert org.ask(BEHIND) == []


FAULTS = {
    "broken": (Answer(body=b"<html>sign in"), "registry_invalid"),
    "missing": (Answer(status=404), "registry_not_found"),
    "refused": (Answer(status=403), "registry_denied"),
    "silent": (Answer(status=500), "registry_unreachable"),
}


def test_a_registry_in_trouble_is_a_reason_and_its_last_answer_stands(org: Org, server: OsvServer) -> None:
    org.patrol(shop={"requirements.txt": "".join(f"{name}==1.0\n" for name in FAULTS)})
    org.advise(*(record(n, name, affected=affected(name, {"fixed": "1.3"})) for n, name in enumerate(FAULTS)))
    faults = {f"PyPI/{name}/": answer for name, (answer, _) in FAULTS.items()}
    server.faults |= faults
    told = org.assess(listing=listing(org, server))
    troubles = {"registry_invalid": 1, "registry_denied": 1, "registry_unreachable": 1}
    assert (told.has_gaps, told.troubles) == (True, troubles)
    assert "registries: 1 packages registry_denied" in told.late()
    reasons = [reason for _, reason in FAULTS.values()]
    assert org.ask(STEPS) == [
        (name, "1.0", "safe", "1.3", None, "advisories", reason) for name, (_, reason) in FAULTS.items()
    ]
    assert org.ask(BEHIND) == [(name, "1.0", None, None, None, None, reason) for name, (_, reason) in FAULTS.items()]
    assert org.ask("SELECT state FROM runs ORDER BY seq DESC LIMIT 1") == [("CompletedWithGaps",)]
    assert not what_to_raise(org.lake.snapshot()).is_whole
    again = org.assess(listing=listing(org, server))
    assert again.run_id is None and again.has_gaps, "also where nothing is written"
    server.faults.clear()
    for name in FAULTS:
        publish(server, name, "1.0", "1.3", "2.0")
    assert not org.assess(listing=listing(org, server)).has_gaps
    good, behind = [row[:6] for row in org.ask(STEPS)], [row[:6] for row in org.ask(BEHIND)]
    assert what_to_raise(org.lake.snapshot()).is_whole and good[0][5] == "registry"
    server.faults |= faults
    stands = org.assess(listing=listing(org, server))
    # A package that the registry does not have any more is an answer.
    assert (stands.steps, stands.troubles) == (1, troubles)
    for rows, before in ((org.ask(STEPS), good), (org.ask(BEHIND), behind)):
        for row, was, reason in zip(rows, before, reasons, strict=True):
            assert row[0] == "missing" or row == (*was, reason)
    offline = org.assess(listing=listing(org, server, offline=True))
    assert not offline.has_gaps, "somebody wants it so"
    assert {row[6] for row in org.ask(STEPS)} == {"registry_offline"}


@pytest.mark.parametrize(
    ("told", "troubles"),
    [
        ([("npm", None), ("npm", "registry_denied"), ("npm", "registry_invalid"), ("npm", "registry_not_found")], {}),
        ([("npm", None), ("npm", "registry_unreachable"), ("npm", "registry_disk_full")],
         {"registry_unreachable": 1, "registry_disk_full": 1}),
        ([("npm", "registry_denied"), ("npm", "registry_denied"), ("PyPI", None)], {"registry_denied": 2}),
        ([("Debian:12", "registry_none"), ("npm", "registry_offline"), ("Go", "registry_not_configured")], {}),
    ],
)  # fmt: skip
def test_what_a_registry_refuses_of_one_package_is_no_trouble_of_it(
    told: list[tuple[str, str | None]], troubles: dict[str, int]
) -> None:
    assert in_trouble(told) == troubles


@thorough
def test_a_version_of_no_grammar_and_one_that_is_newest_are_told_apart(org: Org, server: OsvServer) -> None:
    publish(server, "spade", "2.0")
    org.patrol(shop={"requirements.txt": "spade===what-ever\n"}, web={"requirements.txt": "spade==2.0\n"})
    org.advise(record(3))
    org.assess(listing=listing(org, server))
    assert org.ask(BEHIND) == [
        ("spade", "2.0", None, 0, None, False, None), ("spade", "what-ever", None, None, None, None, "unknown_version"),
    ]  # fmt: skip
    assert org.assess(listing=listing(org, server)).run_id is None


@thorough
def test_other_rules_of_ours_judge_everything_anew(
    org: Org, server: OsvServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    org.patrol(shop=PINNED)
    org.advise(record(3))
    org.assess()
    monkeypatch.setattr(stepping, "REVISION", 99)
    assert org.assess().steps == 1


def test_a_dry_run_asks_nobody(org: Org, server: OsvServer) -> None:
    org.patrol(shop=PINNED)
    org.advise(record(3))
    assert org.assess(listing=listing(org, server), dry_run=True).steps == 0
    assert server.asked == [] and org.ask("SELECT count(*) FROM upgrades") == [(0,)]


@thorough
def test_all_that_is_in_use_is_asked_for_before_the_lake_is_locked(org: Org, server: OsvServer) -> None:
    publish(server, "wheelbarrow", "1.0", "1.3")
    publish(server, "spade", "2.0")
    org.patrol(shop=PINNED)
    org.advise(record(3))
    one = listing(org, server)
    assert one.warm(org.lake) == 2
    server.asked.clear()
    org.assess(listing=one)
    assert server.asked == [] and len(org.ask(BEHIND)) == 2
    assert Listing().warm(org.lake) == 0


LOCK = {
    "lockfileVersion": 3,
    "packages": {
        "": {"dependencies": {"top": "1", "hoe": "1"}},
        "node_modules/top": {"version": "1.0.0", "dependencies": {"middle": "*"}},
        "node_modules/middle": {"version": "1.0.0", "dependencies": {"rake": "*"}},
        "node_modules/hoe": {"version": "1.0.0", "dependencies": {"rake": "*"}},
        "node_modules/rake": {"version": "1.0.0"},
    },
}


def test_a_transitive_package_says_through_what_it_comes(org: Org) -> None:
    org.patrol(web={"package-lock.json": json.dumps(LOCK)}, shop=PINNED)
    flaw = record(5)
    for name in ("rake", "hoe"):
        events = [{"introduced": "0"}, {"fixed": "1.5.0"}]
        about = {"package": {"ecosystem": "npm", "name": name}, "ranges": [{"type": "SEMVER", "events": events}]}
        flaw = {**flaw, "affected": [about, *(flaw["affected"] if name == "hoe" else [])]}
    org.advise(flaw, record(3), ecosystems=("npm", "PyPI"))
    org.assess()
    assert org.ask("SELECT package, way, through, is_direct FROM vulnerable ORDER BY ALL") == [
        ("hoe", "raise", [], True), ("rake", "refresh_or_raise", ["hoe@1.0.0", "top@1.0.0"], False),
        ("wheelbarrow", "unknown", [], None),
    ]  # fmt: skip
    assert org.assess(everything=True).run_id is None


VERSIONS = ("0.1", "0.9", "1.0a1", "1.0", "1.1", "1.1.1", "1.2", "2.0", "2.1rc1", "3.0")
NIGHTS = 8 if THOROUGH else 2


def advised(org: Org) -> list[Advised]:
    """The steps as the table has them."""
    rows = org.ask(
        "SELECT ecosystem, package, basis, version, outcome, to_version, reason, cleared, remaining FROM upgrades"
        " WHERE present"
    )
    return [
        Advised(
            ecosystem=ecosystem, package=package, basis=Basis(basis),
            upgrade=Upgrade(
                version=version, outcome=Outcome(outcome), to=to, reason=Reason(reason) if reason else None,
                cleared=tuple(cleared), remaining=tuple(remaining),
            ),
        )
        for ecosystem, package, basis, version, outcome, to, reason, cleared, remaining in rows
    ]  # fmt: skip


@pytest.mark.parametrize("seed", range(3 if THOROUGH else 1))
def test_random_nights_leave_what_a_whole_look_leaves_and_no_step_is_vulnerable(
    org: Org, server: OsvServer, seed: int
) -> None:
    rng = random.Random(seed)
    names = [f"pad{n}" for n in range(12)]

    def advisory(number: int) -> dict[str, Any]:
        low, high = sorted(rng.sample(range(len(VERSIONS)), 2))
        event = rng.choice(["fixed", "last_affected"])
        about = affected(rng.choice(names), {event: VERSIONS[high]})
        about[0]["ranges"][0]["events"][0] = {"introduced": rng.choice(["0", VERSIONS[low]])}
        about[0]["versions"] = rng.sample(VERSIONS, rng.randrange(2))
        more = {"aliases": [f"CVE-2026-{rng.randrange(1000, 1004)}"]} if rng.random() < 0.2 else {}
        return {**record(number), "affected": about, **more}

    records = {n: advisory(n) for n in range(24)}
    for _ in range(NIGHTS):
        for repo in rng.sample(("shop", "web", "api"), 2):
            lines = [f"{name}=={rng.choice(VERSIONS)}\n" for name in rng.sample(names, 8)]
            org.patrol(**{repo: {"requirements.txt": "".join(lines)}})
        for number in rng.sample(range(24), 3):
            records[number] = {**advisory(number), "modified": f"2026-04-{rng.randrange(1, 28):02d}T00:00:00Z"}
        org.advise(*records.values())
        known: dict[tuple[str, str], list[Published]] = {}
        for name in rng.sample(names, 6):
            some, yanked = rng.sample(VERSIONS, 6), rng.choice(VERSIONS)
            publish(server, name, *some, yanked=yanked)
        org.assess(listing=listing(org, server))
        for name in names:
            there = json.loads(server.files.get(f"PyPI/{name}/", b'{"versions": [], "files": []}'))
            gone = [file["yanked"] for file in there["files"]]
            known["PyPI", name] = [
                Published(version=v, is_withdrawn=y) for v, y in zip(there["versions"], gone, strict=True)
            ]
        ranges = arrow_of(
            org.lake.snapshot(),
            "SELECT r.*, a.group_id FROM advisory_ranges r JOIN advisories a USING (advisory_id)"
            " WHERE r.present AND a.present AND NOT a.is_withdrawn AND r.unmatchable_reason IS NULL",
        ).select(GROUPED.names)
        by_name = known_by_advisories(ranges)
        there_is = {package: some or by_name.get(package, []) for package, some in known.items()}
        steps = advised(org)
        judge = Judge(ranges)
        assert len(steps) > 5 and list(faults(steps, there_is, judge)) == []
        assert [a for a in steps if a.upgrade.to != by_hand(a, there_is[a.ecosystem, a.package], judge)] == []
        whole = org.assess(listing=listing(org, server), everything=True)
        assert (whole.run_id, whole.steps) == (None, len(steps)), "what was judged in part is what is judged whole"
