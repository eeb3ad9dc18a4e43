"""Every adapter has a table of severities, and every word of its samples stands in it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tasks.importers import IMPORTERS
from tasks.policy.secret_hygiene import RULES as HYGIENE
from tasks.policy.severity import RANKS, SCORE_PATTERN, TABLES, Severity, severity_of
from tasks.rotation.aws_audit_rules import ACCOUNT_RULES, REGION_RULES
from tasks.rotation.vault_audit_rules import RULES as VAULT
from tasks.scanners import SCANNERS

DATA = Path(__file__).parents[1] / "data"
PACKS = Path(__file__).parents[2] / "tasks" / "scanners" / "packs"
NAMES = [a.name for a in (*SCANNERS, *IMPORTERS)]
#: What is no adapter: advisories speak through it.
ASSESS = "assess"
#: Nor are these: what is wrong with stored secrets, and with their stores.
STORES = {"secrets", "vault", "aws"}


def words_of_samples(name: str) -> set[str]:
    seen = {o["severity_tool"] for o in json.loads((DATA / name / "observations.json").read_text("utf-8"))} - {None}
    if name == "semgrep":
        rules = [p.read_text("utf-8") for p in PACKS.rglob("*.yaml")]
        seen |= {w for text in rules for w in re.findall(r"^\s+severity: (\w+)$", text, re.MULTILINE)}
    return seen


@pytest.mark.parametrize("name", NAMES)
def test_every_word_of_an_adapter_has_a_meaning(name: str) -> None:
    table = TABLES[name]
    known = {w.lower() for w in table.words}
    unread = {w for w in words_of_samples(name) if w.lower() not in known}
    assert {w for w in unread if not (table.scores and re.fullmatch(SCORE_PATTERN, w))} == set()
    assert len(known) == len(table.words), "words are compared without case"
    assert table.source


def test_no_table_is_left_of_an_adapter_that_is_gone() -> None:
    assert set(TABLES) == {*NAMES, ASSESS, *STORES}


def test_severities_of_stores_of_secrets_are_all_known() -> None:
    rules = {"secrets": HYGIENE, "vault": VAULT, "aws": (*REGION_RULES, *ACCOUNT_RULES)}
    assert rules.keys() == STORES
    for tool, some in rules.items():
        assert {severity_of(tool, r.severity, None) for r in some} <= {*RANKS} - {Severity.UNKNOWN}
        assert all(r.title and r.remedy and r.source for r in some)
        assert len({r.rule_id for r in some}) == len(some)


def test_samples_say_severities_at_all() -> None:
    assert {n for n in NAMES if not words_of_samples(n)} == {
        "kingfisher", "checkov", "gitleaks", "syft", "brakeman", "inventory",
    }  # fmt: skip
