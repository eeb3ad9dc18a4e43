"""The kinds of values that ``org.yaml`` holds, as pydantic checks them: places, patterns, addresses, references."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated, NoReturn
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, PlainValidator, ValidationInfo, WithJsonSchema
from pydantic_core import PydanticCustomError

from tasks.core.errors import UsageError
from tasks.core.literal_secrets import address_fault
from tasks.core.secret_refs import SecretRef, parse_ref

#: pydantic's word for a fault of ours: its context holds ``what`` and ``remedy``.
TOLD = "told"
#: @user, @org/team, @group/sub/team, @@role of GitLab, an address.
_HANDLE = (
    r"^(@{1,2}[A-Za-z0-9_][A-Za-z0-9_.-]*(/[A-Za-z0-9_][A-Za-z0-9_.-]*)*|[^@\s<>():/]+@[A-Za-z0-9][A-Za-z0-9.-]*)$"
)
_LONGEST_HANDLE = 255
NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$"


def tell(what: str, remedy: str) -> NoReturn:
    """Refuse a value, in words that do not quote it."""
    # Words are handed over as context, for a template gives braces a meaning.
    raise PydanticCustomError(TOLD, "{what}", {"what": what, "remedy": remedy})


def _folder(info: ValidationInfo) -> Path:
    context = info.context
    return Path(context["folder"]) if isinstance(context, dict) else Path.cwd()


def absolute_path(value: Path, info: ValidationInfo) -> Path:
    """A path counted from the folder of the file that names it; a link stays one."""
    try:
        return Path(os.path.abspath(_folder(info) / value.expanduser()))  # noqa: PTH100 — a link is kept as it is
    except RuntimeError:
        tell("there is no such user", "Write ~/ for your own home, or the whole path.")


def _resolved(value: Path, info: ValidationInfo) -> Path:
    return absolute_path(value, info).resolve()


def _lake(value: object, info: ValidationInfo) -> Path | str:
    if isinstance(value, str) and "://" in value:
        parts = urlsplit(value)
        if parts.scheme != "s3" or not parts.netloc or "@" in parts.netloc or parts.query or parts.fragment:
            tell("it is no folder and no s3://BUCKET/PREFIX", "Write a path, or s3://bucket/prefix.")
        return value.rstrip("/")
    if not isinstance(value, str | Path) or not str(value):
        tell("it is no folder and no s3://BUCKET/PREFIX", "Write a path, or s3://bucket/prefix.")
    return _resolved(Path(value), info)


def _reference(value: object, info: ValidationInfo) -> SecretRef:
    if isinstance(value, SecretRef):
        return value
    if not isinstance(value, str):
        tell("a reference to a secret is text", "Write env:NAME, file:PATH, vault:PATH#KEY or aws-sm:ID#KEY.")
    try:
        ref = parse_ref(value)
    except UsageError as e:
        tell(e.message, e.advice)
    if ref.scheme == "file":
        return SecretRef(scheme="file", place=str(absolute_path(Path(ref.place), info)))
    return ref


def _plain_reference(value: object, info: ValidationInfo) -> SecretRef:
    ref = _reference(value, info)
    if ref.scheme not in ("env", "file"):
        tell("what signs in to Vault cannot lie in a store of secrets", "Write env:NAME or file:PATH.")
    return ref


def _pattern(value: str) -> str:
    if not value or value != value.strip() or any(c.isspace() for c in value):
        tell("a pattern is empty or holds a space", "Write it as in shop/*; it is matched against the whole name.")
    if value.startswith("/"):
        tell("no name begins with a slash, so the pattern matches nothing", "Write it without, as in shop/*.")
    rest = value
    while "[" in rest:
        rest = rest.partition("[")[2]
        # A bracket right after the opening one, or its `!`, is a member of the set.
        end = rest.find("]", 2 if rest.startswith("!") else 1)
        if end < 0:
            tell("a [ of the pattern is never closed", "Close it, as in [ab]*; write [[] for the character itself.")
        rest = rest[end + 1 :]
    return value


def _ref_pattern(value: str) -> str:
    _pattern(value)
    if value.startswith("-") or ".." in value or value.endswith((".lock", "/")) or set(value) & set("~^:\\"):
        tell("no branch or tag can match this", "Write it as in release/* or refs/tags/v*.")
    if value.startswith("refs/") and not value.startswith(("refs/heads/", "refs/tags/")):
        tell("only branches and tags are watched", "Write refs/heads/… or refs/tags/…")
    return value


def _handle(value: str) -> str:
    if not re.fullmatch(_HANDLE, value) or len(value) > _LONGEST_HANDLE:
        tell("it is nobody whom CODEOWNERS can name", "Write @user, @org/team or an address, as jane@example.org.")
    return value


def web_address(value: str) -> str:
    """An address of http or https that holds no login and no query."""
    try:
        parts = urlsplit(value)
        well = parts.scheme in ("https", "http") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        well = False
    if "?" in value or "#" in value:
        tell("the address has a query or a fragment", "Write scheme, host and path alone; references name secrets.")
    if not well or "@" in parts.netloc or any(c.isspace() for c in value):
        tell("it is no web address", "Write https://HOST, or as the service's documentation gives it.")
    return value.rstrip("/")


def git_address_fault(value: str) -> tuple[str, str] | None:
    """Why git is not asked for an address, and the remedy; None if it is."""
    scheme, colon, rest = value.partition("://")
    if colon and scheme in ("https", "http", "file") and rest and not any(c.isspace() for c in value):
        return address_fault(value)
    if (colon and scheme in ("ssh", "git", "git+ssh")) or (not colon and "@" in value and ":" in value):
        return (
            "repositories are not fetched over ssh or git://",
            "Write its https address, with `token:` if it needs one, or patrol a local mirror.",
        )
    return "it is no git address", "Write https://, http:// or file:// and the rest; a folder is a `path`."


_REFERENCE = r"^(env:[A-Za-z_][A-Za-z0-9_]*|file:.+|vault:.+#.+|aws-sm:.+)$"

Folder = Annotated[Path, AfterValidator(_resolved)]
Program = Annotated[Path, AfterValidator(absolute_path)]
Lake = Annotated[
    Path | str,
    PlainValidator(_lake),
    WithJsonSchema({"type": "string", "minLength": 1, "description": "A folder, or s3://BUCKET/PREFIX."}),
]
Reference = Annotated[SecretRef, PlainValidator(_reference), WithJsonSchema({"type": "string", "pattern": _REFERENCE})]
PlainReference = Annotated[
    SecretRef, PlainValidator(_plain_reference), WithJsonSchema({"type": "string", "pattern": "^(env|file):.+$"})
]
Pattern = Annotated[str, AfterValidator(_pattern)]
RefPattern = Annotated[str, AfterValidator(_ref_pattern)]
WebAddress = Annotated[str, AfterValidator(web_address)]
#: A name as forges and clouds write them: nothing that would be an option, a path upwards or an address.
Account = Annotated[
    str, Field(pattern=r"^[A-Za-z0-9_.][A-Za-z0-9_.-]*(/[A-Za-z0-9_.][A-Za-z0-9_.-]*)*$", max_length=255)
]
Word = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9 ._/@:-]{0,98}$")]
Name = Annotated[str, Field(pattern=NAME_PATTERN)]
#: Whom CODEOWNERS may name.
Handle = Annotated[str, AfterValidator(_handle), WithJsonSchema({"type": "string", "pattern": _HANDLE})]
