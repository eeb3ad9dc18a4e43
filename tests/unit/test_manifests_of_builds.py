"""Manifests of Maven, Gradle and NuGet: what one file says by itself."""

from __future__ import annotations

import pytest

from tasks.deps.manifest import Source
from tests.deps_samples import BY_NAME, FORMATS, gaps, parsed, rows, sample


def test_a_pom_tells_its_literal_versions_and_leaves_the_rest_open() -> None:
    pom = sample("maven/pom.xml")
    assert rows(pom.dependencies) == [
        "com.google.guava:guava 32.1.2-jre 42 dr",
        "org.example:ranged ([1.0,2.0)) 58 dr",
        "org.apache.maven.plugins:maven-compiler-plugin 3.11.0 71 dt",
        "org.postgresql:postgresql 42.6.0 81 dr",
    ]
    assert rows(pom.open) == [
        "com.fasterxml.jackson.core:jackson-databind (${jackson.version}) 33 d",
        "org.slf4j:slf4j-api - 38 d",
        "${project.groupId}:example-core (${project.version}) 48 d",
        "org.junit.jupiter:junit-jupiter - 53 dt",
        "org.example:looping (${loop.a}) 63 d",
    ]
    assert pom.refers == (("parent", "../parent/pom.xml"), ("bom", "org.example:example-bom:${project.version}"))
    assert pom.offers["own:parent"] == "org.example:example-parent:3.1.0"
    assert pom.offers["managed:org.slf4j:slf4j-api"] == "2.0.9"


@pytest.mark.parametrize(
    ("version", "row"),
    [("[1.2]", "g:a 1.2"), ("1.2", "g:a 1.2"), ("LATEST", "g:a (LATEST)"), ("(,2]", "g:a ((,2])"), ("1.+", "g:a (1.+)"),
     ("banana split", "g:a (banana split)"), ("élan", "g:a élan")],
)  # fmt: skip
def test_versions_of_maven_that_are_one_and_that_are_none(version: str, row: str) -> None:
    text = "<dependency><groupId>g</groupId><artifactId>a</artifactId><version>{}</version></dependency>"
    pom = parsed("pom.xml", f"<project><dependencies>{text.format(version)}</dependencies></project>")
    assert rows(pom.dependencies) == [f"{row} 1 dr"]


def test_a_parent_from_the_registry_is_no_file_and_a_system_path_is_a_folder() -> None:
    pom = parsed(
        "pom.xml",
        "<project><parent><groupId>g</groupId><artifactId>p</artifactId><version>1</version><relativePath/></parent>"
        "<dependencies><dependency><groupId>g</groupId><artifactId>a</artifactId><version>1</version>"
        "<scope>system</scope></dependency></dependencies></project>",
    )
    assert pom.refers == ()
    assert pom.dependencies[0].source is Source.FOLDER


def test_what_stands_twice_in_a_pom_is_told() -> None:
    double = parsed(
        "pom.xml",
        "<project>\n<dependencies><dependency><groupId>g</groupId><artifactId>a</artifactId>\n<version>1</version>"
        "<version>2</version></dependency></dependencies>\n<dependencies/></project>",
    )
    assert double.dependencies == ()
    assert gaps(double) == [("malformed", 4), ("malformed", 2)]


def test_a_property_that_profiles_set_differently_is_offered_by_none() -> None:
    profile = "<profile><properties><v>{}</v></properties></profile>"
    pom = parsed("pom.xml", f"<project><profiles>{profile.format(1)}{profile.format(2)}</profiles></project>")
    assert pom.offers == {"property:?v": ""}


def test_gradle_locks_are_exact_and_tests_are_for_development() -> None:
    assert rows(sample("gradle/gradle.lockfile").dependencies) == [
        "com.google.guava:guava 32.1.2-jre 4 r",
        "junit:junit 4.13.2 5 t",
        "org.slf4j:slf4j-api 2.0.9 6 r",
    ]
    assert rows(sample("gradle/buildscript-gradle.lockfile").dependencies) == ["org.apache.ant:ant 1.10.13 2 t"]
    old = parsed("gradle.lockfile", "# Gradle\norg.a:b:1.0\nno coordinates\n", "runtimeClasspath.lockfile")
    assert rows(old.dependencies) == ["org.a:b 1.0 2"]
    assert gaps(old) == [("malformed", 3)]


def test_a_catalog_follows_its_references() -> None:
    catalog = sample("gradle/libs.versions.toml")
    assert rows(catalog.dependencies) == [
        "com.fasterxml.jackson.core:jackson-databind 2.15.2 7 d",
        "com.google.guava:guava 32.1.2-jre 8 d",
        "org.jetbrains.kotlin:kotlin-stdlib 1.9.10 9 d",
        "org.example:loose ([1.0,2.0)) 10 d",
        "org.slf4j:slf4j-api - 11 d",
        "org.example:lost - 12 d",
        "com.github.johnrengelman.shadow:com.github.johnrengelman.shadow.gradle.plugin 8.1.1 18 dt",
        "com.diffplug.spotless:com.diffplug.spotless.gradle.plugin 6.21.0 19 dt",
    ]
    assert gaps(catalog) == [("unresolved", 12)]
    assert catalog.offers["alias:bundles.json"] == "jackson-databind,guava"


def test_a_catalog_reads_odd_entries_as_gaps() -> None:
    text = '[libraries]\na = 1\nb = "noversion"\nc = { module = "x:y\\nz" }\nd = { module = "x:y", version = 3 }\n'
    catalog = parsed("libs.versions.toml", text)
    assert gaps(catalog) == [("malformed", 2), ("malformed", 3), ("malformed", 4)]
    assert rows(catalog.dependencies) == ["x:y (3) 5 d"]


def test_projects_of_nuget() -> None:
    project = sample("nuget/Shop.csproj")
    assert rows(project.dependencies) == [
        "newtonsoft.json 13.0.1 7 dr",
        "xunit 2.5.0 10 dt",
        "floating.package (4.*) 13 dr",
        "overridden 2.0.0 15 dr",
    ]
    assert rows(project.open) == ["polly ($(PollyVersion)) 8 dr", "serilog - 9 dr", "nobody.knows - 14 dr"]
    central = sample("nuget/Directory.Packages.props")
    assert rows(central.dependencies) == ["nerdbank.gitversioning 3.6.133 9 dt"]
    assert central.offers["managed:serilog"] == "$(SerilogVersion)"
    assert central.offers["property:serilogversion"] == "3.0.1"
    build = sample("nuget/Directory.Build.props")
    assert build.refers == (("above", "Directory.Build.props"), ("include", "eng/Versions.props"))


def test_old_projects_have_a_name_space_and_lower_case_metadata() -> None:
    project = parsed(
        "*.csproj",
        '<?xml version="1.0"?><Project xmlns="http://schemas.microsoft.com/developer/msbuild/2003"><Choose><When '
        'Condition="x"><ItemGroup><PackageReference Include="A;B" version="1.0" /></ItemGroup></When></Choose>'
        "</Project>",
    )
    assert rows(project.dependencies) == ["a 1.0 1 dr", "b 1.0 1 dr"]


def test_locks_and_configs_of_nuget() -> None:
    assert rows(sample("nuget/packages.config").dependencies) == ["jquery 3.4.1 3 r", "nunit 3.13.3 4 t"]
    lock = sample("nuget/packages.lock.json")
    assert rows(lock.dependencies) == ["serilog.sinks.console 4.1.0 5 d", "serilog 2.10.0 14 d"]
    assert lock.dependencies[1].parents == ("serilog.sinks.console@4.1.0",)
    assert lock.unread == ()


@pytest.mark.parametrize(
    ("path", "form"),
    [
        ("pom.xml", "pom.xml"), ("a/b/pom.xml", "pom.xml"), ("pom.xml.bak", None),
        ("x/gradle.lockfile", "gradle.lockfile"),
        ("gradle/dependency-locks/runtimeClasspath.lockfile", "gradle.lockfile"), ("other.lockfile", None),
        ("gradle/libs.versions.toml", "libs.versions.toml"), ("versions.toml", None), ("a/X.FsProj", "*.csproj"),
        ("Packages.config", "packages.config"), ("eng/Versions.props", "Directory.Packages.props"),
        ("a/Directory.Build.targets", "Directory.Packages.props"), ("src/other.props", None),
        ("a/packages.lock.json", "packages.lock.json"), ("package-lock.json", None),
    ],
)  # fmt: skip
def test_paths_of_builds(path: str, form: str | None) -> None:
    assert [each.name for each in FORMATS if each.matches(path)] == ([form] if form else [])
    assert form is None or BY_NAME[form]
