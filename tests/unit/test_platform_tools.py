"""Scanners of the platform, programs of our own in the tools' places (mocked): from PATH to the rows of a night."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from flows.settings import Settings
from tasks.core.errors import NightwardenError
from tasks.core.process import ProcessRunner
from tasks.core.sandbox import detect
from tasks.lake.lake import Lake
from tasks.lake.views import run_query
from tasks.scanners import EXPECTED
from tasks.scanners.databases import current, is_old, update
from tasks.scanners.dependency_check import DEPENDENCY_CHECK
from tasks.scanners.gitleaks import GITLEAKS
from tasks.scanners.syft import SYFT
from tasks.scanners.tools import resolve
from tasks.scanners.trivy import TRIVY
from tests.builders import Repository
from tests.hostile.nights import Night, night

#: The scanners that are no platform's: switched off here.
OURS = frozenset(s.name for s in EXPECTED)
#: A program that knows the words it is started with and refuses all others.
_SYFT = """\
#!/bin/sh
case "$*" in
version) echo 'Application: syft'; echo 'Version: 9.9.9' ;;
"scan --from=dir --output=syft-json --quiet /nightwarden/checkout")
  [ "$SYFT_CHECK_FOR_APP_UPDATE" = false ] || exit 2
  printf '{"artifacts":['
  comma=
  for f in $(cd /nightwarden/checkout && find . -name requirements.txt | sort); do
    while IFS== read -r name _ version; do
      printf '%s{"name":"%s","version":"%s","type":"python",' "$comma" "$name" "$version"
      printf '"purl":"pkg:pypi/%s@%s","locations":[{"path":"%s"}]}' "$name" "$version" "${f#.}"
      comma=,
    done <"/nightwarden/checkout/$f"
  done
  printf '],"descriptor":{"name":"syft","version":"9.9.9"}}'
  ;;
*) echo "unknown words: $*" >&2; exit 2 ;;
esac
"""
_GITLEAKS = """\
#!/bin/sh
case "$1" in
version) echo 9.9.9; exit ;;
dir) ;;
*) exit 1 ;;
esac
case "$*" in *--ignore-gitleaks-allow*--log-level=info*/nightwarden/checkout) ;; *) exit 1 ;; esac
cd /nightwarden/checkout || exit 1
printf '['
comma=
for f in $(grep -rlE 'deploy_token' . | sort); do
  value=$(sed -n 's/.*deploy_token = //p' "$f" | head -n 1)
  printf '%s{"RuleID":"token","Description":"a token","StartLine":1,"EndLine":1,"Secret":"%s","Match":"%s",' \
    "$comma" "$value" "$value"
  printf '"File":"/nightwarden/checkout/%s"}' "${f#./}"
  comma=,
done
echo ']'
echo "9:00AM INF scanned ~$(find . -type f -exec cat {} + | wc -c) bytes (some) in 1ms" >&2
[ -z "$comma" ] || exit 77
"""
_TRIVY = """\
#!/bin/sh
case "$*" in
--version) echo 'Version: 9.9.9'; exit ;;
*--download-db-only*)
  eval "place=\\${$#}"
  [ ! -f "$(dirname "$0")/broken" ] || { mkdir -p "$place/db"; echo half >"$place/db/trivy.db"; exit 1; }
  mkdir "$place/db" && cat "$(dirname "$0")/data" >"$place/db/trivy.db" && echo '{}' >"$place/db/metadata.json"
  exit ;;
*--skip-db-update*--cache-dir*) ;;
*) exit 1 ;;
esac
while [ "$1" != --cache-dir ]; do shift; done
[ -s "$2/db/trivy.db" ] || exit 1
! touch "$2/db/x" 2>/dev/null || exit 1
printf '{"SchemaVersion":2,"Results":['
comma=
for f in $(cd "$3" && find . -name Dockerfile | sort); do
  printf '%s{"Target":"%s","Class":"config","Type":"dockerfile","Misconfigurations":[{"Type":"d","ID":"DS-0002",' \
    "$comma" "${f#./}"
  printf '"Title":"root","Severity":"HIGH","Status":"FAIL"}]}'
  comma=,
done
echo ']}'
"""


@pytest.fixture
def put(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], Path]:
    """Puts a program on PATH."""
    place = tmp_path / "platform" / "bin"
    place.mkdir(parents=True)
    monkeypatch.setenv("PATH", f"{place}{os.pathsep}/usr/local/bin:/usr/bin:/bin")

    def write(name: str, text: str) -> Path:
        (place / name).write_text(text)
        (place / name).chmod(0o755)
        return place / name

    return write


@pytest.fixture
def shop(tmp_path: Path) -> Repository:
    """A repository with something for each of the programs."""
    repo = Repository(tmp_path / "org" / "shop")
    token = "tok" + "en-of-nobody-" + "1234567890"
    repo.commit(
        {
            "requirements.txt": b"requests==2.31.0\nflask==3.0.0\n",
            "conf.ini": f"deploy_token = {token}\n".encode(),
            "Dockerfile": b"FROM scratch\n",
        }
    )
    return repo


def _night(tmp_path: Path, *tools: str, **settings: object) -> Night:
    off = {name: {"enabled": False} for name in OURS}
    each = {**off, **settings.pop("each_tool", {})}  # type: ignore[dict-item]
    return night(tmp_path / "home", tmp_path / "org", tmp_path / "tools", tools, each_tool=each, **settings)  # type: ignore[arg-type]


def _expected(done: Night) -> set[str]:
    return {tool for _, tool in done.scans} - OURS


def test_what_is_nowhere_is_not_expected(tmp_path, put, shop) -> None:
    assert _expected(_night(tmp_path)) == set()


def test_what_is_asked_for_by_name_is_expected(tmp_path, put, shop) -> None:
    done = _night(tmp_path, "syft")
    assert done.said("shop", "syft") == ("failed", "tool_missing")


def test_found_on_path_scanned_vanished_and_back(tmp_path, put, shop) -> None:
    program = put("syft", _SYFT)
    first = _night(tmp_path)
    assert _expected(first) == {"syft"}
    assert first.said("shop", "syft") == ("ok", None)
    assert first.scan("shop", "syft")["tool_version"] == "9.9.9"
    assert first.scan("shop", "syft")["observations"] == 2
    assert not first.findings, "an inventory has no findings"
    program.unlink()
    second = _night(tmp_path)
    assert second.said("shop", "syft") == ("failed", "tool_missing")
    put("syft", _SYFT)
    assert _night(tmp_path).said("shop", "syft") == ("unchanged", None)


def test_switched_off_leaves_rows_only_where_it_was_known(tmp_path, put, shop) -> None:
    put("syft", _SYFT)
    off = {"syft": {"enabled": False}}
    assert _expected(_night(tmp_path, each_tool=off)) == set()
    assert _night(tmp_path).said("shop", "syft") == ("ok", None)
    assert _night(tmp_path, each_tool=off).said("shop", "syft") == ("skipped", "switched_off")


def test_a_named_program_that_is_not_there_is_a_gap_of_the_first_night(tmp_path, put, shop) -> None:
    done = _night(tmp_path, each_tool={"syft": {"binary": tmp_path / "nowhere" / "syft"}})
    assert done.said("shop", "syft") == ("failed", "tool_missing")


def test_secrets_of_the_history_by_gitleaks(tmp_path, put, shop) -> None:
    put("gitleaks", _GITLEAKS)
    done = _night(tmp_path)
    assert done.said("shop", "gitleaks") == ("ok", None)
    assert done.open("shop", "gitleaks") == {("conf.ini", "token")}


def test_a_program_in_the_working_directory_is_never_used(tmp_path, monkeypatch, put, shop) -> None:
    program = put("syft", _SYFT)
    monkeypatch.chdir(program.parent)
    monkeypatch.setenv("PATH", f".{os.pathsep}{os.pathsep}/usr/bin:/bin")
    assert _expected(_night(tmp_path)) == set()


# -- data bases ------------------------------------------------------------------------------------------------------


@pytest.fixture
def trivy(put):
    """A program that needs a data base, and what it fetches."""
    program = put("trivy", _TRIVY)
    (program.parent / "data").write_text("first")
    return program


def _update(tmp_path: Path):
    runner = ProcessRunner(detect())
    return update(TRIVY, resolve(TRIVY, tmp_path / "tools", {}, runner), tmp_path / "tools", runner)


def test_without_a_data_base_scans_fail_and_with_one_they_see_it_read_only(tmp_path, trivy, shop) -> None:
    assert _night(tmp_path).said("shop", "trivy") == ("failed", "database_missing")
    _update(tmp_path)
    done = _night(tmp_path)
    # requirements.txt is named by no result of the program
    assert done.said("shop", "trivy") == ("partial", None)
    assert done.unread("shop", "trivy") == {("requirements.txt", "unreadable_by_tool")}
    assert done.open("shop", "trivy") == {("Dockerfile", "DS-0002")}


def test_a_new_data_base_is_a_reason_to_look_again_and_the_same_is_none(tmp_path, trivy, shop) -> None:
    _update(tmp_path)
    _night(tmp_path)
    _update(tmp_path)
    assert _night(tmp_path).scan("shop", "trivy")["outcome"] == "unchanged"
    (trivy.parent / "data").write_text("second")
    _update(tmp_path)
    row = _night(tmp_path).scan("shop", "trivy")
    assert (row["outcome"], row["cause"]) == ("partial", "rules")


def test_a_failed_update_keeps_the_last_good_data_base_and_says_so(tmp_path, trivy) -> None:
    (trivy.parent / "broken").touch()
    with pytest.raises(NightwardenError, match="there is none yet"):
        _update(tmp_path)
    (trivy.parent / "broken").unlink()
    first = _update(tmp_path)
    (trivy.parent / "broken").touch()
    with pytest.raises(NightwardenError, match="stays in force"):
        _update(tmp_path)
    assert current(tmp_path / "tools", "trivy") == first
    assert (first.place / "db" / "trivy.db").read_text() == "first"
    folders = [p for p in first.place.parents[1].iterdir() if p.is_dir() and not p.is_symlink()]
    assert folders == [first.place.parent], "what failed is left lying"


def test_an_update_that_leaves_no_data_is_none(tmp_path, trivy) -> None:
    (trivy.parent / "data").write_text("")
    with pytest.raises(NightwardenError, match=r"left no db/trivy\.db"):
        _update(tmp_path)
    assert current(tmp_path / "tools", "trivy") is None


def test_two_updates_never_run_together(tmp_path, trivy) -> None:
    base = tmp_path / "tools" / "databases" / "trivy"
    base.mkdir(parents=True)
    with (base / "lock").open("a") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(NightwardenError, match="another update"):
            _update(tmp_path)
    _update(tmp_path)


def test_of_updates_the_last_two_stay_and_what_was_cut_off_goes(tmp_path, trivy) -> None:
    base = tmp_path / "tools" / "databases" / "trivy"
    (base / "cut" / "data").mkdir(parents=True)
    made = [_update(tmp_path) for _ in range(3)]
    folders = {p for p in base.iterdir() if p.is_dir() and not p.is_symlink()}
    assert folders == {made[1].place.parent, made[2].place.parent}
    assert current(tmp_path / "tools", "trivy") == made[2]


def test_a_damaged_data_base_is_no_silence(tmp_path, trivy, shop) -> None:
    made = _update(tmp_path)
    (made.place.parent / "nightwarden.json").write_text("{")
    row = _night(tmp_path).scan("shop", "trivy")
    assert (row["outcome"], row["reason_code"]) == ("failed", "tool_missing")
    assert "damaged" in row["detail"]


def test_age_is_measured_against_the_setting(tmp_path, trivy) -> None:
    _update(tmp_path)
    home = resolve(TRIVY, tmp_path / "tools", {}, ProcessRunner(detect()))
    limit = Settings().database_max_age_days
    assert limit == 7
    now = datetime.now(UTC)
    assert not is_old(home, limit, now + timedelta(days=6.9))
    assert is_old(home, limit, now + timedelta(days=7.1))
    assert not is_old(resolve(TRIVY, tmp_path / "no", {}, ProcessRunner(detect())), limit, now + timedelta(days=99))


_DEPENDENCY_CHECK = """\
#!/bin/sh
here=$(dirname "$0")
case "$*" in
--version) echo 'Dependency-Check Core version 9.9.9'; exit ;;
--updateonly*) eval "place=\\${$#}"; cat "$here/../lib/data" >"$place/odc.mv.db"; exit ;;
*--noupdate*) ;;
*) exit 1 ;;
esac
while [ "$1" != --out ]; do shift; done
echo '[INFO] Analysis Started'
printf '{\n "reportSchema":"1.1","scanInfo":{},"dependencies":[{"fileName":"lodash:4.17.20",' >>"$2"
printf '"filePath":"%s/package-lock.json?lodash","packages":[{"id":"pkg:npm/lodash@4.17.20"}],' "$4" >>"$2"
printf '"vulnerabilities":[{"name":"CVE-2021-23337","severity":"HIGH","cwes":["CWE-94"]}]}]}' >>"$2"
"""


def test_a_launcher_sees_what_lies_beside_its_folder_and_writes_to_its_output(tmp_path, put, shop) -> None:
    program = put("dependency-check.sh", _DEPENDENCY_CHECK)
    (program.parents[1] / "lib").mkdir()
    (program.parents[1] / "lib" / "data").write_text("data")
    shop.commit({"package-lock.json": json.dumps({"name": "shop"}).encode()})
    runner = ProcessRunner(detect())
    home = resolve(DEPENDENCY_CHECK, tmp_path / "tools", {}, runner)
    assert home.version == "9.9.9"
    update(DEPENDENCY_CHECK, home, tmp_path / "tools", runner)
    done = _night(tmp_path)
    assert done.said("shop", "dependency-check") == ("ok", None)
    assert done.open("shop", "dependency-check") == {("package-lock.json", "CVE-2021-23337")}


def test_programs_are_asked_for_their_version_in_their_own_way(tmp_path, put) -> None:
    put("syft", _SYFT)
    put("gitleaks", _GITLEAKS)
    runner = ProcessRunner(detect())
    assert {resolve(s, tmp_path, {}, runner).version for s in (SYFT, GITLEAKS)} == {"9.9.9"}


def test_an_inventory_stands_in_the_lake_without_a_finding(tmp_path, put, shop) -> None:
    put("syft", _SYFT)
    _night(tmp_path)
    snapshot = Lake.open(tmp_path / "home" / "lake", key_id=None, create=False).snapshot()
    _, rows = run_query(snapshot, "SELECT kind, purl, version, path, finding_uid FROM scan_results ORDER BY purl")
    assert [tuple(r) for r in rows] == [
        ("package", "pkg:pypi/flask@3.0.0", "3.0.0", "requirements.txt", None),
        ("package", "pkg:pypi/requests@2.31.0", "2.31.0", "requirements.txt", None),
    ]
    _, rows = run_query(snapshot, "SELECT count(*) FROM findings")
    assert [tuple(r) for r in rows] == [(0,)]
