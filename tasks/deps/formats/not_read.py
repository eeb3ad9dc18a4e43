"""Manifests that are programs, or that only their lock file makes an inventory of: told as not read, and not read.

Gemfile and gems.rb (https://bundler.io/man/gemfile.5.html), build scripts of Gradle
(https://docs.gradle.org/current/userguide/declaring_dependencies.html), composer.json
(https://getcomposer.org/doc/04-schema.md), Pipfile (https://pipenv.pypa.io/en/latest/pipfile.html), setup.py and
setup.cfg (https://setuptools.pypa.io/en/latest/userguide/dependency_management.html), go.work
(https://go.dev/ref/mod#workspaces).

One that asks for packages is a row ``unsupported``, which ``resolving`` takes away where the lock file of its folder is
read (``Format.covered_by``). One that asks for none is not: a build script that takes all it needs from the version
catalog, a ``setup.py`` without ``install_requires``. Where pyproject.toml has dependencies of the project, setuptools
takes none from setup.py or setup.cfg. What these take from a file of requirements is told by that file.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from posixpath import normpath

from tasks.deps.manifest import Format, Manifest, Unread, Why
from tasks.deps.reading.json_places import read_json
from tasks.deps.reading.text import Spelling, base_name, line_at, text_of
from tasks.deps.reading.toml_places import read_toml

#: A gem by its name, or by a variable, as in a loop over names.
_GEM = re.compile(
    r"^[^#\n]*?(?:\bgem[ \t(]+['\"]|[|{;][ \t]*gem[ \t(]+\w|^[ \t]*gem[ \t(]+\w|^[ \t]*gemspec\b)", re.MULTILINE
)
#: A coordinate, one written as a map, or a plugin with a version. What begins with a colon is the build's own.
_COORDINATE = re.compile(
    r"(?P<text>['\"][A-Za-z0-9_][\w.-]*:[\w.-]+(?::[^'\"\n]{0,200})?['\"])|\bgroup\s{0,9}[:=]\s{0,9}['\"]"
    r"|\bid\b[ \t(]{1,9}['\"][\w.-]+['\"][ \t)]{0,9}version\b"
)
_LINE_COMMENT = re.compile(r"(?<![:\w'\"])//[^\n]*")
_BLOCK_COMMENT = re.compile(r"/\*.*?(?:\*/|\Z)", re.DOTALL)
#: None, and empty brackets of any kind.
_NOTHING = r"\s{0,99}(?:\[\s{0,99}\]|\(\s{0,99}\)|\{\s{0,99}\}|None\b)"
_INSTALLS = re.compile(
    rf"^[^#\n]*?\b(?:install|extras|tests)_requires?['\"]?[ \t]{{0,9}}[=:](?!{_NOTHING})", re.MULTILINE
)
#: In setup.cfg a value stands behind the sign or in the lines below it, which are set in.
_CFG_INSTALLS = re.compile(
    r"^(?:(?:install|tests)_requires?[ \t]{0,9}[=:](?:[ \t]*[^\s#;]|(?:[ \t]*(?:[#;][^\n]*)?\n){1,99}?[ \t]+[^\s#;])"
    r"|\[options\.extras_require\])",
    re.MULTILINE,
)
#: What a module says of itself.
_DOCSTRING = re.compile(r"\A(?:\s|#[^\n]*\n){0,999}(?:\"\"\".*?\"\"\"|'''.*?''')", re.DOTALL)
#: A module that only has that name is none.
_SETUPTOOLS = re.compile(r"\b(?:from|import)[ \t]{1,9}[\w.]{0,50}(?:setuptools|distutils|skbuild)")
_PATH = re.compile(r"[\w./-]++")
#: Packages that are the platform itself: PHP, its extensions, libraries.
_PLATFORM = re.compile(r"(?:php|hhvm|composer)(?:-[\w-]+)?|(?:ext|lib)-.*")
_SCRIPTS = (".gradle", ".gradle.kts")
_VENDORED = re.compile(r"(?:^|/)(?:vendor|node_modules)/")
_PYTHON_LOCKS = ("poetry.lock", "uv.lock", "pdm.lock", "pylock.toml", "Pipfile.lock")
_MAX_REFERS = 100
_MAX_PATH = 500


def _told(form: str, asks: bool, line: int | None, instead: str) -> Manifest:
    detail = f"it asks for packages and is not read; {instead} would tell them"
    return Manifest(format=form, unread=(Unread(why=Why.UNSUPPORTED, detail=detail, line=line),) if asks else ())


def _gemfile(data: bytes, _name: str) -> Manifest:
    text = text_of(data, Spelling.ANY)
    found = _GEM.search(text)
    return _told("Gemfile", found is not None, line_at(text, found.end()) if found else None, "its lock file")


def _gradle(data: bytes, _name: str) -> Manifest:
    text = text_of(data, Spelling.ANY)
    text = _BLOCK_COMMENT.sub(lambda c: "\n" * c[0].count("\n"), text)
    text = _LINE_COMMENT.sub("", text)
    found = _COORDINATE.search(text)
    return _told("build.gradle", found is not None, line_at(text, found.start()) if found else None, "gradle.lockfile")


def _composer(data: bytes, _name: str) -> Manifest:
    table = read_json(text_of(data)).table
    asked = [
        table.table(section).lines[name]
        for section in ("require", "require-dev")
        for name in table.table(section)
        if not _PLATFORM.fullmatch(name.lower())
    ]
    return _told("composer.json", bool(asked), min(asked, default=None), "composer.lock")


def _pipfile(data: bytes, _name: str) -> Manifest:
    toml = read_toml(text_of(data))
    asking = [
        name for name, table in toml.values.items()
        if isinstance(table, dict) and name not in ("requires", "scripts", "pipenv") and table
    ]  # fmt: skip
    return _told("Pipfile", bool(asking), toml.line(asking[0]) if asking else None, "Pipfile.lock")


def _is_requirements(path: str) -> bool:
    return path.endswith(".txt") and "require" in path.lower() and not path.startswith("/") and len(path) < _MAX_PATH


def _setup(form: str) -> Callable[[bytes, str], Manifest]:
    def parse(data: bytes, _name: str) -> Manifest:
        text = text_of(data, Spelling.ANY)
        if form == "setup.cfg":
            found = _CFG_INSTALLS.search(text)
        else:
            text = _DOCSTRING.sub(lambda said: "\n" * said[0].count("\n"), text, count=1)
            found = _INSTALLS.search(text) if _SETUPTOOLS.search(text) else None
        files = {normpath(f): None for f in _PATH.findall(text) if _is_requirements(f)} if found else {}
        if files:
            return Manifest(format=form, refers=tuple(("include", f) for f in list(files)[:_MAX_REFERS]))
        line = line_at(text, found.start()) if found else None
        return _told(form, found is not None, line, "a lock file or `project.dependencies` of pyproject.toml")

    return parse


def _work(data: bytes, _name: str) -> Manifest:
    """Its modules are read by their own go.mod; a ``replace`` here changes versions there."""
    refers: dict[tuple[str, str], None] = {}
    offers: dict[str, str] = {}
    unread: list[Unread] = []
    block = ""
    for number, line in enumerate(text_of(data).split("\n"), start=1):
        words = line.partition("//")[0].split()
        if not words or words == [")"]:
            block = "" if words else block
            continue
        if words[1:] == ["("]:
            block = words[0]
            continue
        kind, rest = (block, words) if block else (words[0], words[1:])
        if kind == "use" and len(rest) == 1 and len(refers) < _MAX_REFERS:
            target = normpath(rest[0].strip('"`') + "/go.mod")
            refers["include", target] = None
            offers[f"line:{target}"] = str(number)
        elif kind == "replace":
            detail = "a replacement for the whole workspace, which is not read"
            unread.append(Unread(why=Why.UNSUPPORTED, detail=detail, line=number))
    return Manifest(format="go.work", refers=tuple(refers), offers=offers, unread=tuple(unread))


def _named(*names: str) -> Callable[[str], bool]:
    return lambda path: base_name(path) in names and not _VENDORED.search(path)


def _is_script(path: str) -> bool:
    return path.endswith(_SCRIPTS) and not _VENDORED.search(path)


FORMATS: tuple[Format, ...] = (
    Format(name="Gemfile", ecosystem="RubyGems", revision=2, matches=_named("Gemfile", "gems.rb"), parse=_gemfile,
           covered_by=("Gemfile.lock", "gems.locked")),
    Format(name="build.gradle", ecosystem="Maven", revision=1, matches=_is_script, parse=_gradle,
           covered_by=("gradle.lockfile",)),
    Format(name="composer.json", ecosystem="Packagist", revision=1, matches=_named("composer.json"), parse=_composer,
           covered_by=("composer.lock",)),
    Format(name="Pipfile", ecosystem="PyPI", revision=1, matches=_named("Pipfile"), parse=_pipfile,
           covered_by=("Pipfile.lock",)),
    Format(name="setup.py", ecosystem="PyPI", revision=2, matches=_named("setup.py"), parse=_setup("setup.py"),
           covered_by=(*_PYTHON_LOCKS, "pyproject.toml")),
    Format(name="setup.cfg", ecosystem="PyPI", revision=2, matches=_named("setup.cfg"), parse=_setup("setup.cfg"),
           covered_by=(*_PYTHON_LOCKS, "pyproject.toml")),
    Format(name="go.work", ecosystem="Go", revision=1, matches=_named("go.work"), parse=_work),
)  # fmt: skip
