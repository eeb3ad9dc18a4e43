"""One package of each registry as it answers: by hand, in the form that its documentation gives."""

from __future__ import annotations

import json
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Sample:
    """A package, what the registry answers by path (``{url}`` is its address), and what is to be read of it:
    version → (day of publication or "", withdrawn, word)."""

    package: str
    files: dict[str, str]
    expected: dict[str, tuple[str, bool, str | None]]
    word: str | None = None
    unread: int = 0
    #: The same answer about another package.
    another: str = ""

    @property
    def first(self) -> str:
        """The path that is asked first."""
        return next(iter(self.files))


def _pypi(name: str = "Left_Pad") -> str:
    def file(name: str, day: int, **more: object) -> dict[str, object]:
        return {"filename": name, "upload-time": f"2026-01-{day:02d}T10:00:00.000000Z", "hashes": {}, **more}

    return json.dumps(
        {
            "meta": {"api-version": "1.4", "_last-serial": 7}, "name": name,
            "project-status": {"status": "archived", "reason": "use another"},
            "versions": ["1.0", "1.1", "1.2.0", "2.0rc1", "0.9", "1.2.post2", "2.0"],
            "files": [
                file("left_pad-1.1-py3-none-any.whl", 3, yanked="it breaks"),
                file("left_pad-1.1.tar.gz", 2, yanked=True),
                file("left_pad-1.0-py3-none-any.whl", 1), file("left-pad-1.0.zip", 4, yanked=True),
                file("left_pad-1.2-1-cp311-cp311-linux_x86_64.whl", 5, yanked=False), file("left_pad-2.0rc1.tar.gz", 6),
                # As cffi-1.0.2-2.tar.gz, beside cffi-2.0.0.tar.gz.
                file("Left-Pad-1.2-2.tar.gz", 1), file("left.pad-2.0.tar.gz", 7),
                file("left_pad-0.9.win32.exe", 1), {"filename": 7}, "none",
            ],
        }
    )  # fmt: skip


def _npm(name: str = "@left/pad") -> str:
    return json.dumps(
        {
            "name": name, "dist-tags": {"latest": "1.1.0"},
            "versions": {
                "1.1.0": {"deprecated": "use\nString.padStart"}, "1.0.0": {"deprecated": ""}, "2.0.0-a.1": {},
                "1.0.1": {"deprecated": False}, "x" * 300: {},
            },
            "time": {
                "created": "2026-01-01T00:00:00Z", "1.0.0": "2026-01-01T10:00:00.000Z",
                "1.1.0": "2026-01-02T10:00:00Z", "2.0.0-a.1": 17,
            },
        }
    )  # fmt: skip


def _crates(name: str = "Left-Pad") -> str:
    lines = [
        {"name": name, "vers": "1.0.0", "deps": [], "cksum": "0", "yanked": False, "pubtime": "2026-01-01T10:00:00Z"},
        {"name": name, "vers": "1.1.0", "deps": [], "cksum": "0", "yanked": True},
    ]
    return "\n".join([*map(json.dumps, lines), '{"name": "left-pad", "ver', ""])


def _registration(name: str = "Left.Pad") -> str:
    def leaf(version: str, **more: object) -> dict[str, object]:
        return {"catalogEntry": {"id": name, "version": version, "listed": True, **more}}

    one = [
        leaf("1.0.0", published="2026-01-01T10:00:00+00:00", deprecation={"reasons": ["Legacy"]}),
        leaf("1.1.0", published="1900-01-01T00:00:00+00:00", listed=False),
    ]
    pages = [{"@id": "{url}/left.pad/page/1.json", "items": one}, {"@id": "{url}/left.pad/page/2.json"}]
    return json.dumps({"count": 2, "items": pages})


def _registration_page() -> str:
    entry = {"id": "left.pad", "version": "2.0.0", "published": "2026-01-03T10:00:00Z"}
    return json.dumps({"items": [{"catalogEntry": entry}, {"none": 1}]})


def _composer(name: str = "left/pad") -> str:
    rows = [
        {"name": name, "version": "v2.0.0", "time": "2026-01-03T10:00:00+00:00", "abandoned": "right/pad", "type": "x"},
        {"version": "v1.1.0", "time": "2026-01-02T10:00:00+00:00"},
        {"version": "1.0.0", "time": "2026-01-01T10:00:00+00:00", "abandoned": "__unset"},
        "none",
    ]  # fmt: skip
    return json.dumps({"minified": "composer/2.0", "packages": {name: rows}})


def _maven(artifact: str = "pad") -> str:
    versions = "".join(f"<version>{v}</version>" for v in ("1.0", "1.2", "1.1", "2.0-SNAPSHOT", ""))
    return f"""<?xml version="1.0" encoding="UTF-8"?>
<metadata modelVersion="1.1.0"><groupId>org.left</groupId><artifactId>{artifact}</artifactId>
<versioning><latest>1.2</latest><release>1.2</release><versions>{versions}</versions></versioning></metadata>"""


_GO_MOD = """
// Deprecated: use golang.example/right.
module example.com/Left/pad // v1

go 1.20

retract v1.0.1 // a mistake
retract (
    [v1.1.0, v1.1.9] // Deprecated: no
    v9.9.9
)
"""

#: By ecosystem.
SAMPLES = {
    "PyPI": Sample(
        package="left-pad", files={"left-pad/": _pypi()}, another=_pypi("right-pad"), word="archived: use another",
        expected={
            "1.0": ("2026-01-01", False, None), "1.1": ("2026-01-02", True, None), "1.2.0": ("2026-01-05", False, None),
            "2.0rc1": ("2026-01-06", False, None), "0.9": ("", True, None),
            "1.2.post2": ("2026-01-01", False, None), "2.0": ("2026-01-07", False, None),
        },
    ),
    "npm": Sample(
        package="@left/pad", files={"@left/pad": _npm()}, another=_npm("@right/pad"), unread=1,
        word="use�String.padStart",
        expected={
            "1.0.0": ("2026-01-01", False, None), "1.1.0": ("2026-01-02", False, "use�String.padStart"),
            "2.0.0-a.1": ("", False, None), "1.0.1": ("", False, None),
        },
    ),
    "crates.io": Sample(
        package="Left-Pad", files={"le/ft/left-pad": _crates()}, another=_crates("right-pad"), unread=1,
        expected={"1.0.0": ("2026-01-01", False, None), "1.1.0": ("", True, None)},
    ),
    "Go": Sample(
        package="example.com/Left/pad", word="use golang.example/right.", unread=2,
        files={
            "example.com/!left/pad/@v/list": "v1.0.0\nv1.1.5\nv1.0.1\nv1.2.0\nv2.0.0-pre+incompatible\nnewest <b>\n",
            "example.com/!left/pad/@v/v1.2.0.mod": _GO_MOD,
            "example.com/!left/pad/@v/v1.0.0.info": json.dumps({"Version": "v1.0.0", "Time": "2026-01-01T10:00:00Z"}),
            "example.com/!left/pad/@v/v1.2.0.info": json.dumps({"Version": "v1.2.0", "Time": "2026-01-09T10:00:00Z"}),
        },
        expected={
            "v1.0.0": ("", False, None), "v1.0.1": ("", True, None), "v1.1.5": ("", True, None),
            "v1.2.0": ("", False, None), "v2.0.0-pre+incompatible": ("", False, None),
        },
    ),
    "Maven": Sample(
        package="org.left:pad", files={"org/left/pad/maven-metadata.xml": _maven()}, another=_maven("path"), unread=1,
        expected=dict.fromkeys(("1.0", "1.1", "1.2", "2.0-SNAPSHOT"), ("", False, None)),
    ),
    "NuGet": Sample(
        package="left.pad", another=_registration("right.pad"), unread=1,
        files={"left.pad/index.json": _registration(), "left.pad/page/2.json": _registration_page()},
        expected={
            "1.0.0": ("2026-01-01", False, "Legacy"), "1.1.0": ("", True, None), "2.0.0": ("2026-01-03", False, None),
        },
    ),
    "RubyGems": Sample(
        package="left-pad", unread=1,
        files={
            "api/v1/versions/left-pad.json": json.dumps([
                {"number": "1.1", "created_at": "2026-01-03T10:00:00.000Z", "platform": "java"},
                {"number": "1.1", "created_at": "2026-01-02T10:00:00.000Z", "platform": "ruby"},
                {"number": "1.0", "created_at": "2026-01-01T10:00:00.000Z", "platform": "ruby", "yanked": True}, None,
            ]),
        },
        expected={"1.1": ("2026-01-02", False, None), "1.0": ("2026-01-01", True, None)},
    ),
    "Packagist": Sample(
        package="left/pad", files={"p2/left/pad.json": _composer()}, another=_composer("right/pad"), unread=1,
        word="abandoned, in its place: right/pad",
        expected={
            "v2.0.0": ("2026-01-03", False, "abandoned, in its place: right/pad"),
            "v1.1.0": ("2026-01-02", False, "abandoned, in its place: right/pad"), "1.0.0": ("2026-01-01", False, None),
        },
    ),
}  # fmt: skip
