"""What one file leaves open is closed by the others of its repository, or told."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest

from tasks.deps.manifest import Dependency, Manifest, Source, Unread, Why
from tasks.deps.resolving import resolved
from tests.deps_samples import FORMATS, gaps, parsed, row, rows, sample


def _pom(body: str, artifact: str = "a", version: str = "1") -> Manifest:
    own = f"<groupId>org.x</groupId><artifactId>{artifact}</artifactId><version>{version}</version>"
    return parsed("pom.xml", f"<project>{own}{body}</project>")


def _child(body: str, parent: str = "p", path: str = "<relativePath>../pom.xml</relativePath>") -> Manifest:
    above = f"<parent><groupId>org.x</groupId><artifactId>{parent}</artifactId><version>1</version>{path}</parent>"
    return parsed("pom.xml", f"<project>{above}<artifactId>c</artifactId>{body}</project>")


def _needs(name: str, version: str = "", more: str = "") -> str:
    group, _, artifact = name.partition(":")
    written = f"<version>{version}</version>" if version else ""
    return f"<dependency><groupId>{group}</groupId><artifactId>{artifact}</artifactId>{written}{more}</dependency>"


def _dependencies(*each: str) -> str:
    return f"<dependencies>{''.join(each)}</dependencies>"


def _managing(*each: str) -> str:
    return f"<dependencyManagement>{_dependencies(*each)}</dependencyManagement>"


def _properties(**each: str) -> str:
    return f"<properties>{''.join(f'<{k}>{v}</{k}>' for k, v in each.items())}</properties>"


def _closed(manifests: dict[str, Manifest], path: str) -> Manifest:
    before = dict(manifests)
    told = resolved(manifests, FORMATS)
    assert manifests == before
    assert list(told) == list(manifests)
    assert all(each.open == () for each in told.values())
    return told[path]


def test_the_sample_of_maven_with_its_parent_and_bom() -> None:
    manifests = {
        "shop/pom.xml": sample("maven/pom.xml"),
        "parent/pom.xml": parsed("pom.xml", "<project><groupId>org.example</groupId><artifactId>example-parent"
            "</artifactId><version>3.1.0</version></project>"),
        "bom/pom.xml": parsed("pom.xml", "<project><groupId>org.example</groupId><artifactId>example-bom</artifactId>"
            "<version>3.1.0</version>" + _properties(junit="5.10.0")
            + _managing(_needs("org.junit.jupiter:junit-jupiter", "${junit}")) + "</project>"),
    }  # fmt: skip
    found = _closed(manifests, "shop/pom.xml")
    assert rows(found.dependencies)[4:] == [
        "com.fasterxml.jackson.core:jackson-databind 2.15.2 33 dr",
        "org.slf4j:slf4j-api 2.0.9 38 dr",
        "org.example:example-core 3.1.0 48 dr",
        "org.junit.jupiter:junit-jupiter 5.10.0 53 dt",
        "org.example:looping (${loop.a}) 63 dr",
    ]
    assert gaps(found) == [("unresolved", 63), ("unpinned", 58)]
    assert "loop." in found.unread[0].detail


def test_a_child_takes_properties_versions_and_scopes_of_its_parents() -> None:
    top = _pom(_properties(v="1.0", w="2.0") + _managing(_needs("g:m", "${w}", "<scope>test</scope>")), "p")
    child = _child(_properties(v="9.9") + _dependencies(_needs("g:a", "${v}"), _needs("g:m"), _needs("g:b", "${w}")))
    found = _closed({"pom.xml": top, "c/pom.xml": child}, "c/pom.xml")
    assert rows(found.dependencies) == ["g:a 9.9 1 dr", "g:m 2.0 1 dt", "g:b 2.0 1 dr"]
    assert found.unread == ()


def test_project_version_in_a_parent_is_the_child_s_and_in_a_bom_the_bom_s() -> None:
    top = _pom(_managing(_needs("${project.groupId}:m", "${project.version}")), "p")
    bom = _pom(_managing(_needs("g:n", "${project.version}")), "bom", "7")
    imports = "<type>pom</type><scope>import</scope>"
    child = parsed(
        "pom.xml",
        "<project><parent><groupId>org.x</groupId><artifactId>p</artifactId><version>1</version></parent>"
        "<artifactId>c</artifactId><version>5</version>" + _managing(_needs("org.x:bom", "7", imports))
        + _dependencies(_needs("org.x:m"), _needs("g:n"), _needs("g:p", "${project.parent.version}")) + "</project>",
    )  # fmt: skip
    found = _closed({"pom.xml": top, "c/pom.xml": child, "bom/pom.xml": bom}, "c/pom.xml")
    assert rows(found.dependencies) == ["org.x:m 5 1 dr", "g:n 7 1 dr", "g:p 1 1 dr"]


def test_modules_of_the_repository_are_its_own() -> None:
    found = _closed({"a/pom.xml": _pom(""), "b/pom.xml": _pom(_dependencies(_needs("org.x:a", "${project.version}")))},
                    "b/pom.xml")  # fmt: skip
    assert [(d.name, d.source) for d in found.dependencies] == [("org.x:a", Source.FOLDER)]


def test_a_pom_beside_that_is_another_is_no_parent() -> None:
    other = _pom(_properties(v="1.0"), "not-p")
    found = _closed({"pom.xml": other, "c/pom.xml": _child(_dependencies(_needs("g:a", "${v}")))}, "c/pom.xml")
    assert [(u.why, u.detail) for u in found.unread] == [
        (Why.UNRESOLVED, "the property v (parent org.x:p:1 is not in the repository)")
    ]
    assert rows(found.dependencies) == ["g:a (${v}) 1 dr"]


def test_a_parent_elsewhere_in_the_repository_is_found_by_its_coordinates() -> None:
    manifests = {
        "x/y/pom.xml": _pom(_properties(v="1.0"), "p"),
        "c/pom.xml": _child(_dependencies(_needs("g:a", "${v}"))),
    }
    assert rows(_closed(manifests, "c/pom.xml").dependencies) == ["g:a 1.0 1 dr"]


def test_what_only_a_bom_outside_could_tell_is_told_by_its_name() -> None:
    imports = "<type>pom</type><scope>import</scope>"
    body = (
        _properties(boot="3.1") + _managing(_needs("org.boot:bom", "${boot}", imports)) + _dependencies(_needs("g:a"))
    )
    found = _closed({"pom.xml": _pom(body)}, "pom.xml")
    assert found.unread[0].detail == "no version here; not in the repository: BOM org.boot:bom:3.1"
    assert gaps(found) == [("unresolved", 1)]


def test_circles_of_parents_boms_and_properties_end() -> None:
    imports = "<type>pom</type><scope>import</scope>"
    first = parsed("pom.xml", "<project><parent><groupId>g</groupId><artifactId>b</artifactId><version>1</version>"
                   "<relativePath>../b</relativePath></parent><artifactId>a</artifactId>"
                   + _managing(_needs("g:b", "1", imports)) + _dependencies(_needs("x:y"), _needs("x:z", "${q}"))
                   + _properties(q="${r}", r="${q}") + "</project>")  # fmt: skip
    second = parsed("pom.xml", "<project><parent><groupId>g</groupId><artifactId>a</artifactId><version>1</version>"
                    "<relativePath>../a</relativePath></parent><artifactId>b</artifactId>"
                    + _managing(_needs("g:a", "1", imports)) + "</project>")  # fmt: skip
    found = _closed({"a/pom.xml": first, "b/pom.xml": second}, "a/pom.xml")
    assert [u.why for u in found.unread] == [Why.UNRESOLVED, Why.UNRESOLVED]


def test_a_profile_s_other_version_is_a_gap() -> None:
    profile = "<profiles><profile>" + _properties(v="2.0", w="3.0") + "</profile></profiles>"
    body = _properties(v="1.0") + profile + _dependencies(_needs("g:a", "${v}"), _needs("g:b", "${w}"))
    found = _closed({"pom.xml": _pom(body)}, "pom.xml")
    assert rows(found.dependencies) == ["g:a 1.0 1 dr", "g:b 3.0 1 dr"]
    assert [u.detail for u in found.unread] == ["another version in a profile, by the property v"]


def test_properties_that_double_do_not_grow() -> None:
    body = _properties(a0="x" * 10, **{f"a{n}": f"${{a{n - 1}}}${{a{n - 1}}}" for n in range(1, 60)})
    found = _closed({"pom.xml": _pom(body + _dependencies(_needs("g:a", "${a59}")))}, "pom.xml")
    assert gaps(found) == [("unresolved", 1)]


_PROPS = "Directory.Packages.props"


def test_the_sample_of_nuget_with_what_lies_above() -> None:
    manifests = {"src/Shop/Shop.csproj": sample("nuget/Shop.csproj"), _PROPS: sample("nuget/Directory.Packages.props")}
    found = _closed(manifests, "src/Shop/Shop.csproj")
    assert rows(found.dependencies)[4:] == ["polly 8.0.0 8 dr", "serilog 3.0.1 9 dr", "nobody.knows - 14 dr"]
    assert gaps(found) == [("unresolved", 14), ("unpinned", 13)]
    assert found.unread[0].detail == "no version here or in Directory.Packages.props"


def test_only_the_nearest_central_file_counts_unless_it_imports_the_next() -> None:
    central = '<Project><ItemGroup><PackageVersion Include="A" Version="{}"/></ItemGroup></Project>'
    project = parsed("*.csproj", '<Project><ItemGroup><PackageReference Include="a"/></ItemGroup></Project>')
    above, near = parsed(_PROPS, central.format("1")), parsed(_PROPS, central.format("2"))
    empty = parsed(_PROPS, "<Project/>")
    on = parsed(_PROPS, "<Project><Import Project=\"$([MSBuild]::GetPathOfFileAbove(Directory.Packages.props, "
                        '$(MSBuildThisFileDirectory)..))"/></Project>')  # fmt: skip
    for between, expected in ((near, "a 2 1 dr"), (empty, "a - 1 dr"), (on, "a 1 1 dr")):
        manifests = {_PROPS: above, f"src/{_PROPS}": between, "src/x/x.csproj": project}
        assert rows(_closed(manifests, "src/x/x.csproj").dependencies) == [expected]


def test_properties_of_imported_files_are_found_and_the_project_s_own_win() -> None:
    versions = parsed(
        _PROPS, "<Project><PropertyGroup><V>1.0</V><W>2.0</W></PropertyGroup></Project>", "Versions.props"
    )
    project = parsed("*.csproj", '<Project><PropertyGroup><w>9.0</w></PropertyGroup><ItemGroup><PackageReference '
                     'Include="a" Version="$(V)"/><PackageReference Include="b" Version="$(W)"/>'
                     '<PackageReference Include="c" Version="$(Nowhere)"/></ItemGroup></Project>')  # fmt: skip
    manifests = {"Directory.Build.props": sample("nuget/Directory.Build.props"), "eng/Versions.props": versions,
                 "src/x.csproj": project}  # fmt: skip
    found = _closed(manifests, "src/x.csproj")
    assert rows(found.dependencies) == ["a 1.0 1 dr", "b 9.0 1 dr", "c ($(Nowhere)) 1 dr"]
    assert [u.detail for u in found.unread] == ["the property Nowhere"]


def test_a_value_under_another_condition_is_a_gap() -> None:
    text = ("<Project><PropertyGroup><V Condition=\"'$(V)' == ''\">1</V><V Condition=\"'$(T)' == 'x'\">2</V>"
            '</PropertyGroup><ItemGroup><PackageReference Include="a" Version="$(V)"/></ItemGroup>'
            "</Project>")  # fmt: skip
    found = _closed({"x.csproj": parsed("*.csproj", text)}, "x.csproj")
    assert rows(found.dependencies) == ["a 1 1 dr"]
    assert gaps(found) == [("unresolved", 1)]


def test_a_range_that_a_lock_says_exactly_is_no_gap() -> None:
    manifests = {
        "infra/main.tf": sample("terraform/main.tf"),
        "other/main.tf": sample("terraform/main.tf"),
        "infra/.terraform.lock.hcl": sample("terraform/.terraform.lock.hcl"),
    }
    told = resolved(manifests, FORMATS)
    assert gaps(told["infra/main.tf"]) == []
    assert gaps(told["other/main.tf"]) == [("unpinned", 4)]


def test_a_lock_above_counts_and_one_below_does_not() -> None:
    lock = parsed("gradle.lockfile", "# Gradle\norg.slf4j:slf4j-api:2.0.9=runtimeClasspath\n")
    catalog = sample("gradle/libs.versions.toml")
    told = resolved({"gradle.lockfile": lock, "gradle/libs.versions.toml": catalog}, FORMATS)
    assert gaps(told["gradle/libs.versions.toml"]) == [("unresolved", 12), ("unpinned", 10)]
    told = resolved({"app/gradle.lockfile": lock, "gradle/libs.versions.toml": catalog}, FORMATS)
    assert ("unpinned", 11) in gaps(told["gradle/libs.versions.toml"])


def _pip(*needs: tuple[str, str | None], refers: tuple[tuple[str, str], ...] = ()) -> Manifest:
    each = (Dependency(ecosystem="PyPI", name=n, version=v, line=i) for i, (n, v) in enumerate(needs, start=1))
    return Manifest(format="requirements.txt", dependencies=tuple(each), refers=refers)


def test_constraints_and_includes_pin_and_lost_ones_are_told() -> None:
    manifests = {
        "app/requirements.txt": _pip(("a", None), ("b", None), ("c", "1"), ("d", None),
            refers=(("constraints", "../constraints.txt"), ("include", "base.txt"), ("include", "lost.txt"))),
        "constraints.txt": _pip(("a", "2.0"), ("c", "9")),
        "app/base.txt": _pip(("b", "3.0"), refers=(("include", "requirements.txt"),)),
    }  # fmt: skip
    found = _closed(manifests, "app/requirements.txt")
    assert [row(d) for d in found.dependencies] == ["a 2.0 1", "b 3.0 2", "c 1 3", "d - 4"]
    assert gaps(found) == [("unresolved", None), ("unpinned", 4)]


def test_gaps_that_a_parser_told_itself_are_not_told_twice() -> None:
    one = Dependency(ecosystem="PyPI", name="a", requirement=">1", line=3)
    told = Manifest(format="x", dependencies=(one,), unread=(Unread(why=Why.UNPINNED, detail="…", line=3),))
    assert gaps(_closed({"x": told}, "x")) == [("unpinned", 3)]
    pinned = replace(told, dependencies=(replace(one, version="1", requirement=None),))
    assert gaps(_closed({"x": pinned}, "x")) == []


@pytest.mark.parametrize("ecosystem", ["GitHub Actions", "Docker"])
def test_a_commit_without_a_version_is_a_gap_where_advisories_go_by_versions(ecosystem: str) -> None:
    one = Dependency(ecosystem=ecosystem, name="a/b", revision="0" * 40, line=1)
    expected = [("unresolved", 1)] if ecosystem == "GitHub Actions" else []
    assert gaps(_closed({"x": Manifest(format="x", dependencies=(one,))}, "x")) == expected


def test_what_another_format_leaves_open_is_told() -> None:
    one = Dependency(ecosystem="npm", name="a", requirement="catalog:", line=1)
    assert gaps(_closed({"x": Manifest(format="x", open=(one,))}, "x")) == [("unresolved", 1)]


def test_the_time_grows_with_what_the_manifests_say() -> None:
    def repository(modules: int) -> dict[str, Manifest]:
        top = _pom(_managing(*(_needs(f"g:a{n}", "1") for n in range(modules))) + _properties(v="1"), "p")
        child = _child(_dependencies(_needs("g:a1"), _needs("g:b", "${v}"), _needs("g:lost")))
        return {"pom.xml": top} | {f"m{n}/pom.xml": child for n in range(modules)}

    def seconds(manifests: dict[str, Manifest]) -> float:
        start = time.process_time()
        resolved(manifests, FORMATS)
        return time.process_time() - start

    small, large = repository(50), repository(400)
    seconds(small)
    assert seconds(large) < 30 * max(seconds(small), 0.002)
