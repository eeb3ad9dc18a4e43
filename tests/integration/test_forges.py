"""The whole command over an organisation of each forge: the API is a stateful fake, git over http behind it is real.

``NIGHTWARDEN_FORGE_REPOS=300`` makes it the organisation of three hundred; here it is a small one. What stands beside
each: a request limit, a redirect for good, an error of the server, and a token that must be found nowhere afterwards.
"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tasks.core.origins import ForgeKind
from tests.forges.cases import CANARY, FAKES, LISTS
from tests.forges.github import FakeGithub
from tests.forges.server import FakeForge, limited, redirect
from tests.integration.servers import PrefectServer, nightwarden, prefect_server
from tests.integration.test_canaries import left_behind
from tests.thorough import thorough

pytestmark = [pytest.mark.tools, pytest.mark.prefect]

EXIST = int(os.environ.get("NIGHTWARDEN_FORGE_REPOS", "15"))
HIDDEN = max(EXIST // 15, 1)
#: The form of ``org.yaml`` for each forge.
ACCOUNTS = {
    ForgeKind.GITHUB: "github: {{organization: acme, api_url: {url}, token: env:FORGE_TOKEN}}",
    ForgeKind.GITLAB: "gitlab: {{group: acme, url: {url}, token: env:FORGE_TOKEN}}",
    ForgeKind.GITEA: "gitea: {{organization: acme, url: {url}, token: env:FORGE_TOKEN}}",
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrefectServer]:
    with prefect_server(tmp_path_factory.mktemp("server")) as running:
        yield running


def furnish(fake: FakeForge) -> None:
    """``EXIST`` repositories, of which the token sees all but ``HIDDEN``."""
    fake.token(CANARY, scopes="repo, read:org")
    for n in range(EXIST):
        fake.add(f"acme/service-{n:03}", private=n % 2 == 0, visible=n >= HIDDEN)


def disturb(fake: FakeForge, kind: ForgeKind) -> None:
    """What forges do to their clients."""
    fake.faults.inject(limited(status=429, retry_after=1), path=LISTS[kind])
    fake.faults.inject(limited(status=403, retry_after=1, secondary=True), path=LISTS[kind], after=1)
    if isinstance(fake, FakeGithub):
        moved = f"{fake.api_url}/orgs/acme/repos?per_page=100&type=all"
        fake.faults.inject(redirect(moved), path=r"/orgs/acme/repos$", after=1)


def ask(home: dict[str, str], sql: str, cwd: Path) -> list[dict[str, Any]]:
    done = nightwarden("query", "--format", "json", sql, cwd=cwd, **home)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.parametrize(
    "kind", [ForgeKind.GITLAB, *(pytest.param(k, marks=thorough) for k in (ForgeKind.GITHUB, ForgeKind.GITEA))]
)
def test_of_all_that_exist_the_seen_are_patrolled_and_the_others_reported(
    kind: ForgeKind, server: PrefectServer, tmp_path: Path
) -> None:
    with FAKES[kind](tmp_path / "forge") as fake:
        furnish(fake)
        disturb(fake, kind)
        home = {"NIGHTWARDEN_HOME": str(tmp_path / "home"), **server.environment}
        org = tmp_path / "org.yaml"
        source = [f"    {ACCOUNTS[kind].format(url=fake.api_url)}"]
        if kind is ForgeKind.GITLAB:
            # The others tell how many there are: here a manifest knows more than the token sees.
            (tmp_path / "repos.txt").write_text("".join(f"{fake.clone_url(slug)}\n" for slug in fake.repos))
            source += ["    expected: repos.txt"]
        org.write_text("\n".join(["sources:", "  - name: acme", *source]))
        patrol = ("patrol", "--config", str(org), "--tool", "kingfisher", "--verbose")
        debug = {"PREFECT_LOGGING_LEVEL": "DEBUG", "GIT_TRACE_CURL": "1", "FORGE_TOKEN": CANARY}
        outputs = []
        for _ in range(2):
            done = nightwarden(*patrol, cwd=tmp_path, **home, **debug)
            outputs.append(done.stdout + done.stderr)
            assert done.returncode == 3, done.stderr[-3000:]
        told, seen = kind is not ForgeKind.GITLAB, EXIST - HIDDEN
        for row in ask(home, "FROM discoveries", tmp_path):
            assert (row["listed"], row["expected"], row["total"]) == (seen, seen, EXIST if told else seen)
            assert (row["hidden"], row["missing"]) == ((HIDDEN, 0) if told else (0, HIDDEN))
        scans = ask(
            home,
            "SELECT r.seq, outcome, reason_code, count(*) AS n FROM scans JOIN runs r USING (run_id) "
            "WHERE tool = 'kingfisher' GROUP BY ALL ORDER BY ALL",
            tmp_path,
        )
        reported = ("failed", "forge_hidden", 1) if told else ("missing", "not_listed", HIDDEN)
        nights = [[(s["outcome"], s["reason_code"], s["n"]) for s in scans if s["seq"] == n] for n in (1, 2)]
        # Their content is the same, so one scan serves all of them.
        assert nights[0] == sorted([reported, ("ok", None, 1), ("unchanged", None, seen - 1)])
        assert nights[1] == sorted([reported, ("unchanged", None, seen)])
        fetched = [s for s in fake.seen if s.path.endswith("/git-upload-pack") and s.status == 200]
        assert len(fetched) >= seen
        assert fake.credentials == {CANARY}
    encoded = [base64.b64encode(f"{name}:{CANARY}".encode()) for name in ("x-access-token", "oauth2", "patrol")]
    needles = [CANARY.encode(), *encoded, CANARY.encode().hex().encode()]
    places = [*left_behind(tmp_path / "home"), ("output", "".join(outputs).encode())]
    mirrors = [(str(p), p.read_bytes()) for p in (tmp_path / "home" / "mirrors").rglob("*") if p.is_file()]
    assert mirrors
    assert not [place for place, held in [*places, *mirrors] if any(n in held for n in needles)]
