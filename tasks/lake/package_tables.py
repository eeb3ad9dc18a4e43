"""The tables of packages: what manifests name, what of it is vulnerable, and the step that mends it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tasks.core.types import Observation, ScanResult
from tasks.lake.columns import Table, columns

#: The scanner whose results are inventories that can be matched.
INVENTORY = "inventory"
#: Scopes of SBOMs made elsewhere are called by this and the SBOM's name.
SBOM = "import/sbom/"
#: The manifest of such an inventory: this and the name. No file that is read has two slashes in a row in its path.
SBOM_PATH = "sbom://"
#: The scopes in which inventories were matched with advisories: of the scanner, and, with its name, of an SBOM.
ASSESS = "assess"
ASSESS_SBOM = f"{ASSESS}/"
_PACKAGE = (
    "manifest s! path of the manifest or lock file; sbom://NAME of an SBOM made elsewhere",
    "ecosystem s! as OSV names it: PyPI, npm, Maven, Debian:12",
    "package s! its name, normalised as its ecosystem compares names",
)
_VERSION = (*_PACKAGE[1:], "version s! the version in use")
_ASKED = (
    "reason_code s why its registry could not tell as of today (nightwarden explain CODE); null: it could",
    "detail s more about it",
    "asked_at t when the registry told what this row goes by, UTC; it has said the same since",
    "judged_over s! digest of the published versions, and of the rules, that it was judged by",
    "present b! whether the version is still in use so",
)

PACKAGE_TABLES = (
    Table(
        name="packages",
        description="One package of one manifest of one inventory, kept once. Use the view inventory: it joins them to "
        "the repositories and refs that have them now.",
        mode="append",
        key=("result_name", "manifest", "purl", "n"),
        partition=("part",),
        beside=("ecosystem", "package"),
        schema=columns(
            "result_name s! the completed result of the scanner inventory, or of an SBOM made elsewhere",
            "part s! month (YYYY-MM) in which the result was published; the partition",
            *_PACKAGE,
            "version s exact version; null: it is not told, so the package is matched with nothing",
            "purl s! package URL",
            "n i! number among equal purls of the manifest, from 0",
            "requirement s what the manifest says in place of a version",
            "format s! form of the manifest",
            "is_direct b whether the project itself asks for it; null: the form does not tell",
            "is_development b whether only development needs it; null: the form does not tell",
            "source s! registry, git, address or folder",
            "revision s a commit or digest that names it more exactly",
            "line i line of the declaration, from 1",
            "parents l name@version of what asks for it in the same manifest",
        ),
    ),
    Table(
        name="vulnerabilities",
        description="One package version of a manifest that one advisory is about. The view vulnerable has those that "
        "are there now, with what the advisory says.",
        mode="merge",
        key=("repo_id", "ref", "manifest", "ecosystem", "package", "version", "advisory_id"),
        schema=columns(
            "repo_id s! forge host and immutable id, else the origin's address, else the relative path",
            "ref s! the branch that was read",
            *_PACKAGE,
            "version s! the version in use",
            "purl s! package URL",
            "advisory_id s! the advisory",
            "group_id s! the first id of all that are aliases of it: one flaw",
            "aliases l other ids of the same flaw",
            "fixed_version s the lowest version above this one that the advisory is not about; null: it names none",
            "is_direct b whether the project itself asks for it; null: not told",
            "is_development b whether only development needs it; null: not told",
            "line i line of the declaration, from 1",
            "parents l name@version of what asks for it in the same manifest",
            "finding_uid s! the finding that it is part of",
            "way s raise (the manifest asks for it itself), refresh_or_raise (refresh the lock, else raise what it "
            "comes through) or unknown (the manifest does not tell who asks for it)",
            "through l name@version of the direct dependencies that it comes through, other than itself",
            "first_seen_at t! when a run first matched it, UTC",
            "gone_at t when a run matched it no more, UTC",
            "present b! whether it is there",
        ),
    ),
    Table(
        name="upgrades",
        description="The smallest step out of one version that is vulnerable somewhere: every published version was "
        "judged against all advisories of its package. The view fixes joins it to the places.",
        mode="merge",
        key=("ecosystem", "package", "version"),
        schema=columns(
            *_VERSION,
            "outcome s! safe (no advisory is about to_version), partial (it has fewer of the same) or none",
            "to_version s the version to go to; null: none",
            "reason s why there is no safe one (nightwarden explain CODE)",
            "step s! patch, minor, major or none; in 0.x a minor step counts as major",
            "is_breaking b whether by its number the step may break; null: not known",
            "cleared l groups of advisories that the step leaves behind",
            "remaining l groups that are about to_version still (of none: about the version)",
            "unjudged l groups of which a range cannot be compared with versions: to_version may be concerned",
            "releases_skipped i! published versions between the two, withdrawn ones and pre-releases left out",
            "days_behind i days between the publication of both; null: not told",
            "newest s the highest version that a step might go to; null: nothing is above",
            "word s what the registry says against to_version or the package: deprecated, end of life",
            "basis s! registry (the versions it lists) or advisories (those that advisories name: not checked)",
            *_ASKED,
        ),
    ),
    Table(
        name="releases",
        description="How far behind one version in use is, by its registry: of direct dependencies and of what is "
        "vulnerable, where the registry of the ecosystem is configured.",
        mode="merge",
        key=("ecosystem", "package", "version"),
        schema=columns(
            *_VERSION,
            "newest s the highest version, neither withdrawn nor (unless one is in use) a pre-release; null: this one",
            "releases_behind i releases above it; null: not known",
            "days_behind i days between the publication of both; null: not told",
            "is_withdrawn b whether it was withdrawn (yanked, unlisted, retracted); null: the registry has it not",
            "word s what the registry says against this version: deprecated",
            "package_word s what it says against the package as a whole: deprecated, archived, end of life",
            "unread i! versions that it lists and that could not be read",
            *_ASKED,
        ),
    ),
)


def is_inventory(tool: str) -> bool:
    """Whether the results of a tool are inventories."""
    return tool == INVENTORY or tool.startswith(SBOM)


def judged_as(inventory: str) -> str:
    """The tool of the scope in which the inventory of a tool is matched."""
    return ASSESS_SBOM + inventory.removeprefix(SBOM) if inventory.startswith(SBOM) else ASSESS


def judged_in(manifest: str) -> str:
    """The tool of the scope in which the packages of a manifest are matched."""
    return ASSESS_SBOM + manifest.removeprefix(SBOM_PATH) if manifest.startswith(SBOM_PATH) else ASSESS


def is_judged(tool: str) -> bool:
    """Whether a tool is that of such a scope."""
    return tool == ASSESS or tool.startswith(ASSESS_SBOM)


def package_rows(result: ScanResult, part: str) -> Iterator[dict[str, Any]]:
    """The rows of ``packages`` of one result; none where it is no inventory."""
    if not is_inventory(result.tool):
        return
    seen: dict[tuple[str, str], int] = {}
    for o in result.observations:
        if o.rule_id != "package":
            continue
        key = (o.path or "", o.purl or "")
        n = seen[key] = seen.get(key, -1) + 1
        yield {"result_name": result.result_name, "part": part, "n": n, **_typed(o)}


def _typed(o: Observation) -> dict[str, Any]:
    told = o.extra
    return {
        "manifest": o.path,
        "package": o.title,
        "version": o.version,
        "purl": o.purl,
        "line": o.line_start,
        "is_direct": _truth(told.get("direct")),
        "is_development": _truth(told.get("development")),
        "parents": told["parents"].split("\n") if told.get("parents") else None,
        **{name: told.get(name) for name in ("ecosystem", "requirement", "format", "source", "revision")},
    }


def _truth(word: str | None) -> bool | None:
    return None if word is None else word == "true"
