"""The ecosystems' own comparisons, as programs: each reads lines of two versions with a tab between them and answers
a line with ``<``, ``=``, ``>``, or ``?`` where it takes one of the two for no version.

What is on the machine is used; nothing is a requirement of the project, and what is not there is told in a sentence.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

_PATIENCE_S = 240


class AbsentError(Exception):
    """The reference cannot be had here; the message says why."""


@dataclass(frozen=True, kw_only=True)
class Reference:
    """``prepare`` gets an empty folder and the clones by name, and returns what it is and how it is started."""

    ecosystem: str
    prepare: Callable[[Path, Mapping[str, Path]], tuple[str, list[str]]]


def compare(argv: list[str], pairs: list[tuple[str, str]], timeout_s: int = _PATIENCE_S) -> list[str]:
    """The answers of a reference, one a pair."""
    lines = "".join(f"{a}\t{b}\n" for a, b in pairs)
    try:
        done = subprocess.run(argv, input=lines, capture_output=True, text=True, timeout=timeout_s, check=False)
    except subprocess.TimeoutExpired as error:
        raise AbsentError(f"{argv[0]} did not end within {timeout_s} s") from error
    answers = done.stdout.split()
    if done.returncode or len(answers) != len(pairs):
        raise AbsentError(f"{argv[0]} ended with {done.returncode} after {len(answers)} answers: {done.stderr[-300:]}")
    return answers


def _need(*programs: str) -> None:
    for program in programs:
        if shutil.which(program) is None:
            raise AbsentError(f"{program} is not installed")


def _run(argv: list[str], folder: Path, env: dict[str, str] | None = None) -> str:
    try:
        done = subprocess.run(
            argv, cwd=folder, env=env, capture_output=True, text=True, timeout=_PATIENCE_S, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise AbsentError(f"`{' '.join(argv[:3])}` did not end within {_PATIENCE_S} s") from error
    if done.returncode:
        raise AbsentError(f"`{' '.join(argv[:3])}` failed: {(done.stderr or done.stdout).strip()[-300:]}")
    return done.stdout


def _unpack(clone: Path, ref: str, paths: list[str], folder: Path) -> None:
    archive = folder / "source.tar"
    _run(["git", "-C", str(clone), "archive", "-o", str(archive), ref, *paths], folder)
    _run(["tar", "xf", str(archive)], folder)


_PYTHON = """
import sys
from packaging.version import InvalidVersion, Version
for line in sys.stdin:
    try:
        a, b = map(Version, line.rstrip("\\n").split("\\t"))
    except InvalidVersion:
        print("?")
    else:
        print("<" if a < b else ">" if a > b else "=")
"""


def _pypi(folder: Path, _: Mapping[str, Path]) -> tuple[str, list[str]]:
    try:
        import packaging
    except ImportError as error:
        raise AbsentError("packaging is not installed") from error
    return f"packaging {packaging.__version__}", [sys.executable, "-c", _PYTHON]


_NODE = """
const semver = require(process.argv[2]), pad = process.argv[3] === 'pad'
const bare = n => n.replace(/^0+(?=\\d)/, '')
const full = v => !/^[vV]?\\d/.test(v) ? '' : v.replace(/^[vV]/, '').replace(/^(\\d+)$/, '$1.0.0')
  .replace(/^(\\d+\\.\\d+)$/, '$1.0').replace(/^\\d+\\.\\d+\\.\\d+/, m => m.split('.').map(bare).join('.'))
const read = v => semver.parse(pad ? full(v) : v, {loose: !pad})
const out = []
for (const line of require('fs').readFileSync(0, 'utf8').split('\\n').slice(0, -1)) {
  const [a, b] = line.split('\\t').map(read)
  out.push(a === null || b === null ? '?' : '=><'.at(a.compare(b)))
}
console.log(out.join('\\n'))
"""


def _npm(folder: Path, clones: Mapping[str, Path]) -> tuple[str, list[str]]:
    _need("node", "npm")
    package = clones.get("node-semver")
    if package is None:
        _run(["npm", "install", "--silent", "--no-audit", "--no-fund", "semver@7"], folder)
        package = folder / "node_modules/semver"
    version = json.loads((package / "package.json").read_text())["version"]
    (folder / "compare.js").write_text(_NODE)
    return f"node's semver {version}", ["node", str(folder / "compare.js"), str(package)]


def _actions(folder: Path, clones: Mapping[str, Path]) -> tuple[str, list[str]]:
    name, argv = _npm(folder, clones)
    return f"none of its own; {name} with missing numbers as 0", [*argv, "pad"]


_RUST = """
use std::io::{self, BufRead, Write};
use std::cmp::Ordering::*;
fn main() {
    let mut out = io::BufWriter::new(io::stdout());
    for line in io::stdin().lock().lines() {
        let line = line.unwrap();
        let (a, b) = line.split_once('\\t').unwrap();
        let answer = match (semver::Version::parse(a), semver::Version::parse(b)) {
            (Ok(a), Ok(b)) => match (a.major, a.minor, a.patch, &a.pre).cmp(&(b.major, b.minor, b.patch, &b.pre)) {
                Less => "<", Equal => "=", Greater => ">",
            },
            _ => "?",
        };
        writeln!(out, "{}", answer).unwrap();
    }
}
"""


def _crates(folder: Path, _: Mapping[str, Path]) -> tuple[str, list[str]]:
    _need("cargo")
    local = sorted(Path("/usr/share/cargo/registry").glob("semver-1.*"))
    source = f'{{ path = "{local[-1]}" }}' if local else '"1"'
    manifest = f'[package]\nname = "compare"\nversion = "0.1.0"\nedition = "2021"\n[dependencies]\nsemver = {source}\n'
    (folder / "src").mkdir()
    (folder / "Cargo.toml").write_text(manifest)
    (folder / "src/main.rs").write_text(_RUST)
    _run(["cargo", "build", "--release", "--quiet", *(["--offline"] if local else [])], folder)
    return f"the crate {local[-1].name if local else 'semver 1'}", [str(folder / "target/release/compare")]


_GO = """
package main
import ("bufio"; "fmt"; "os"; "strings"; "golang.org/x/mod/semver")
func v(s string) string { if strings.HasPrefix(s, "v") { return s }; return "v" + s }
func main() {
  in, out := bufio.NewScanner(os.Stdin), bufio.NewWriter(os.Stdout)
  in.Buffer(nil, 1<<20)
  for in.Scan() {
    p := strings.SplitN(in.Text(), "\\t", 2)
    a, b := v(p[0]), v(p[1])
    if !semver.IsValid(a) || !semver.IsValid(b) { fmt.Fprintln(out, "?"); continue }
    fmt.Fprintln(out, string("<=>"[semver.Compare(a, b)+1]))
  }
  out.Flush()
}
"""


def _go(folder: Path, _: Mapping[str, Path]) -> tuple[str, list[str]]:
    _need("go")
    (folder / "compare.go").write_text(_GO)
    shared = "/usr/share/gocode"
    if not Path(shared, "src/golang.org/x/mod/semver").is_dir():
        raise AbsentError("golang.org/x/mod is not installed (Debian: golang-golang-x-mod-dev)")
    env = {"PATH": "/usr/bin:/bin", "HOME": str(folder), "GO111MODULE": "off", "GOPATH": shared}
    _run(["go", "build", "-o", "compare", "compare.go"], folder, env)
    return "golang.org/x/mod/semver of Debian", [str(folder / "compare")]


_JAVA = """
import java.io.*;
import org.apache.maven.artifact.versioning.ComparableVersion;
public class Compare {
  public static void main(String[] args) throws IOException {
    BufferedReader in = new BufferedReader(new InputStreamReader(System.in));
    PrintWriter out = new PrintWriter(new BufferedWriter(new OutputStreamWriter(System.out)));
    for (String line; (line = in.readLine()) != null; ) {
      String[] p = line.split("\\t", -1);
      int r = new ComparableVersion(p[0]).compareTo(new ComparableVersion(p[1]));
      out.println(r < 0 ? "<" : r > 0 ? ">" : "=");
    }
    out.flush();
  }
}
"""
_MAVEN_SOURCE = "maven-artifact/src/main/java/org/apache/maven/artifact/versioning/ComparableVersion.java"


def _maven(folder: Path, clones: Mapping[str, Path]) -> tuple[str, list[str]]:
    _need("javac", "java")
    (folder / "Compare.java").write_text(_JAVA)
    if "maven" in clones:
        _unpack(clones["maven"], "maven-3.9.x", [_MAVEN_SOURCE], folder)
        _run(["javac", "-nowarn", "-d", ".", _MAVEN_SOURCE, "Compare.java"], folder)
        return "ComparableVersion of Maven's branch 3.9.x", ["java", "-cp", str(folder), "Compare"]
    jars = sorted(Path("/usr/share/maven/lib").glob("maven-artifact-3*.jar"))
    if not jars:
        raise AbsentError("no clone of Maven was given, and /usr/share/maven/lib has no maven-artifact")
    path = f"{jars[0]}:/usr/share/java/commons-lang3.jar:{folder}"
    _run(["javac", "-nowarn", "-cp", path, "-d", ".", "Compare.java"], folder)
    return f"ComparableVersion of {jars[0].resolve().name}, which is older than 3.9", ["java", "-cp", path, "Compare"]


_CSHARP = """
using System; using System.IO; using NuGet.Versioning;
class Compare {
  static void Main() {
    var input = new StreamReader(Console.OpenStandardInput());
    var output = new StreamWriter(Console.OpenStandardOutput());
    for (string line; (line = input.ReadLine()) != null; ) {
      var p = line.Split('\\t');
      NuGetVersion a, b;
      var known = NuGetVersion.TryParse(p[0], out a) & NuGetVersion.TryParse(p[1], out b);
      var r = known ? VersionComparer.Default.Compare(a, b) : 0;
      output.Write(!known ? "?\\n" : r < 0 ? "<\\n" : r > 0 ? ">\\n" : "=\\n");
    }
    output.Flush();
  }
}
"""
#: The last release whose source a compiler of C# 7 understands.
_NUGET_TAG = "5.4.0.6315"


def _nuget(folder: Path, clones: Mapping[str, Path]) -> tuple[str, list[str]]:
    _need("mono", "mcs")
    if "nuget" not in clones:
        raise AbsentError("no clone of NuGet.Client was given, and no .NET is packaged for this system")
    _unpack(clones["nuget"], _NUGET_TAG, ["src/NuGet.Core/NuGet.Versioning", "build/Shared"], folder)
    (folder / "Compare.cs").write_text(_CSHARP)
    ours = [str(path) for path in (folder / "src").rglob("*.cs") if path.name != "AssemblyInfo.cs"]
    shared = [f"build/Shared/{name}.cs" for name in ("HashCodeCombiner", "EqualityUtility")]
    _run(["mcs", "-nowarn:0436", "-out:compare.exe", "Compare.cs", *ours, *shared], folder)
    return f"NuGet.Versioning {_NUGET_TAG} on Mono", ["mono", str(folder / "compare.exe")]


_RUBY = """
STDIN.each_line(chomp: true) do |line|
  a, b = line.split("\\t", -1)
  known = [a, b].all? { |v| Gem::Version.correct?(v) && !v.strip.empty? }
  puts known ? "=><"[Gem::Version.new(a) <=> Gem::Version.new(b)] : "?"
end
"""


def _ruby(folder: Path, _: Mapping[str, Path]) -> tuple[str, list[str]]:
    _need("ruby")
    version = _run(["ruby", "-e", "puts Gem::VERSION"], folder).strip()
    return f"Gem::Version of RubyGems {version}", ["ruby", "-e", _RUBY]


_PHP = """<?php
spl_autoload_register(function ($c) {
    require $_SERVER['argv'][1] . str_replace('\\\\', '/', substr($c, strlen('Composer\\\\Semver'))) . '.php';
});
$parser = new Composer\\Semver\\VersionParser();
foreach (file('php://stdin', FILE_IGNORE_NEW_LINES) as $line) {
    [$a, $b] = explode("\\t", $line);
    try { $a = $parser->normalize($a); $b = $parser->normalize($b); }
    catch (UnexpectedValueException $e) { echo "?\\n"; continue; }
    if (substr($a, 0, 4) === 'dev-' || substr($b, 0, 4) === 'dev-') { echo "?\\n"; continue; }
    echo ['<', '=', '>'][version_compare($a, $b) + 1], "\\n";
}
"""


def _php(folder: Path, clones: Mapping[str, Path]) -> tuple[str, list[str]]:
    _need("php")
    name, source = "composer/semver of Debian", Path("/usr/share/php/Composer/Semver")
    if "composer-semver" in clones:
        _unpack(clones["composer-semver"], "HEAD", ["src"], folder)
        name, source = "composer/semver of the clone", folder / "src"
    if not source.is_dir():
        raise AbsentError("composer/semver is not installed (Debian: php-composer-semver)")
    (folder / "compare.php").write_text(_PHP)
    return f"{name} and PHP's version_compare", ["php", str(folder / "compare.php"), str(source)]


_C = """
#include <stdio.h>
#include <string.h>
#define UNKNOWN 1000000
%s
int main(void) {
    static char line[1 << 16];
    while (fgets(line, sizeof line, stdin)) {
        char *a = line, *b = strchr(line, '\\t'), *end = strchr(line, '\\n');
        *b++ = 0; *end = 0;
        int r = compare(a, b);
        puts(r == UNKNOWN ? "?" : r < 0 ? "<" : r > 0 ? ">" : "=");
    }
}
"""
_DPKG = """
#include <dpkg/dpkg.h>
#include <dpkg/dpkg-db.h>
static int compare(char *a, char *b) {
    struct dpkg_version va, vb;
    struct dpkg_error error = DPKG_ERROR_INIT;
    if (parseversion(&va, a, &error) || parseversion(&vb, b, &error)) return UNKNOWN;
    return dpkg_version_compare(&va, &vb);
}
"""
_APK = """
#include "apk_defines.h"
#include "apk_version.h"
static int compare(char *a, char *b) {
    if (!apk_version_validate(APK_BLOB_STR(a)) || !apk_version_validate(APK_BLOB_STR(b))) return UNKNOWN;
    int r = apk_version_compare(APK_BLOB_STR(a), APK_BLOB_STR(b));
    return r == APK_VERSION_LESS ? -1 : r == APK_VERSION_GREATER;
}
"""


def _dpkg(folder: Path, _: Mapping[str, Path]) -> tuple[str, list[str]]:
    _need("gcc")
    if not Path("/usr/include/dpkg/dpkg-db.h").is_file():
        raise AbsentError("libdpkg is not installed (Debian: libdpkg-dev)")
    (folder / "compare.c").write_text(_C % _DPKG)
    flags = ["-DLIBDPKG_VOLATILE_API", "-ffunction-sections", "-Wl,--gc-sections"]
    _run(["gcc", "-O1", *flags, "compare.c", "-o", "compare", "-ldpkg", "-lmd", "-lz", "-llzma", "-lbz2"], folder)
    return "libdpkg's dpkg_version_compare", [str(folder / "compare")]


def _apk(folder: Path, clones: Mapping[str, Path]) -> tuple[str, list[str]]:
    _need("gcc")
    if "apk-tools" not in clones:
        raise AbsentError("no clone of apk-tools was given, and it is not packaged for this system")
    _unpack(clones["apk-tools"], "HEAD", ["src"], folder)
    (folder / "compare.c").write_text(_C % _APK)
    flags = ["-D_GNU_SOURCE", "-ffunction-sections", "-fdata-sections", "-Wl,--gc-sections", "-Isrc"]
    _run(["gcc", "-O1", *flags, "compare.c", "src/version.c", "src/blob.c", "src/ctype.c", "-o", "compare"], folder)
    return "apk_version_compare of apk-tools", [str(folder / "compare")]


REFERENCES = tuple(
    Reference(ecosystem=ecosystem, prepare=prepare)
    for ecosystem, prepare in {
        "PyPI": _pypi, "npm": _npm, "crates.io": _crates, "Go": _go, "Maven": _maven, "NuGet": _nuget,
        "RubyGems": _ruby, "Packagist": _php, "GitHub Actions": _actions, "Debian": _dpkg, "Alpine": _apk,
    }.items()
)  # fmt: skip
