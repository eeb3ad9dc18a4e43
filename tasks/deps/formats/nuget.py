"""NuGet: lock files, ``packages.config``, projects of MSBuild and the files that lie above them.

https://learn.microsoft.com/nuget/consume-packages/package-references-in-project-files,
https://learn.microsoft.com/nuget/consume-packages/central-package-management and
https://learn.microsoft.com/nuget/reference/packages-config. Conditions are not judged: what stands under one counts,
but a property that is only set under conditions is offered as ``property:?name``, unless the condition is that it is
not set yet. Names of properties are lower-cased.

``refers``: ``include`` is a literal path of an ``Import``; ``above`` asks for the next file of that name above.
``offers``: ``property:NAME``, ``managed:PACKAGE``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace

from tasks.deps.manifest import Dependency, Format, MalformedError, Manifest, Unread, Why
from tasks.deps.naming import normal
from tasks.deps.pins import nuget as pinned
from tasks.deps.reading.fields import is_fit, may_be_offered, requirement_of, unfit
from tasks.deps.reading.json_places import read_json
from tasks.deps.reading.text import Spelling, text_of
from tasks.deps.reading.values import Gaps, Table
from tasks.deps.reading.xml_places import Element, read_xml

MAX_LOCK_BYTES = 16 * 1024 * 1024
MAX_BYTES = 4 * 1024 * 1024
_PROJECTS = (".csproj", ".fsproj", ".vbproj")
_PROPS = re.compile(r"(?:Directory\.[\w.]+|Versions|Packages|Dependencies)\.(?:props|targets)", re.IGNORECASE)
_HERE = re.compile(r"^\$\(MSBuildThisFileDirectory\)[\\/]*", re.IGNORECASE)
_ABOVE = re.compile(r"GetPathOfFileAbove\(\s*['\"]?([\w.]+)['\"]?", re.IGNORECASE)
#: "If it is not set yet", with the property's own name taken out.
_DEFAULT = re.compile(r"(['\"]?)\$\(\)\1==(''|\"\")")
_ITEMS = ("PackageReference", "PackageVersion", "GlobalPackageReference", "DotNetCliToolReference")


@dataclass(slots=True)
class _Project:
    dependencies: list[Dependency] = field(default_factory=list)
    open: list[Dependency] = field(default_factory=list)
    unread: list[Unread] = field(default_factory=list)
    refers: list[tuple[str, str]] = field(default_factory=list)
    offers: dict[str, str] = field(default_factory=dict)


def _project(data: bytes, name: str) -> Manifest:
    root = read_xml(data, MAX_BYTES)
    if root.name != "Project":
        raise MalformedError("the outermost element is no `Project`", line=root.line)
    project = _Project()
    _walk(root, project)
    kind = "*.csproj" if name.lower().endswith(_PROJECTS) else "Directory.Packages.props"
    return Manifest(format=kind, dependencies=tuple(project.dependencies), unread=tuple(project.unread),
                    refers=tuple(project.refers), offers=project.offers, open=tuple(project.open))  # fmt: skip


def _walk(root: Element, project: _Project) -> None:
    groups = [(e, bool(e.attributes.get("Condition"))) for e in reversed(root.children)]
    while groups:  # Choose, When and Otherwise hold groups
        group, conditional = groups.pop()
        if group.name == "PropertyGroup":
            for entry in group.children:
                _property(entry, project, conditional=conditional or "Condition" in entry.attributes)
        elif group.name == "ItemGroup":
            for entry in group.children:
                if entry.name in _ITEMS:
                    _item(entry, project)
        elif group.name in ("Choose", "When", "Otherwise"):
            groups += [(e, True) for e in reversed(group.children)]
        elif group.name == "ImportGroup":
            groups += [(e, conditional) for e in reversed(group.children)]
        elif group.name == "Import":
            _import(group, project)


def _property(entry: Element, project: _Project, *, conditional: bool) -> None:
    name = entry.name.lower()
    if not may_be_offered(name, entry.text):
        return
    if not conditional:
        project.offers[f"property:{name}"] = entry.text
        return
    if _DEFAULT.fullmatch(entry.attributes.get("Condition", "").replace(" ", "").replace(entry.name, "")):
        project.offers.setdefault(f"property:{name}", entry.text)
        return
    key = f"property:?{name}"
    known = project.offers.get(key, entry.text)
    project.offers[key] = entry.text if known == entry.text else ""  # two that differ: none of them is right


def _import(entry: Element, project: _Project) -> None:
    path = entry.attributes.get("Project", "")
    if above := _ABOVE.search(path):
        project.refers.append(("above", above[1]))
    elif "$(" not in (path := _HERE.sub("", path)) and path and not entry.attributes.get("Sdk"):
        project.refers.append(("include", path.replace("\\", "/")))


def _item(entry: Element, project: _Project) -> None:
    names = entry.attributes.get("Include") or entry.attributes.get("Update") or ""
    version = _said(entry, "VersionOverride") or _said(entry, "Version")
    for name in filter(None, map(str.strip, names.split(";"))):
        if not is_fit(name):
            project.unread.append(unfit("a package", entry.line))
            continue
        if entry.name == "PackageVersion" or (entry.name == "PackageReference" and "Update" in entry.attributes):
            if version and requirement_of(version):
                project.offers[f"managed:{normal('NuGet', name)}"] = version
            continue
        private = "all" in re.split(r"[\s;]+", _said(entry, "PrivateAssets").lower())
        development = private or entry.name in ("GlobalPackageReference", "DotNetCliToolReference")
        found = Dependency(ecosystem="NuGet", name=normal("NuGet", name), direct=True, development=development,
                           line=entry.line)  # fmt: skip
        if version and requirement_of(version) is None:
            project.unread.append(unfit("a package", entry.line))
            continue
        if not version or "$(" in version or "$(" in name:
            project.open.append(replace(found, requirement=version or None))
            continue
        exact, requirement = pinned(version)
        if exact is None and requirement is None:
            project.unread.append(unfit("a package", entry.line))
        else:
            project.dependencies.append(replace(found, version=exact, requirement=requirement))


def _said(entry: Element, name: str) -> str:
    """Metadata of an item: an attribute or an element, in upper or lower case."""
    low = name.lower()
    said = (v.strip() for k, v in entry.attributes.items() if k.lower() == low)
    return next(filter(None, said), "") or next((c.text for c in entry.children if c.name.lower() == low), "")


def _config(data: bytes, _name: str) -> Manifest:
    root = read_xml(data, MAX_BYTES)
    if root.name != "packages":
        raise MalformedError("the outermost element is no `packages`", line=root.line)
    found: list[Dependency] = []
    unread: list[Unread] = []
    for entry in root.all("package"):
        name, version = entry.attributes.get("id", ""), entry.attributes.get("version", "")
        exact, requirement = pinned(version)
        if not is_fit(name) or (exact is None and requirement is None):
            unread.append(unfit("a package", entry.line))
            continue
        development = entry.attributes.get("developmentDependency", "").lower() == "true"
        found.append(Dependency(ecosystem="NuGet", name=normal("NuGet", name), version=exact, requirement=requirement,
                                development=development, line=entry.line))  # fmt: skip
    return Manifest(format="packages.config", dependencies=tuple(found), unread=tuple(unread))


def _lock(data: bytes, _name: str) -> Manifest:
    read = read_json(text_of(data, Spelling.MARKED, most=MAX_LOCK_BYTES))
    top = read.table
    if top.get("version") not in (1, 2):
        raise MalformedError("a version of the lock file that is not read", why=Why.UNSUPPORTED, line=1)
    frameworks = top.get("dependencies")
    if not isinstance(frameworks, Table):
        raise MalformedError("no `dependencies`", line=1)
    found: dict[tuple[str, str], Dependency] = {}
    asked: dict[tuple[str, str], set[str]] = {}
    read.gaps.tables(frameworks, *frameworks)
    for packages in frameworks.values():
        if isinstance(packages, Table):
            _framework(packages, found, asked, read.gaps)
    told = [replace(each, parents=tuple(sorted(asked.get(key, ())))) for key, each in found.items()]
    return Manifest(format="packages.lock.json", dependencies=tuple(told), unread=read.gaps.rows())


def _framework(
    packages: Table,
    found: dict[tuple[str, str], Dependency],
    asked: dict[tuple[str, str], set[str]],
    gaps: Gaps,
) -> None:
    versions = {normal("NuGet", name): entry.text("resolved") or "" for name, entry in packages.items()
                if isinstance(entry, Table)}  # fmt: skip
    for name, entry in packages.items():
        line = packages.lines[name]
        kind = entry.text("type") if isinstance(entry, Table) else None
        key = (normal("NuGet", name), (entry.text("resolved") or "") if isinstance(entry, Table) else "")
        if kind != "Project" and not (is_fit(name) and is_fit(key[1])):
            gaps.put(unfit("a locked package", line))
            continue
        if kind != "Project":
            known = found.get(key)
            direct = kind == "Direct" or bool(known and known.direct)
            found[key] = Dependency(ecosystem="NuGet", name=key[0], version=key[1], direct=direct,
                                    line=known.line if known else line)  # fmt: skip
        for child in entry.table("dependencies") if kind != "Project" else ():
            child = normal("NuGet", child)
            asked.setdefault((child, versions.get(child, "")), set()).add("@".join(key))


def _is_lock(path: str) -> bool:
    name = path.rpartition("/")[2]
    return name == "packages.lock.json" or (name.startswith("packages.") and name.endswith(".lock.json"))


def _is_config(path: str) -> bool:
    return path.rpartition("/")[2].lower() == "packages.config"


def _is_project(path: str) -> bool:
    return path.lower().endswith(_PROJECTS)


def _is_props(path: str) -> bool:
    return bool(_PROPS.fullmatch(path.rpartition("/")[2]))


_LOCKS = ("packages.lock.json",)
FORMATS: tuple[Format, ...] = (
    Format(name="packages.lock.json", ecosystem="NuGet", revision=3, matches=_is_lock, parse=_lock, is_lock=True),
    Format(name="packages.config", ecosystem="NuGet", revision=2, matches=_is_config, parse=_config, is_lock=True),
    Format(name="*.csproj", ecosystem="NuGet", revision=2, matches=_is_project, parse=_project, locked_by=_LOCKS),
    Format(name="Directory.Packages.props", ecosystem="NuGet", revision=2, matches=_is_props, parse=_project,
           locked_by=_LOCKS),
)  # fmt: skip
