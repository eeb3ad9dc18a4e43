"""`nightwarden rotate` as a user runs it: a real OpenBao as the store, and an executable as the target."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest

from tests.commands import called
from tests.openbao import ROOT_TOKEN, Bao, development
from tests.rotation_approvals import TRIAL, approve_all

EXIT_FAILED, EXIT_USAGE, EXIT_GAPS = 1, 2, 3
FIRST = "f1rst-c4nary-value"
GRACE_MINUTES = 0.02
PAGE = Path(__file__).parents[2] / "docs" / "rotation-program.md"
CONFIG = """
home: home
{trial}vault: {{address: "{address}", token: env:BAO_TOKEN}}
rotation:
  max_per_run: 5
  policies:
    quick: {{every_days: 30, grace_minutes: {grace}}}
  secrets:
    shop:
      vault: {{mount: secret, path: team/shop}}
      program:
        {{executable: target, settings: {{file: "{place}/accepted/shop.json"}}, writes: [accepted]}}
      policy: quick
      consumers: [{{name: cart, cache_minutes: {grace}}}]
{more}
"""


@pytest.fixture(scope="module")
def bao() -> Iterator[Bao]:
    with development() as server:
        yield server


@pytest.fixture
def place(tmp_path: Path, bao: Bao) -> Path:
    """The page's example as the target; ``app_a`` is in force."""
    text = re.search(r"^```python\n(.*?)^```$", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    assert text is not None
    (tmp_path / "target").write_text(text[1])
    (tmp_path / "target").chmod(0o755)
    (tmp_path / "accepted").mkdir()
    accept(tmp_path, "shop", app_a=FIRST)
    bao.call("DELETE", "secret/metadata/team/shop")
    bao.call("DELETE", "secret/metadata/team/shop-nightwarden")
    bao.call("POST", "secret/data/team/shop", {"data": {"username": "app_a", "password": FIRST}})
    configured(tmp_path, bao)
    return tmp_path


def configured(place: Path, bao: Bao, more: str = "") -> None:
    text = CONFIG.format(address=bao.address, grace=GRACE_MINUTES, place=place, more=more, trial=TRIAL)
    (place / "org.yaml").write_text(text)
    approve_all(place / "org.yaml")


def accept(place: Path, name: str, **users: str) -> None:
    (place / "accepted" / f"{name}.json").write_text(json.dumps({"users": users}))


def accepted(place: Path) -> dict[str, str]:
    found: dict[str, str] = json.loads((place / "accepted" / "shop.json").read_text())["users"]
    return found


def in_force(bao: Bao) -> dict[str, str]:
    found: dict[str, str] = bao.call("GET", "secret/data/team/shop")["data"]["data"]
    return found


def call(place: Path, *args: str, **env: str) -> CompletedProcess[str]:
    return called("rotate", *args, "--config", "org.yaml", cwd=place, BAO_TOKEN=ROOT_TOKEN, **env)


def rows(done: CompletedProcess[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in done.stdout.splitlines()]


def listed(place: Path) -> dict[str, Any]:
    done = call(place, "list", "--format", "json")
    assert done.returncode == 0, done.stderr
    (row,) = rows(done)
    return row


def holding(place: Path, value: str) -> list[Path]:
    """Files below the home (with its lake) that hold a value."""
    files = [p for p in (place / "home").rglob("*") if p.is_file()]
    return [p for p in files if value.encode() in p.read_bytes()]


def test_a_secret_is_rotated_from_the_first_look_to_the_history(place: Path, bao: Bao) -> None:
    said: list[str] = []

    def run(*args: str) -> CompletedProcess[str]:
        done = call(place, *args)
        said.append(done.stdout + done.stderr)
        return done

    row = listed(place)
    assert (row["secret"], row["place"], row["target"]) == ("shop", "vault:secret/team/shop", "program")
    assert (row["identity"], row["due"], row["state"], row["reason_code"]) == ("app_a", "too_young", None, None)
    done = run("run")
    assert (done.returncode, "1 secrets: nothing was to be done" in done.stdout) == (0, True), "it is too young"
    done = run("plan", "shop", "--now")
    assert done.returncode == 0, done.stderr
    steps = re.findall(r"^  ([A-Z]+) ", done.stdout, re.MULTILINE)
    assert steps == ["PREPARED", "APPLIED", "VERIFIED", "PROMOTED", "GRACE", "RETIRED"]
    assert "accepts it for app_b" in done.stdout and "refuses app_a" in done.stdout
    assert run("run", "shop", "--now", "--dry-run").stdout == done.stdout
    assert (accepted(place), in_force(bao)["password"]) == ({"app_a": FIRST}, FIRST), "nothing was changed"

    done = run("run", "shop", "--now")
    assert done.returncode == EXIT_GAPS, done.stderr
    assert re.search(r"^shop: grace until \d{4}-", done.stdout, re.MULTILINE) and "published as run" in done.stdout
    assert [line.split()[1] for line in done.stderr.splitlines()] == [
        "prepared", "applied", "verified", "promoted", "grace",
    ]  # fmt: skip
    fresh = in_force(bao)["password"]
    assert accepted(place) == {"app_a": FIRST, "app_b": fresh}, "both work while consumers may remember the old one"
    row = listed(place)
    assert (row["identity"], row["state"]) == ("app_b", "grace") and row["until"]
    done = run("plan")
    assert "GRACE" in done.stdout and "RETIRED   program refuses app_a" in done.stdout

    assert run("resume").returncode == EXIT_GAPS or accepted(place) == {"app_b": fresh}, "it is in grace"
    done = run("resume", "--wait", "1")
    assert (done.returncode, accepted(place)) == (0, {"app_b": fresh}), done.stderr
    assert run("resume").returncode == 0
    assert listed(place)["due"] == "too_young", "what was asked for counts as a rotation"

    done = run("history", "shop", "--format", "json")
    assert [r["state"] for r in reversed(rows(done))] == [
        "prepared", "applied", "verified", "promoted", "grace", "retired",
    ]  # fmt: skip
    assert {(r["identity"], r["replaces"]) for r in rows(done)} == {("app_b", "app_a")}
    assert rows(run("history", "other", "--format", "json")) == []
    for value in (FIRST, fresh, ROOT_TOKEN):
        assert not [text for text in said if value in text] and not holding(place, value)


def test_steps_wait_while_the_lake_is_locked_and_the_next_run_publishes_them(place: Path, bao: Bao) -> None:
    from tasks.core.keys import load_or_create
    from tasks.lake.lake import Lake

    key = load_or_create(place / "home" / "keys" / "hmac.key")
    with Lake.open(place / "home" / "lake", key_id=key.key_id).lock():
        done = call(place, "run", "shop", "--now", NIGHTWARDEN_WAIT_MINUTES="0")
    assert done.returncode == EXIT_GAPS and "the next run publishes them" in done.stdout
    assert in_force(bao)["username"] == "app_b", "a rotation waits for nobody"
    done = call(place, "history")
    assert "0 rows" in done.stdout and "5 steps are not in the lake yet" in done.stderr
    done = call(place, "resume", "--wait", "1")
    assert done.returncode == 0 and "published as run" in done.stdout
    assert "6 rows" in call(place, "history").stdout


def test_what_is_wrong_with_one_secret_does_not_keep_the_others(place: Path, bao: Bao) -> None:
    program = "program: {executable: target, settings: {file: x}}"
    lone = "mysql: {host: localhost, users: [a], in_place: accepted, admin: {user: r, password: env:X}}"
    configured(
        place, bao, f"""
    gone: {{vault: {{mount: secret, path: team/gone}}, {program}, policy: quick}}
    broken: {{vault: {{mount: secret, path: ../broken}}, {program}, policy: quick}}
    lone: {{vault: {{mount: secret, path: lone}}, {lone}, policy: quick}}
""",
    )  # fmt: skip
    done = call(place, "list", "--format", "json")
    reasons = {row["secret"]: row["reason_code"] for row in rows(done)}
    assert (done.returncode, reasons) == (
        EXIT_GAPS, {"shop": None, "gone": "secret_missing", "broken": "rotation_unmade", "lone": "secret_missing"},
    )  # fmt: skip
    assert "gone: vault:secret/team/gone: there is no such secret" in call(place, "list").stdout
    done = call(place, "plan", "lone", "shop")
    assert "warning: One user is rotated in place" in done.stdout.partition("shop  ")[0]
    done = call(place, "run", "shop", "--now", "--wait", "1")
    assert done.returncode == 0 and set(accepted(place)) == {"app_b"}
    done = call(place, "run")
    assert done.returncode == EXIT_GAPS
    assert "gone: secret_missing" in done.stdout and "3 could not be read" in done.stdout
    done = call(place, "run", "shop", "nobody")
    assert (done.returncode, "no secret is called nobody" in done.stderr) == (EXIT_USAGE, True)


def test_what_is_dangerous_begins_once_it_is_approved_and_ends_without(place: Path, bao: Bao) -> None:
    approvals = place / "decisions.yaml"
    approvals.unlink()
    done = call(place, "list", "--format", "json")
    (row,) = rows(done)
    assert (done.returncode, row["reason_code"], row["approval"]) == (0, "approval_unread", "unread"), "no file"
    approvals.write_text("decisions: []\n")
    assert (listed(place)["reason_code"], listed(place)["approval"]) == ("approval_missing", "missing")
    done = call(place, "run", "shop", "--now")
    assert done.returncode == EXIT_GAPS and set(accepted(place)) == {"app_a"}
    assert "shop: due, and not begun: approval_missing" in done.stdout and "rotate approve shop" in done.stdout
    assert "nothing: approval_missing" in call(place, "plan", "--now").stdout
    done = call(place, "approve", "shop", "--reason", "It was tried.")
    assert done.returncode == 0 and "the next run takes it" in done.stdout, done.stdout + done.stderr
    row = listed(place)
    assert row["approval"].startswith("by whoever writes the file (none) until ") and row["reason_code"] is None
    assert "  approved by whoever" in call(place, "plan", "--now").stdout
    assert call(place, "run", "shop", "--now").returncode == EXIT_GAPS and set(accepted(place)) == {"app_a", "app_b"}
    approvals.write_text("decisions: []\n")
    done = call(place, "run", "--wait", "1")
    assert "shop: retired" in done.stdout and set(accepted(place)) == {"app_b"}, "what was begun is finished"
    configured(place, bao)
    path = place / "org.yaml"
    path.write_text(path.read_text().replace("executable: target,", "executable: target, arguments: [--other],"))
    done = call(place, "run", "shop", "--now")
    assert done.returncode == EXIT_GAPS and "as it was configured before" in done.stdout


def test_a_value_that_is_refused_is_taken_back_and_told(place: Path, bao: Bao) -> None:
    text = (place / "target").read_text()
    (place / "target").write_text(text.replace('users[fields["username"]] = fields["password"]', "pass"))
    configured(place, bao)
    path = place / "org.yaml"
    path.write_text(path.read_text().replace("every_days: 30,", "every_days: 30, settle_seconds: 0,"))
    done = call(place, "run", "shop", "--now")
    assert done.returncode == EXIT_GAPS and "shop: withdrawn: value_rejected" in done.stdout
    assert (accepted(place), in_force(bao)["username"]) == ({"app_a": FIRST}, "app_a")
    assert "withdrawn" in call(place, "history").stdout


def test_what_somebody_changed_meanwhile_is_kept_by_withdrawing(place: Path, bao: Bao) -> None:
    text = (place / "target").read_text()
    # It accepts the new value, and is down before anybody can see that.
    (place / "target").write_text(text.replace('if operation == "probe":', 'if operation == "probe" and "app_b" in users:\n        raise KeyError\n    if operation == "probe":'))  # fmt: skip  # noqa: E501
    approve_all(place / "org.yaml")  # with what it holds now
    done = call(place, "run", "shop", "--now")
    assert done.returncode == EXIT_GAPS and "shop: failed: target_error" in done.stdout
    bao.call("POST", "secret/data/team/shop", {"data": {"username": "app_a", "password": FIRST, "note": "mine"}})
    (place / "target").write_text(text)
    done = call(place, "resume")
    assert done.returncode == EXIT_GAPS and "approval_missing" in done.stdout, "another executable than was approved"
    approve_all(place / "org.yaml")
    done = call(place, "resume")
    assert done.returncode == EXIT_GAPS and "rotation_conflict" in done.stdout
    done = call(place, "resume", "--withdraw", "shop")
    assert (done.returncode, "shop: withdrawn" in done.stdout) == (0, True), done.stdout + done.stderr
    assert in_force(bao)["note"] == "mine" and accepted(place) == {"app_a": FIRST}


def test_policy_prints_what_exactly_this_configuration_needs(place: Path, bao: Bao) -> None:
    configured(
        place, bao, """
    db:
      vault: {mount: kv, path: db, pending_path: waiting/db}
      postgresql: {host: 127.0.0.1, users: [a, b], dbname: x, admin: {user: root, password: "vault:secret/admin#pw"}}
      policy: quick
    key:
      aws: {id: deploy, region: eu-central-1, account: "123456789012"}
      iam: {user: deploy, arn: "arn:aws:iam::123456789012:user/deploy", role: {arn: "arn:aws:iam::123456789012:role/r"}}
      policy: quick
    other:
      aws: {id: other, region: eu-central-1, account: "123456789012"}
      program: {executable: target, secrets: {a: "aws-sm:admin/pw#password", b: "aws-sm:arn:aws:secretsmanager:x"}}
      policy: quick
aws: {region: eu-west-1}
""",
    )  # fmt: skip
    told = call(place, "policy", "vault")
    paths = re.findall(r'^path "(.*)"', told.stdout, re.MULTILINE)
    assert [p for p in paths if not p.startswith("auth/token/")] == [
        "kv/data/db", "kv/data/waiting/db", "kv/metadata/waiting/db", "secret/data/admin", "secret/data/team/shop",
        "secret/data/team/shop-nightwarden", "secret/metadata/team/shop-nightwarden",
    ]  # fmt: skip
    token = bao.policy_token(told.stdout)
    assert call(place, "list", "--format", "json").returncode == EXIT_GAPS, "the others are not there"
    done = called("rotate", "run", "shop", "--now", "--config", "org.yaml", cwd=place, BAO_TOKEN=token)
    assert "shop: grace until" in done.stdout, "the policy is enough"
    told = call(place, "policy", "aws")
    assert [line.split(":")[0] for line in told.stderr.splitlines()] == [
        *["for the identity that runs Nightwarden"] * 3, "arn", "aws-sm", "references are read too",
    ]  # fmt: skip
    assert "x is read too" in told.stderr and "its ARN is not known" in told.stderr
    own, roles, reads, role = (text for text in re.split(r"(?<=^\})\n", told.stdout, flags=re.MULTILINE) if text)
    assert all(json.loads(text)["Version"] for text in (own, roles, reads, role))
    (statement,) = json.loads(reads)["Statement"]
    assert (statement["Action"], statement["Resource"]) == (
        ["secretsmanager:GetSecretValue"], ["arn:aws:secretsmanager:eu-west-1:123456789012:secret:admin/pw-??????"],
    )  # fmt: skip
    assert "secret:deploy-??????" in own and "sts:AssumeRole" in roles and "iam:CreateAccessKey" in role


def test_mistakes_of_use_are_told(place: Path) -> None:
    assert call(place, "run", "--now").returncode == EXIT_USAGE
    done = called("rotate", "list", cwd=place)
    assert (done.returncode, "no secret is configured" in done.stderr) == (EXIT_USAGE, True)
    done = called("rotate", "--help", cwd=place)
    commands = done.stdout.split("Commands:")[1]
    assert all(name in commands for name in ("list", "plan", "run", "resume", "history", "policy", "approve"))
    assert "..." not in commands, "no first sentence is cut"
