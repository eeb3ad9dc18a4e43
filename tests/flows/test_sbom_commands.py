"""`assess --sbom` and `export sbom` as a user runs them: exit codes, words, files."""

from __future__ import annotations

import json
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from tasks.policy.severity import Severity, severity_of
from tests.commands import called
from tests.cyclonedx_schema import validator
from tests.deps_samples import DATA
from tests.inventories import KEY, Org
from tests.osv_server import record

EXIT_USAGE, EXIT_GAPS = 2, 3
ONE = {
    "bomFormat": "CycloneDX",
    "specVersion": "1.6",
    "components": [{"type": "library", "name": "wheelbarrow", "purl": "pkg:pypi/wheelbarrow@1.0"}],
}


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "shop.json").write_text(json.dumps(ONE))
    return tmp_path


def call(place: Path, *args: str) -> CompletedProcess[str]:
    return called(*args, "--lake", str(place / "lake"), cwd=place, NIGHTWARDEN_HOME=str(place / "home"))


def test_from_a_file_to_the_lake_and_out_again(place: Path) -> None:
    sample = str(DATA / "cyclonedx" / "bom.json")
    taken = ("assess", "--sbom", "shop.json", "--sbom", sample, "--repo", "shop")
    unknown = call(place, *taken)
    assert (unknown.returncode, "no repository is called 'shop'" in unknown.stderr) == (EXIT_USAGE, True)
    dry = call(place, *taken, "--new-repo", "--dry-run")
    assert (dry.returncode, "shop HEAD shop.json: 1 packages, 0 vulnerable, would be taken in" in dry.stdout) == (
        EXIT_GAPS, True,
    ), dry.stderr  # fmt: skip
    done = call(place, *taken, "--new-repo")
    assert done.returncode == EXIT_GAPS, done.stderr
    assert "shop HEAD bom.json: 4 packages, taken in" in done.stdout
    assert "  not matched: sbom://bom.json (components): manifest_unsupported, line 23: 1 components" in done.stdout
    assert "there are no advisories yet, nothing was matched: run `nightwarden advisories sync`" in done.stdout
    out = call(place, "export", "sbom", "--repo", "shop", "-o", "out.cdx.json")
    assert (out.returncode, "1 gaps" in out.stderr) == (EXIT_GAPS, True)
    document = json.loads((place / "out.cdx.json").read_text())
    assert [e.message for e in validator().iter_errors(document)] == []
    assert {c["purl"] for c in document["components"]} >= {
        "pkg:pypi/wheelbarrow@1.0", "pkg:npm/express@4.18.2", "pkg:deb/debian/glibc@2.36-9?distro=debian-12",
    }  # fmt: skip
    assert document["compositions"][0]["aggregate"] == "incomplete"
    # What is written comes in again.
    again = call(place, "assess", "--sbom", "out.cdx.json", "--repo", "shop")
    assert "shop HEAD out.cdx.json: 5 packages, taken in" in again.stdout
    for more, words in (["--dry-run"], "would be taken back"), ([], "taken back"), ([], ""):
        back = call(place, "assess", "--withdraw", "out.cdx.json", "--repo", "shop", *more)
        if words:
            assert (back.returncode, f"shop HEAD out.cdx.json: {words}, 0 vulnerable" in back.stdout) == (0, True)
        else:
            assert (back.returncode, "There are: bom.json, shop.json" in back.stderr) == (EXIT_USAGE, True)
    for args in (["--repo", "nobody"], ["--repo", "shop", "--ref", "next"]):
        refused = call(place, "export", "sbom", *args)
        assert refused.returncode == EXIT_USAGE and "Traceback" not in refused.stderr


@pytest.mark.parametrize(
    ("args", "words"),
    [
        pytest.param(["--sbom", "shop.json"], "whose SBOM it is is not said", id="no repository"),
        pytest.param(["--withdraw", "x"], "whose SBOM it is is not said", id="taken back from nobody"),
        pytest.param(["--repo", "shop"], "--repo says something of an SBOM", id="no file"),
        pytest.param(["--new-repo"], "--new-repo says something of an SBOM", id="nothing to make it for"),
        pytest.param(
            ["--sbom", "shop.json", "--withdraw", "x", "--repo", "shop"], "exclude each other", id="both at once"
        ),
        pytest.param(["--sbom", "none.json", "--repo", "shop"], "none.json cannot be read", id="no such file"),
        pytest.param(["--sbom", "cut.json", "--repo", "s", "--new-repo"], "cut.json, line 1: no JSON", id="cut off"),
    ],
)
def test_a_mistake_is_told_in_words_and_makes_nothing(place: Path, args: list[str], words: str) -> None:
    (place / "cut.json").write_text('{"bomFormat": "CycloneDX"')
    before = {p.name for p in place.iterdir()}
    done = call(place, "assess", *args)
    assert (done.returncode, words in done.stderr) == (EXIT_USAGE, True), done.stderr
    assert "Traceback" not in done.stderr and {p.name for p in place.iterdir()} == before


def test_it_is_matched_at_once_and_a_severity_is_that_of_the_advisory(tmp_path: Path) -> None:
    org = Org(tmp_path, key_id=KEY.key_id)
    org.patrol(shop={"requirements.txt": "wheelbarrow==1.3\n"})
    org.advise(record(3, database_specific={"severity": "HIGH"}))
    (tmp_path / "shop.json").write_text(json.dumps(ONE))
    args = ("assess", "--sbom", "shop.json", "--repo", "team/shop")
    key = tmp_path / "key"
    key.write_bytes(b"k" * 32)
    key.chmod(0o600)
    done = called(*args, "--lake", str(org.lake.path), cwd=tmp_path, NIGHTWARDEN_KEY_FILE=str(key))
    assert "findings: 1 new, 0 fixed" in done.stdout, (done.stdout, done.stderr)
    ranked = "SELECT slug, severity FROM ranked WHERE kind = 'dependency'"
    done = called("query", ranked, "--lake", str(org.lake.path), "--format", "csv", cwd=tmp_path)
    assert done.stdout.split() == ["slug,severity", "team/shop,high"]
    assert severity_of("assess/shop.json", "HIGH", None) is Severity.HIGH
    assert "CRITICAL = critical" in called("explain", "severity", "assess/shop.json", cwd=tmp_path).stdout
