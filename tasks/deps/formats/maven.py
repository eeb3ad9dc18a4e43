"""Maven's ``pom.xml``: https://maven.apache.org/pom.html.

A version or name that is a literal is told at once; what is written with a property, or left to a parent, a managed
version or an imported BOM is ``open``. Plugins and build extensions are dependencies for development. Profiles count as
if they were active; a property that only profiles set is offered as ``property:?name``, for it holds only then.

``refers``: ``parent`` is a path; ``bom`` is no path but ``group:artifact:version``, by which Maven knows it.
``offers``: ``own:group``, ``own:artifact``, ``own:version``, ``own:parent`` (its coordinates), ``property:NAME``,
``managed:group:artifact`` and, where a managed dependency has a scope, ``managed:group:artifact#scope``.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from tasks.deps.manifest import Dependency, Format, MalformedError, Manifest, Source, Unread, Why
from tasks.deps.pins import maven as pinned
from tasks.deps.reading.fields import is_fit, may_be_offered, unfit
from tasks.deps.reading.xml_places import Element, read_xml

MAX_BYTES = 4 * 1024 * 1024
_PLUGINS = "org.apache.maven.plugins"


@dataclass(slots=True)
class _Pom:
    dependencies: list[Dependency] = field(default_factory=list)
    open: list[Dependency] = field(default_factory=list)
    unread: list[Unread] = field(default_factory=list)
    refers: list[tuple[str, str]] = field(default_factory=list)
    offers: dict[str, str] = field(default_factory=dict)


def _parse(data: bytes, _name: str) -> Manifest:
    root = read_xml(data, MAX_BYTES)
    if root.name != "project":
        raise MalformedError("the outermost element is no `project`", line=root.line)
    pom = _Pom()
    if (double := root.twice()) is not None:
        pom.unread.append(Unread(why=Why.MALFORMED, detail="an element of the project stands twice", line=double.line))
    _coordinates(root, pom)
    _part(root, pom, fallback=False)
    for profile in root.all("profiles", "profile"):
        _part(profile, pom, fallback=profile.value("activation", "activeByDefault") != "true")
    return Manifest(format="pom.xml", dependencies=tuple(pom.dependencies), unread=tuple(pom.unread),
                    refers=tuple(pom.refers), offers=pom.offers, open=tuple(pom.open))  # fmt: skip


def _coordinates(root: Element, pom: _Pom) -> None:
    parent = root.first("parent")
    for key, name in (("group", "groupId"), ("artifact", "artifactId"), ("version", "version")):
        value = root.value(name)
        if not value and parent is not None and key != "artifact":
            value = parent.value(name)
        if is_fit(value):
            pom.offers[f"own:{key}"] = value
    if parent is None:
        return
    coordinates = [parent.value(n) for n in ("groupId", "artifactId", "version")]
    if not all(map(is_fit, coordinates)):
        pom.unread.append(unfit("the parent", parent.line))
        return
    pom.offers["own:parent"] = ":".join(coordinates)
    path = parent.value("relativePath") if parent.first("relativePath") is not None else "../pom.xml"
    path = path.replace("\\", "/")
    if path:  # an empty one says: from the repository of packages
        pom.refers.append(("parent", path if path.endswith(".xml") else path.rstrip("/") + "/pom.xml"))


def _part(part: Element, pom: _Pom, *, fallback: bool) -> None:
    """The project or one of its profiles."""
    for each in part.all("properties"):
        for entry in each.children:
            if not may_be_offered(entry.name, entry.text):
                continue
            key = f"property:?{entry.name}" if fallback else f"property:{entry.name}"
            if fallback and pom.offers.get(key, entry.text) != entry.text:
                pom.offers[key] = ""  # profiles differ: none of them is right
            else:
                pom.offers[key] = entry.text
    for entry in part.all("dependencyManagement", "dependencies", "dependency"):
        _managed(entry, pom)
    for entry in part.all("build", "pluginManagement", "plugins", "plugin"):
        _offer(entry, entry.value("groupId") or _PLUGINS, pom)
    for entry in part.all("dependencies", "dependency"):
        _dependency(entry, pom, entry.value("groupId"), development=_development(entry.value("scope")))
    for path in (("build", "plugins", "plugin"), ("reporting", "plugins", "plugin")):
        for entry in part.all(*path):
            _dependency(entry, pom, entry.value("groupId") or _PLUGINS, development=True)
    for entry in part.all("build", "extensions", "extension"):
        _dependency(entry, pom, entry.value("groupId"), development=True)
    for entry in part.all("build", "plugins", "plugin", "dependencies", "dependency"):
        _dependency(entry, pom, entry.value("groupId"), development=True)


def _development(scope: str) -> bool | None:
    """None where no scope is given: a managed one may say."""
    return scope == "test" if scope else None


def _managed(entry: Element, pom: _Pom) -> None:
    group = entry.value("groupId")
    if entry.value("scope") == "import":
        coordinates = (group, entry.value("artifactId"), entry.value("version"))
        if all(map(is_fit, coordinates)):
            pom.refers.append(("bom", ":".join(coordinates)))
        else:
            pom.unread.append(unfit("an imported BOM", entry.line))
    else:
        _offer(entry, group, pom)


def _offer(entry: Element, group: str, pom: _Pom) -> None:
    name, version = f"{group}:{entry.value('artifactId')}", entry.value("version")
    if not is_fit(name) or (version and not is_fit(version) and "," not in version):
        pom.unread.append(unfit("a managed version", entry.line))
        return
    if version:
        # Variants of one artifact (classifiers, test-jar) have one version but by accident; the plain jar's is taken.
        if entry.value("type") or entry.value("classifier"):
            pom.offers.setdefault(f"managed:{name}", version)
        else:
            pom.offers[f"managed:{name}"] = version
    if scope := entry.value("scope"):
        pom.offers[f"managed:{name}#scope"] = scope


def _dependency(entry: Element, pom: _Pom, group: str, *, development: bool | None) -> None:
    name, version = f"{group}:{entry.value('artifactId')}", entry.value("version")
    if entry.twice() is not None:
        detail = "an element of a dependency stands twice"
        pom.unread.append(Unread(why=Why.MALFORMED, detail=detail, line=entry.line))
        return
    if not group or not entry.value("artifactId") or not is_fit(name):
        pom.unread.append(unfit("a dependency", entry.line))
        return
    source = Source.FOLDER if entry.value("scope") == "system" else Source.REGISTRY
    found = Dependency(ecosystem="Maven", name=name, direct=True, development=development, line=entry.line,
                       source=source)  # fmt: skip
    if "${" in version and not is_fit(version):
        pom.unread.append(unfit("a dependency", entry.line))
        return
    if not version or "${" in version or "${" in name:
        pom.open.append(replace(found, requirement=version or None))
        return
    exact, requirement = pinned(version)
    if exact is None and requirement is None:
        pom.unread.append(unfit("a dependency", entry.line))
        return
    pom.dependencies.append(replace(found, version=exact, requirement=requirement, development=bool(development)))


def _matches(path: str) -> bool:
    return path.rpartition("/")[2] == "pom.xml"


FORMATS: tuple[Format, ...] = (
    Format(name="pom.xml", ecosystem="Maven", revision=2, matches=_matches, parse=_parse),
)  # fmt: skip
