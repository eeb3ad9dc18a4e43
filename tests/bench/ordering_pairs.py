"""Pairs of versions: from a grammar with all its odd corners, as small changes of one another, and real ones."""

from __future__ import annotations

import json
import random
import re
import shutil
import subprocess
import zipfile
from collections import defaultdict
from pathlib import Path

_N = ["0", "0", "1", "1", "2", "3", "9", "10", "11", "00", "01", "010", "20260101", "20260101123456", "4294967296"]
_SEMVER = {
    "version": ["{n}.{n}.{n}", "{n}.{n}.{n}-{ids}", "{n}.{n}.{n}-{ids}", "{n}.{n}.{n}-{ids}+{ids}",
        "{n}.{n}.{n}+{ids}"],
    "n": [*["0", "1", "2", "9", "10", "11", "4294967296"] * 6, "01", "9007199254740991", "9007199254740992",
          "18446744073709551615", "18446744073709551616"],
    "ids": ["{id}", "{id}", "{id}.{id}", "{id}.{id}.{id}"],
    "id": ["0", "1", "2", "10", "01", "alpha", "beta", "rc", "rc1", "rc-1", "RC", "-", "-1", "--", "a-b", "0a",
        "00a", "x",
           "20260101123456789", "20260101123456790", "9007199254740993", "9007199254740992"],
}  # fmt: skip
RULES: dict[str, dict[str, list[str]]] = {
    "PyPI": {
        "version": ["{e}{r}{pre}{post}{dev}{local}", "{r}", "{r}{pre}", "{r}{pre}{dev}", "v{r}", " {r}{post} "],
        "e": ["", "", "", "0!", "1!", "2!"],
        "r": ["{n}", "{n}.{n}", "{n}.{n}.{n}", "{n}.{n}.{n}.{n}", "{n}.0.0"],
        "pre": ["", "{s}{p}{s}{m}", "{s}{p}"], "p": ["a", "b", "c", "rc", "alpha", "beta", "pre", "preview", "A",
            "RC"],
        "post": ["", "", "{s}{q}{s}{m}", "-{n}", ".post"], "q": ["post", "rev", "r", "POST"],
        "dev": ["", "", "{s}dev{s}{m}", ".dev"],
        "local": ["", "", "", "+{l}", "+{l}{z}{l}"], "l": ["ubuntu", "1", "2", "10", "1a", "deadbeef", "UBUNTU",
            "01"],
        "s": ["", "", ".", "-", "_"], "z": [".", "-", "_"], "m": ["", "0", "1", "2", "10", "01"], "n": _N,
    },
    "npm": {**_SEMVER, "version": [*_SEMVER["version"], "v{n}.{n}.{n}", "={n}.{n}.{n}-{ids}", "= v{n}.{n}.{n}",
        "{n}.{n}.{n}{id}",
                                   "{n}.{n}", " {n}.{n}.{n} "]},
    "crates.io": _SEMVER,
    "Go": {**_SEMVER, "version": [*("v" + it for it in _SEMVER["version"]), "v{n}", "v{n}.{n}",
        "v{n}.{n}.{n}+incompatible",
                                  "v0.0.0-{d}-{h}", "v{n}.{n}.{n}-0.{d}-{h}", "{n}.{n}.{n}-pre.0.{d}-{h}"],
           "d": ["20210101000000", "20220202020202"], "h": ["abcdefabcdef", "0123456789ab"]},
    "GitHub Actions": {**_SEMVER, "version": [*_SEMVER["version"], "v{n}.{n}.{n}", "v{k}", "v{k}.{k}", "{k}",
        "v{n}.{n}.{n}-{ids}"],
                       "k": ["1", "2", "4", "10", "41"], "n": ["0", "1", "2", "10", "41", "01"],
               "id": [it for it in _SEMVER["id"] if len(it) < 9]},
    "Maven": {
        "version": ["{r}", "{r}{s}{q}", "{r}{s}{q}{s}{n}", "{r}{s}{q}{n}", "{r}-{n}", "{r}{s}{q}{s}{q}", "{q}",
            "{r}{s}{r}"],
        "r": ["{n}", "{n}.{n}", "{n}.{n}.{n}", "{n}.{n}.{n}", "{n}.{n}.{n}.{n}"], "n": _N, "s": [".", "-", "-", ""],
        "q": ["alpha", "beta", "milestone", "rc", "cr", "snapshot", "SNAPSHOT", "ga", "final", "Final", "RELEASE",
            "sp", "a", "b",
              "m", "x", "jre", "android", "incubating", "v", "pre", "_1", "+2", ""],
    },
    "NuGet": {
        "version": ["{r}", "{r}-{ids}", "{r}-{ids}+{ids}", "{r}+{ids}", " {r} ", "{n} . {n}"],
        "r": ["{n}", "{n}.{n}", "{n}.{n}.{n}", "{n}.{n}.{n}", "{n}.{n}.{n}.{n}"],
        "n": ["0", "0", "1", "2", "10", "01", "2147483647", "2147483648"],
        "ids": ["{id}", "{id}.{id}", "{id}.{id}.{id}"],
        "id": ["0", "1", "2", "10", "01", "-1", "-2", "-0", "-10", "alpha", "Alpha", "BETA", "beta", "rc1", "RC1",
            "a-b", "-",
               "2147483647", "2147483648", "20260101123456", "-2147483648", "-2147483649", "0a"],
    },
    "RubyGems": {
        "version": ["{r}", "{r}.{t}", "{r}.{t}.{t}", "{r}-{t}", "{r}.{t}.{r}", "{r}.{t}-{t}", " {r} "],
        "r": ["{n}", "{n}.{n}", "{n}.{n}.{n}", "{n}.{n}.{n}.{n}"],
        "n": _N, "t": ["a", "b", "pre", "rc", "rc1", "RC", "beta2", "0a", "a0", "a10b", "java", "0", "Z", "z-y"],
    },
    "Packagist": {
        "version": ["{r}", "{r}", "v{r}", "{r}{st}", "{r}{st}{dev}", "{r}{dev}", "{r}+{st}", "{r}@beta", "{d}",
            "{d}{st}",
                    "{n}.x-dev", "{n}.{n}.x-dev", "{n}.*-dev", "dev-main", "{r} as {r}"],
        "r": ["{n}", "{n}.{n}", "{n}.{n}.{n}", "{n}.{n}.{n}", "{n}.{n}.{n}.{n}"], "n": ["0", "0", "1", "2", "10",
            "01", "99999", "100000",
                                                                             "9223372036854775808"],
        "st": ["{s}{w}", "{s}{w}{m}", "{s}{w}{s}{m}", "{s}{w}{m}.{m}"], "s": ["", ".", "-", "_"], "m": ["0", "1",
            "2", "10", "01"],
        "w": ["alpha", "a", "beta", "b", "RC", "rc", "patch", "pl", "p", "stable", "Stable", "ALPHA"],
        "dev": ["-dev", "dev", ".dev", "-DEV"],
        "d": ["2020{x}01{x}02", "2020{x}01{x}02{x}03", "20200101", "2020.01.02.3", "202001", "2020-01-02-123",
            "2020{x}01{x}02{x}03{x}4"],
        "x": ["-", ".", ":", ""],
    },
    "Debian": {
        "version": ["{u}", "{u}-{v}", "{e}:{u}-{v}", "{e}:{u}", "{u}-{u}-{v}"], "e": ["0", "1", "2", "01"],
        "u": ["{n}", "{n}.{n}", "{n}.{n}{t}", "{n}{t}{n}", "{n}.{n}{t}{n}{t}", "{n}.{n}.{n}"], "n": _N,
        "t": ["~", "~~", "~rc", "~beta", "+dfsg", "+git", "a", "b", "Z", ".", "+", "~a", "-", ":", "+b"],
        "v": ["0", "1", "2", "10", "1+deb12u1", "1~bpo12+1", "0ubuntu1", "1.1", "1~", "01", "a"],
    },
    "Alpine": {
        "version": ["{r}{l}{x}{x}{h}{v}", "{r}{l}{x}{v}", "{r}{v}", "{r}{x}{v}", "{r}"],
        "r": ["{n}", "{n}.{n}", "{n}.{n}.{n}", "{n}.{n}.{n}.{n}"],
        "n": [*_N, "18446744073709551615", "18446744073709551616"],
        "l": ["", "", "", "a", "b", "z"], "x": ["", "", "_{w}", "_{w}{m}"], "m": ["0", "1", "2", "10", "01",
            "20260101"],
        "w": ["alpha", "beta", "pre", "rc", "cvs", "svn", "git", "hg", "p", "foo"],
        "h": ["", "", "", "~abc", "~0123", "~abcd"], "v": ["", "-r0", "-r1", "-r10", "-r01"],
    },
}  # fmt: skip
_HOLE = re.compile(r"\{(\w+)\}")
_NUMBER = re.compile(r"\d+")
_ALPHABET = "0019.-_~+abmprvxAZ"


def expand(rules: dict[str, list[str]], rng: random.Random, name: str = "version") -> str:
    """A text of a rule: one of its alternatives, with every {name} in it replaced by a text of that rule."""
    return _HOLE.sub(lambda hole: expand(rules, rng, hole[1]), rng.choice(rules[name]))


def changed(text: str, rng: random.Random) -> str:
    """A neighbour of a version: another number, one part more or less, other case, or a character in or out."""
    what = rng.randrange(7)
    numbers = list(_NUMBER.finditer(text))
    at = rng.randrange(len(text) + 1)
    if what <= 1 and numbers:
        number = rng.choice(numbers)
        value = rng.choice(["0", "1", "2", "10", str(int(number[0][:9]) + 1), "0" + number[0]])
        return text[: number.start()] + value + text[number.end() :]
    if what == 2:
        return text + rng.choice([".0", ".1", "-1", "-0", ".0.0", ".00", "0"])
    if what == 3 and "." in text:
        return text.rpartition(".")[0]
    if what == 4:
        return text.swapcase()
    if what == 5:
        return text[:at] + rng.choice(_ALPHABET) + text[at:]
    return text[:at] + text[at + 1 :]


def generated(ecosystem: str, count: int, rng: random.Random) -> list[tuple[str, str]]:
    """Half of them two texts of the grammar, half a text and its neighbour."""
    rules, pairs = RULES[ecosystem], []
    while len(pairs) < count:
        first = expand(rules, rng)
        second = expand(rules, rng) if len(pairs) % 2 else changed(first, rng)
        if first and second:
            pairs.append((first, second))
    return pairs


def real(ecosystem: str, osv: Path, count: int, rng: random.Random) -> list[tuple[str, str]]:
    """Pairs of versions of one package: of advisories, or for Debian those that this machine's apt knows."""
    versions: dict[str, set[str]] = defaultdict(set)
    archive = osv / ecosystem / "all.zip"
    if archive.is_file():
        with zipfile.ZipFile(archive) as members:
            for member in members.namelist():
                for affected in json.loads(members.read(member)).get("affected", ()):
                    package = affected.get("package", {})
                    if package.get("ecosystem") != ecosystem:
                        continue
                    of = versions[package["name"]]
                    of.update(affected.get("versions", ()))
                    for range_ in affected.get("ranges", ()):
                        if range_["type"] != "GIT":
                            of.update(version for event in range_["events"] for version in event.values())
    elif ecosystem == "Debian" and shutil.which("apt-cache"):
        done = subprocess.run(
            ["apt-cache", "dumpavail"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
            timeout=900,
            check=False,
        )
        for line in done.stdout.splitlines():
            if line.startswith("Version: "):
                # Versions that begin alike make better pairs than those of one package, of which there is one.
                versions[line[9:12]].add(line[9:])
    several = [sorted(it) for it in versions.values() if len(it) > 1]
    return [tuple(rng.sample(rng.choice(several), 2)) for _ in range(count)] if several else []  # type: ignore[misc]
