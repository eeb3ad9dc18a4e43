"""What a manifest lacks is told: a lock file that was cut or has another shape, one that is no inventory by itself."""

from __future__ import annotations

import time
from contextlib import suppress

import pytest

from tasks.deps.catalogue import FORMATS, format_of
from tasks.deps.manifest import MalformedError, Manifest
from tasks.deps.resolving import resolved
from tests.deps_samples import rows


def read(path: str, text: str) -> Manifest:
    form = format_of(path)
    assert form is not None, path
    return form.parse(text.encode(), path.rpartition("/")[2])


def told(manifest: Manifest) -> list[tuple[str, str | None]]:
    return [(d.name, d.version) for d in manifest.dependencies]


def whys(manifest: Manifest) -> list[tuple[str, int | None]]:
    return [(u.why.value, u.line) for u in manifest.unread]


def closed(files: dict[str, str]) -> dict[str, list[tuple[str, int | None]]]:
    """The gaps of the files that have some, each read beside the others."""
    found = resolved({path: read(path, text) for path, text in files.items()}, FORMATS)
    return {path: gaps for path, manifest in found.items() if (gaps := whys(manifest))}


# -- Dockerfiles --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "run",
    [
        "RUN echo $((1<<n))", "RUN echo $((1 << n))", "RUN bc <<< 3", 'RUN echo "x << y"', 'RUN echo "<<y"', "RUN a<<b",
        "COPY <<a.txt /d\nFROM x:1\na.txt", "RUN <<'E-O-F'\nFROM x:1\nE-O-F", "RUN 3<<-\"E F\" <<G\n\tE F\n\tG\nG",
        "RUN <<E\n E\nFROM x:1\nE", "ONBUILD RUN <<E\nFROM x:1\nE", "RUN echo it's <<E", "RUN echo \\\\",
    ],
)  # fmt: skip
def test_only_a_word_of_its_own_begins_a_heredoc(run: str) -> None:
    found = read("Dockerfile", f"FROM python:3.11 AS b\n{run}\nFROM alpine:3.18")
    last = run.count("\n") + 3
    assert rows(found.dependencies) == ["python 3.11 1 d", f"alpine 3.18 {last} dr"]
    assert found.unread == ()


def test_a_heredoc_that_does_not_end_is_a_gap_and_loses_nothing() -> None:
    found = read("Dockerfile", "FROM python:3.11 AS b\nRUN cat <<EOF\n EOF\nFROM alpine:3.18")
    assert rows(found.dependencies) == ["python 3.11 1 d", "alpine 3.18 4 dr"]
    assert whys(found) == [("malformed", 2)]


def test_the_directives_of_a_dockerfile_stand_in_any_order() -> None:
    text = "# {}\n# escape=`\nFROM `\n  a:1"
    assert rows(read("Dockerfile", text.format("syntax=docker/dockerfile:1")).dependencies) == ["a 1 3 dr"]
    assert whys(read("Dockerfile", text.format("a comment ends them"))) == [("malformed", 3)]


@pytest.mark.parametrize(
    ("path", "is_one"),
    [("Dockerfile-prod", True), ("a/Dockerfile_dev", True), ("Dockerfile-3.11", True), ("dockerfile-lint.yml", False),
     ("Dockerfile.py", False), ("dockerfiles", False)],
)  # fmt: skip
def test_names_of_dockerfiles(path: str, is_one: bool) -> None:
    assert (format_of(path) is not None) is is_one


# -- lock files that are not whole --------------------------------------------------------------------------------

_PNPM = """\
lockfileVersion: '9.0'
importers:
  .:
    dependencies:
      a:
        version: 1.0.0
packages:
  a@1.0.0: {}
  b@2.0.0: {}
"""
_GEMS = "GEM\n  specs:\n    a (1.0)\n      bundler (>= 1)\n      b (~> 2)\n"
_POETRY = '[[package]]\nname = "a"\nversion = "1"\n[package.dependencies]\nb = ">=1"\nc = "*"\n'
_METADATA = '[metadata]\nlock-version = "2.0"\n'
_CRATE = '[[package]]\nname = "a"\nversion = "1.0.0"\nsource = "registry+x"\ndependencies = ["b"]\n'


def test_a_pnpm_lock_that_is_cut_keeps_its_packages_and_is_a_gap() -> None:
    cut = read("pnpm-lock.yaml", f"{_PNPM}snapshots:\n  a@1.0.0: {{}}\n")
    assert told(cut) == [("a", "1.0.0"), ("b", "2.0.0")]
    assert whys(cut) == [("malformed", 9)]
    assert whys(read("pnpm-lock.yaml", _PNPM)) == [("malformed", 8)], "cut before the snapshots"
    early = _PNPM.partition("packages:")[0]
    assert "asks for a and lacks them" in read("pnpm-lock.yaml", early).unread[0].detail
    whole = (
        f"{_PNPM}snapshots:\n  a@1.0.0:\n    dependencies:\n      b: 2.0.0\n    optionalDependencies:\n      z: 1.0.0\n"
    )
    assert whys(read("pnpm-lock.yaml", f"{whole}  b@2.0.0: {{}}\n")) == []


@pytest.mark.parametrize(
    ("path", "text", "expected"),
    [
        ("Cargo.lock", f"version = 4\n{_CRATE}", [("malformed", 2)]),
        ("Cargo.lock", f'version = 4\n{_CRATE}[[package]]\nname = "b"\nversion = "1.0.0"\n', []),
        ("poetry.lock", _POETRY + _METADATA, [("malformed", 1)]),
        ("poetry.lock", _POETRY.replace('c = "*"', 'c = {version = "*", optional = true}') + _METADATA, []),
        ("poetry.lock", _POETRY.replace('"*"', '{version = "*", markers = "x"}') + _METADATA, []),
        ("poetry.lock", _POETRY.partition("[package.d")[0], [("malformed", None)]),
        ("poetry.lock", '[metadata]\nlock-version = "3.0"\n', [("unsupported", 2)]),
        ("Gemfile.lock", f"{_GEMS}\nDEPENDENCIES\n  a (~> 1.0)!\n", [("malformed", 5)]),
        ("Gemfile.lock", f"{_GEMS}    b (2.0)\n\nDEPENDENCIES\n  a (~> 1.0)!\n", []),
        ("Gemfile.lock", f"{_GEMS}    b (2.0)\n", [("malformed", None)]),
        ("uv.lock", 'version = 1\n[[package]]\nname = "a"\nversion = "1"\ndependencies = [{name = "b"}]\n',
         [("malformed", 2)]),
        ("uv.lock", "version = 99\n", [("unsupported", 1)]),
        ("package-lock.json", '{"lockfileVersion": 9,\n"packages": {}}', [("unsupported", 1)]),
        ("package-lock.json", '{"lockfileVersion": 3}', [("malformed", 1)]),
        ("yarn.lock", "__metadata:\n  version: 99\n", [("unsupported", 1)]),
        ("package-lock.json", '{"lockfileVersion": 3, "packages": [{}]}', [("malformed", 1)]),
        ("package-lock.json", '{"lockfileVersion": 1, "dependencies": [{}]}', [("malformed", 1)]),
        ("pnpm-lock.yaml", "lockfileVersion: '9.0'\npackages:\n- a\nimporters:\n- a\n",
         [("malformed", 2), ("malformed", 4)]),
        ("bun.lock", '{"lockfileVersion": 1, "packages": []}', [("malformed", 1)]),
        ("Cargo.lock", 'version = 4\npackage = "x"\n', [("malformed", 2)]),
        ("Cargo.toml", 'dependencies = ["x"]\n', [("malformed", 1)]),
        ("pyproject.toml", '[tool.poetry]\ndependencies = ["x"]\n', [("malformed", 2)]),
        ("pyproject.toml", 'dependency-groups = ["x"]\n', [("malformed", 1)]),
        ("Pipfile.lock", '{"_meta": {}, "default": {"a": "==1.0"},\n"develop": []}',
         [("malformed", 1), ("malformed", 2)]),
        ("packages.lock.json", '{"version": 1, "dependencies": {"net6.0": {},\n"net48": [1]}}', [("malformed", 2)]),
    ],
)  # fmt: skip
def test_a_lock_of_another_shape_or_version_or_one_that_lacks_a_package_is_a_gap(
    path: str, text: str, expected: list[tuple[str, int | None]]
) -> None:
    assert sorted(whys(read(path, text)), key=str) == expected


def test_a_lock_of_npm_lacks_what_is_neither_optional_nor_a_peer() -> None:
    text = """{"lockfileVersion": 3, "packages": {"": {"devDependencies": {"a": "1"}, "peerDependencies": {"p": "1"}},
"node_modules/a": {"version": "1.0.0", "dependencies": {"b": "1", "o": "1"}, "optionalDependencies": {"o": "1"},
"devDependencies": {"d": "1"}},
"node_modules/x": {"version": "1.0.0", "extraneous": true, "dependencies": {"y": "1"}}}}"""
    (row,) = read("package-lock.json", text).unread
    assert (row.line, row.detail) == (2, "the file is not whole: it asks for b and lacks them")
    assert read("package-lock.json", text.replace('"b": "1", ', "")).unread == ()


def test_a_package_of_composer_in_two_versions_is_two() -> None:
    one = '{{"name": "a/b", "version": "{}", "require": {{"c/d": "1"}}}}'
    packages = f'[{one.format("1.0")}, {{"name": "c/d", "version": "1"}}]'
    found = read("composer.lock", f'{{"packages": {packages}, "packages-dev": [{one.format("2.0")}]}}')
    assert [(d.name, d.version, d.development) for d in found.dependencies] == [
        ("a/b", "1.0", False), ("c/d", "1", False), ("a/b", "2.0", True),
    ]  # fmt: skip
    assert found.dependencies[1].parents == ("a/b@1.0", "a/b@2.0")


# -- who asks, and for what ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("via", "direct"),
    [("# via\n    #   -c constraints.txt\n    #   b", False), ("# via\n    #   -c c.txt\n    #   -r r.in", True),
     ("# via -c constraints.txt", None), ("# via -r r.in", True)],
)  # fmt: skip
def test_a_constraint_makes_nothing_direct(via: str, direct: bool | None) -> None:
    found = read("requirements.txt", f"a==1\n    {via}\nb==1\n    # via -r r.in\n")
    assert found.dependencies[0].direct is direct


@pytest.mark.parametrize("first", [True, False])
def test_of_a_package_under_two_markers_the_one_at_run_time_counts(first: bool) -> None:
    markers = ["sys_platform == 'win32'", "'dev' in dependency_groups"]
    each = [
        f'[[packages]]\nname = "x"\nversion = "1.0"\nmarker = "{m}"\n' for m in (markers if first else markers[::-1])
    ]
    (found,) = read("pylock.toml", 'lock-version = "1.0"\n' + "".join(each)).dependencies
    assert found.development is None, "what has no group may be for either"
    (found,) = read("pylock.toml", f'lock-version = "1.0"\n{each[first]}').dependencies
    assert found.development is True


def test_a_workspace_of_uv_without_a_project_asks_for_itself() -> None:
    text = """version = 1
[manifest]
[manifest.dependency-groups]
dev = [{ name = "pytest" }]
[[package]]
name = "pytest"
version = "8.0"
dependencies = [{ name = "pluggy" }]
[[package]]
name = "pluggy"
version = "1.0"
"""
    found = read("uv.lock", text)
    assert rows(found.dependencies) == ["pytest 8.0 5 dt", "pluggy 1.0 9 it"]
    assert found.unread == ()


def test_each_unpinned_package_of_a_line_is_told() -> None:
    files = {"package.json": '{"dependencies": {"a": "^1", "b": 1, "c": "latest"}}'}
    assert closed(files) == {"package.json": [("malformed", 1), ("unpinned", 1), ("unpinned", 1)]}
    body = "".join(
        f"<dependency><groupId>g</groupId><artifactId>{n}</artifactId><version>{v}</version></dependency>"
        for n, v in (("a", "${lost}"), ("b", "[1,2)"))
    )
    found = closed({"pom.xml": f"<project><artifactId>x</artifactId><dependencies>{body}</dependencies></project>"})
    assert found == {"pom.xml": [("unresolved", 1), ("unpinned", 1)]}


def test_a_file_that_is_lost_is_named_with_its_line() -> None:
    text = "a==1\n-r lost/requirements.txt\n-c ./oldest.txt\n"
    lost = resolved({"a/requirements.txt": read("a/requirements.txt", text)}, FORMATS)
    there, unread = lost["a/requirements.txt"].unread
    assert (there.line, there.detail) == (2, "a file it includes is not in the inventory: lost/requirements.txt")
    assert (unread.line, unread.detail) == (
        3, "a file it includes is not read, for no form has its name: oldest.txt; names that have requirements or "
        "constraints in them are read",
    )  # fmt: skip
    named = {"a/requirements.txt": "b\n-c ./oldest-constraints.txt\n", "a/oldest-constraints.txt": "b==2\n"}
    found = resolved({path: read(path, said) for path, said in named.items()}, FORMATS)
    assert (rows(found["a/requirements.txt"].dependencies), found["a/requirements.txt"].unread) == (["b 2 1"], ())


@pytest.mark.parametrize(
    ("path", "form"),
    [("requirements/ci/base.txt", "requirements.txt"), ("a/requirements/ci/x/base.in", "requirements.in"),
     ("requirements/ci/base.md", None), ("ci/base.txt", None)],
)  # fmt: skip
def test_any_file_below_a_folder_of_requirements_is_read(path: str, form: str | None) -> None:
    found = format_of(path)
    assert (found.name if found else None) == form


# -- manifests that are not read ----------------------------------------------------------------------------------

_SCRIPT = "dependencies {\n  implementation 'log4j:log4j:1.2.17'\n}\n"
_SETUP = "from setuptools import setup; setup(install_requires=['a'])\n"
_PROJECT = '[project]\nname = "x"\ndependencies = ["a==1"]\n'
UNREAD: dict[str, tuple[str, dict[str, str]]] = {
    "Gemfile": ("gem 'a'\n", {"Gemfile.lock": f"{_GEMS}    b (2.0)\n\nDEPENDENCIES\n  a\n"}),
    "composer.json": ('{"require": {"a/b": "^1"}}', {"composer.lock": '{"packages": []}'}),
    "build.gradle": (_SCRIPT, {"gradle.lockfile": "# Gradle\nlog4j:log4j:1.2.17=runtimeClasspath\n"}),
    "build.gradle.kts": ('plugins { id("a.b") version "1" }', {"gradle.lockfile": "# Gradle\nempty=\n"}),
    "Pipfile": ('[packages]\na = "*"\n', {"Pipfile.lock": '{"_meta": {}, "default": {}}'}),
    "setup.py": (_SETUP, {"pyproject.toml": _PROJECT}),
    "setup.cfg": ("[options]\ninstall_requires =\n  a\n", {"uv.lock": "version = 1\n"}),
}


@pytest.mark.parametrize("path", UNREAD)
def test_what_is_not_read_is_a_gap_unless_its_lock_lies_beside_it(path: str) -> None:
    text, locks = UNREAD[path]
    assert [why for why, _ in closed({f"a/{path}": text})[f"a/{path}"]] == ["unsupported"]
    assert closed({f"a/{path}": text} | {f"a/{name}": lock for name, lock in locks.items()}) == {}
    elsewhere = closed({f"a/{path}": text} | {f"b/{name}": lock for name, lock in locks.items()})
    assert list(elsewhere) == [f"a/{path}"]


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("Gemfile", "# gem 'a'\nsource 'https://rubygems.org'\n"),
        ("composer.json", '{"require": {"php": ">=8", "ext-json": "*", "php-64bit": "*", "lib-curl": "*"}}'),
        ("build.gradle", "/* 'a:b:1' */\nmaven { url 'https://x.example/a' } // 'a:b:1'\napi project(':a:b')\n"),
        ("build.gradle.kts", "dependencies { implementation(libs.guava) }\nplugins { id(\"java\") }\n"),
        ("Pipfile", '[packages]\n[dev-packages]\n[requires]\npython_version = "3"\n[[source]]\nname = "x"\n'),
        ("setup.py", "from setuptools import setup\nsetup()  # install_requires=\n"),
        ("setup.py", "class Setup:\n    install_requires: list[str] = []\n"),
        ("setup.py", '"""What install_requires: means."""\nfrom setuptools import setup\nsetup(install_requires=[])\n'),
        ("setup.cfg", "[metadata]\nname = x\n"),
        ("setup.cfg", "[options]\ninstall_requires =\npackages = find:\n"),
        ("go.work", "go 1.22\n"),
    ],
)  # fmt: skip
def test_what_asks_for_nothing_is_no_gap(path: str, text: str) -> None:
    assert closed({path: text}) == {}


@pytest.mark.parametrize(
    ("path", "text", "line"),
    [
        ("setup.py", "from setuptools import setup\nsetup(extras_require={'x': ['a']})\n", 2),
        ("setup.py", '"""Doc.\n\nMore."""\nimport setuptools\nsetuptools.setup(tests_require=["a"])\n', 5),
        ("setup.cfg", "[options]\ninstall_requires =\n    # why\n    a\n", 2),
        ("setup.cfg", "[options]\ninstall_requires = a\n", 2),
        ("Gemfile", "source 'x'\n%w[a b].each { |n| gem n }\n", 2),
        ("Gemfile", "names.each do |n|\n  gem n, '1'\nend\n", 2),
    ],
)
def test_what_asks_in_another_way_is_a_gap(path: str, text: str, line: int) -> None:
    assert closed({path: text}) == {path: [("unsupported", line)]}


def test_vendored_ones_are_somebody_elses() -> None:
    assert format_of("vendor/a/b/composer.json") is None
    assert format_of("a/node_modules/b/build.gradle") is None


def test_a_pyproject_without_dependencies_covers_no_setup_py() -> None:
    build = '[build-system]\nrequires = ["setuptools==70"]\n'
    assert closed({"setup.py": _SETUP, "pyproject.toml": build}) == {"setup.py": [("unsupported", 1)]}


def test_a_setup_py_that_reads_requirements_is_told_by_them() -> None:
    text = "import setuptools\nsetuptools.setup(install_requires=open('requirements.txt').read())\n"
    assert closed({"setup.py": text, "requirements.txt": "a==1\n"}) == {}
    assert closed({"setup.py": text}) == {"setup.py": [("unresolved", None)]}


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("Dockerfile", "FROM a\n" + "RUN <<a <<-b\n" * 60_000),
        ("Dockerfile", "FROM a\nRUN " + "<<a 'b'" * 100_000),
        ("setup.py", "import setuptools\ninstall_requires=" + "require" * 300_000),
        ("setup.py", "import setuptools" + "install_requires " * 100_000),
        ("build.gradle", "'a" * 500_000 + "a" * 500_000),
        ("build.gradle", "/*" * 500_000),
        ("Gemfile", " \n" * 500_000),
    ],
    ids=lambda value: value[:12].strip(),
)
def test_no_file_takes_long(path: str, text: str) -> None:
    start = time.process_time()
    with suppress(MalformedError):
        read(path, text)
    assert time.process_time() - start < 3


def test_a_workspace_of_go_names_its_modules() -> None:
    files = {"go.work": "go 1.22\nuse (\n\t./a\n\t./b\n)\nreplace x.example/y => ../y\n", "a/go.mod": "module x\n"}
    assert closed(files) == {"go.work": [("unsupported", 6), ("unresolved", 4)]}
    assert closed({"go.work": "go 1.22\nuse .\n", "go.mod": "module x\n"}) == {}


def test_what_requirements_are_compiled_from_is_pinned_by_what_is_compiled() -> None:
    for source, compiled in (
        ("requirements/base.in", "requirements/base.txt"),
        ("dev-requirements.in", "dev-requirements.txt"),
    ):
        assert closed({source: "a>=1\n"}) == {source: [("unpinned", 1)]}
        assert closed({source: "a>=1\n", compiled: "a==1.2\n"}) == {}
        assert closed({source: "a>=1\nb\n", compiled: "a==1.2\n"}) == {source: [("unpinned", 2)]}
    (found,) = read("requirements.in", "a==1\n").dependencies
    assert found.direct is True


def test_terraform_in_json_says_what_terraform_says() -> None:
    text = """{"terraform": [{"required_providers": {"aws": {"source": "hashicorp/aws", "version": "5.0.0"},
"old": "~> 1"}}],
"module": {"vpc": {"source": "terraform-aws-modules/vpc/aws", "version": "5.1.2"}, "own": [{"source": "./own"}]},
"resource": {"a": {"b": {}}}}"""
    found = read("main.tf.json", text)
    assert rows(found.dependencies) == [
        "hashicorp/aws 5.0.0 1 dr", "hashicorp/old (~> 1) 2 dr", "terraform-aws-modules/vpc/aws 5.1.2 3 dr",
    ]  # fmt: skip
    assert found.unread == ()
    assert whys(read("a.tf.json", '{"module": {"a": 1},\n"terraform": "x"}')) == [("malformed", 2), ("malformed", 1)]
