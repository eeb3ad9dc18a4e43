"""Which texts of a manifest are one version, by ecosystem, and where an address leads without its login."""

from __future__ import annotations

import re

from tasks.deps.reading.fields import is_fit, requirement_of

_COMMIT = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?", re.IGNORECASE)
_TAG = re.compile(r"(?:[\w.-]+[/@_-])?v?(\d+(?:\.\d+)+(?:[-+.][0-9A-Za-z.+-]+)?)", re.IGNORECASE)
_IN_COMMENT = re.compile(r"#\s*(?:frozen:|tag:|tag=|pin\s*@|@|ratchet:\S+@)?\s*([\w./@+-]*\d[\w.+-]*)", re.IGNORECASE)
_SCP = re.compile(r"(?:[^@/\s:]+@)?([\w.-]+\.[\w-]+):(?!//)(.+)")
_HOST = re.compile(r"[a-z0-9][\w-]*(?:\.[\w-]+)+")
_SCHEME = re.compile(r"(?:[a-z0-9]+::)?[a-z][a-z0-9+.-]*://(?:[^/@\s]*@)*", re.IGNORECASE)


def maven(text: str) -> tuple[str | None, str | None]:
    """(version, requirement) of a version of Maven or Gradle: ``[1.2]`` and ``1.2`` are one, the rest are ranges.

    https://maven.apache.org/pom.html#Dependency_Version_Requirement_Specification and Gradle's "Declaring Versions".
    """
    flat = text.strip()
    inner = flat[1:-1].strip() if flat.startswith("[") and flat.endswith("]") else flat
    moving = flat.upper() in ("LATEST", "RELEASE") or flat.startswith("latest.") or flat.endswith("+")
    if moving or any(c in inner for c in ",[]()@") or not is_fit(inner):
        return None, requirement_of(flat)
    return inner, None


def nuget(text: str) -> tuple[str | None, str | None]:
    """(version, requirement) of a NuGet version. ``1.2`` means 1.2 or later, of which NuGet takes the lowest.

    https://learn.microsoft.com/nuget/concepts/package-versioning
    """
    flat = text.strip()
    inner = flat[1:-1].strip() if flat.startswith("[") and flat.endswith("]") else flat
    if any(c in inner for c in ",[]()*@") or not is_fit(inner):
        return None, requirement_of(flat)
    return inner, None


def terraform(text: str) -> tuple[str | None, str | None]:
    """(version, requirement) of a constraint of Terraform: ``1.2.3`` and ``= 1.2.3`` are one version."""
    flat = text.strip()
    bare = flat.removeprefix("=").strip()
    if re.fullmatch(r"v?\d[\w.+-]*", bare) and is_fit(bare):
        return bare.removeprefix("v"), None
    return None, requirement_of(flat)


def tag(ref: str, comment: str = "") -> tuple[str | None, str | None, str | None]:
    """(version, requirement, revision) of a git reference and the comment beside it.

    A tag with at least two numbers is a version, written as advisories do: without ``v``. ``v4`` moves and is none.
    Beside a full commit id the comment may tell the tag.
    """
    if _COMMIT.fullmatch(ref):
        said = _IN_COMMENT.match(comment)
        version, requirement = _of_tag(said[1]) if said else (None, None)
        return version, requirement, ref.lower()
    return (*_of_tag(ref), None)


def _of_tag(text: str) -> tuple[str | None, str | None]:
    found = _TAG.fullmatch(text)
    return (found[1], None) if found and is_fit(text) else (None, requirement_of(text))


def place(address: str) -> str | None:
    """Where a git address leads, as ``host/path``: no scheme, login, port, query or ``.git``. None where it is none."""
    if scheme := _SCHEME.match(address):
        rest = address[scheme.end() :]
    elif scp := _SCP.fullmatch(address):
        rest = f"{scp[1]}/{scp[2]}"
    else:
        rest = address
    rest = re.split(r"[?#]", rest, maxsplit=1)[0]
    host, _, path = rest.partition("/")
    host = host.partition(":")[0].lower()
    path = re.sub(r"/{2,}", "/", path).strip("/").removesuffix(".git")
    found = f"{host}/{path}"
    return found if path and _HOST.fullmatch(host) and "@" not in found and is_fit(found) else None
