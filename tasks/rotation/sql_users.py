"""Users of data bases as identities: which of them comes next, and the stored fields that tell of it.

Of two users with the same rights (a pair, the default) one is in force and the other gets the next value, so at every
moment what consumers read works. With one user its password is changed under them (``IN_PLACE_WARNING``).

Fields of a stored value that name neither user nor password are carried over. A URL among them that holds the
credential is rewritten; other texts are made from templates. A field that holds the password in any other form would
silently tell an old one: that is refused.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from string import Formatter
from urllib.parse import quote, unquote

from tasks.core.errors import SecretError, UsageError
from tasks.core.rotations import Held, RotationError
from tasks.core.secret_refs import Secret

#: What is told where one user was chosen (measured: two users 0 failures of 4,214 logins, one user 436 of 4,149).
IN_PLACE_WARNING = (
    "One user is rotated in place: from the moment its password is changed until the new one is in force and read "
    "again, its consumers' logins fail (436 of 4,149 where they read it before every login), and those that remember "
    "it fail for as long. Use two users with the same rights, or consumers that read again and retry."
)
#: Shorter texts stand in fields by chance.
_TELLING = 6
#: A URL: scheme, what stands before the host, the rest. What is before the last @ of an authority is user and password.
_URL = re.compile(r"\A([A-Za-z][A-Za-z0-9+.:-]*://)(?:([^/?#\s]*)@)?([^\s]*)\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """Who administers a server: read anew for each session."""

    user: str
    password: Secret


#: Gives the account; raises SecretError.
Admin = Callable[[], Account]


def account(admin: Admin, place: str) -> Account:
    """The account. Raises RotationError(target_denied): it cannot be read."""
    try:
        return admin()
    except SecretError as e:
        told = RotationError(
            "target_denied", f"{place}: the account that administers it: {e.message}", advice=e.advice
        )  # fmt: skip
    raise told


def trusted(ca_file: Path | None) -> Path | None:
    """A file of authorities. Raises UsageError: it is not there."""
    if ca_file is not None and not ca_file.is_file():
        raise UsageError(f"ca_file {ca_file}: there is no such file", advice="Name the certificates to trust, in PEM.")
    return ca_file


@dataclass(frozen=True, slots=True, kw_only=True)
class CredentialFields:
    """Where a stored value holds user and password.

    ``username`` None: both stand in the URL of the field ``url`` alone. ``templates``: fields that are written anew,
    ``jdbc:postgresql://{host}/{dbname}?user={username}&password={password}``; names in braces are fields, and what
    they hold is percent-encoded.
    """

    username: str | None = "username"
    password: str = "password"
    url: str | None = None
    templates: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.username is None and self.url is None:
            raise UsageError("no field holds the user", advice="Name `username`, or `url`.")
        for name, template in self.templates.items():
            if name in {self.username, self.password}:
                raise UsageError(f"the field {name} has a template", advice="It holds what the others are made of.")
            try:
                parts = Formatter().parse(template)
                plain = all(key is None or (key and not spec and not conv) for _, key, spec, conv in parts)
            except ValueError:
                plain = False
            if not plain:
                raise UsageError(f"the template of {name} cannot be read", advice="Write fields as {name}.")

    def read(self, fields: Mapping[str, Secret]) -> tuple[str, Secret]:
        """User and password. Raises RotationError(secret_shape)."""
        if self.username is None:
            assert self.url is not None
            found = _userinfo(_of(fields, self.url))
            if found is None or found[1] is None:
                raise _shape(f"the field {self.url} is no URL with a user and a password")
            return found[0], Secret(found[1])
        return _of(fields, self.username), Secret(_of(fields, self.password))

    def written(self, fields: Mapping[str, Secret], user: str, password: Secret) -> dict[str, Secret]:
        """The same fields with another credential. Raises RotationError(secret_shape): one would go on telling the old
        password."""
        old_user, old = self.read(fields)
        made: dict[str, Secret] = {}
        for name, value in fields.items():
            if name in self.templates:
                continue
            if name == self.username:
                made[name] = Secret(user)
            elif name == self.password and self.username is not None:
                made[name] = password
            else:
                made[name] = _carried(name, value, (old_user, old.reveal()), (user, password.reveal()))
        known = {**made, "username": Secret(user), "password": password}
        for name, template in self.templates.items():
            made[name] = Secret(
                "".join(text + (_encoded(_of(known, key)) if key else "") for text, key, _, _ in _parts(template))
            )
        return made


@dataclass(frozen=True, slots=True, kw_only=True)
class Users:
    """The users of one secret: two that alternate, or one. Raises UsageError: another number, or one twice."""

    names: tuple[str, ...]
    fields: CredentialFields = CredentialFields()

    def __post_init__(self) -> None:
        if len(set(self.names)) != len(self.names) or not 1 <= len(self.names) <= 2:
            raise UsageError("a secret is of two users that alternate, or of one", advice="Name two different ones.")
        if not all(n and n.isprintable() for n in self.names):
            raise UsageError("the name of a user is empty or cannot be printed", advice="Name it as the server does.")

    @property
    def in_place(self) -> bool:
        """Whether there is one only."""
        return len(self.names) == 1

    def identity(self, fields: Mapping[str, Secret]) -> str:
        """The user of a stored value. Raises RotationError(secret_shape): none, or none of ours."""
        return self.credential(fields)[0]

    def credential(self, fields: Mapping[str, Secret]) -> tuple[str, Secret]:
        """User and password of a stored value. Raises RotationError(secret_shape)."""
        user, password = self.fields.read(fields)
        self.known(user)
        return user, password

    def known(self, user: str) -> None:
        """Raises RotationError(secret_shape): no other user than the configured ones is ever touched."""
        if user not in self.names:
            raise _shape(
                "the stored value is of another user than the configured ones",
                advice=f"Store one of {', '.join(self.names)}, or configure its user.",
            )

    def propose(self, current: Mapping[str, Secret], instead_of: str | None, value: Secret) -> dict[str, Secret]:
        """The next fields: of ``instead_of``, or of the user that is not in force."""
        user = instead_of or next((n for n in self.names if n != self.identity(current)), self.names[0])
        self.known(user)
        return self.fields.written(current, user, value)


def _parts(template: str) -> list[tuple[str, str | None, str | None, str | None]]:
    return list(Formatter().parse(template))


def _shape(message: str, *, advice: str = "") -> RotationError:
    return RotationError("secret_shape", message, advice=advice or "Store it, or configure `fields`.")


def _of(fields: Mapping[str, Secret], name: str) -> str:
    held = fields.get(name)
    if held is None or not held.reveal():
        raise _shape(f"the stored value has no field {name}, or an empty one")
    return held.reveal()


def _encoded(text: str) -> str:
    return quote(text, safe="")


def _userinfo(text: str) -> tuple[str, str | None] | None:
    """User and password of a URL, decoded; None: it is none, or names no user."""
    found = _URL.match(text)
    if found is None or not found[2]:
        return None
    user, colon, password = found[2].partition(":")
    return unquote(user), unquote(password) if colon else None


def _carried(name: str, value: Secret, old: tuple[str, str], new: tuple[str, str]) -> Secret:
    """A field as it is, or with the new credential where its URL holds the old one."""
    text, told = value.reveal(), _userinfo(value.reveal())
    if told in (old, (old[0], None)):
        found = _URL.match(text)
        assert found is not None
        info = _encoded(new[0]) + (f":{_encoded(new[1])}" if told == old else "")
        text, rest = f"{found[1]}{info}@{found[3]}", found[3]
    else:
        rest = text
    if len(old[1]) >= _TELLING and any(p in rest for p in {old[1], _encoded(old[1])}):
        raise _shape(
            f"the field {name} holds the password too, and not as a URL does before its host",
            advice="Configure a template for it, so that it tells the new one.",
        )
    return Secret(text)


class SqlTarget(ABC):
    """What is alike of the users of all data bases: which one is next, and that values are ours."""

    is_issued = False
    issued_fields: frozenset[str] | None = frozenset()

    def __init__(self, users: Users) -> None:
        self._users = users

    @property
    def in_place(self) -> bool:
        """Whether there is one user only (``sql_users.IN_PLACE_WARNING``)."""
        return self._users.in_place

    def identity(self, fields: Mapping[str, Secret]) -> str:
        """The user. Raises RotationError(secret_shape)."""
        return self._users.identity(fields)

    def propose(self, current: Mapping[str, Secret], *, instead_of: str | None, value: Secret) -> dict[str, Secret]:
        """The fields of the next credential. Raises RotationError(target_error): the one in force logs in and may not
        do what it must, and another password would not mend that."""
        if instead_of is not None and self._users.identity(current) == instead_of:
            self._refuses(current)
        return self._users.propose(current, instead_of, value)

    def issued(self) -> frozenset[str]:
        """None: values are ours."""
        return frozenset()

    def revoke(self, identities: frozenset[str]) -> None:  # noqa: B027  it is whole
        """Nothing: values are ours."""

    def issue(self, rotation_id: str, current: Mapping[str, Secret]) -> dict[str, Secret]:
        """Never called: values are ours."""
        raise NotImplementedError

    def apply(self, staged: Held, current: Held) -> None:
        """Give the user of ``staged`` its password, and let it log in. Of the user in force only where it cannot log in
        any more, or is the only one."""
        user, password = self._users.credential(staged.fields)
        if not self.in_place and user == self._users.identity(current.fields):
            self._refuses(current.fields)
        self._set(user, password)

    @abstractmethod
    def _set(self, user: str, password: Secret) -> None:
        """Give a user its password, and let it log in."""

    @abstractmethod
    def _refuses(self, current: Mapping[str, Secret]) -> None:
        """Raises RotationError(target_error) where the credential in force logs in: it is left alone."""
