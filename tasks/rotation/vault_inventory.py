"""What a Vault or OpenBao holds: key-value secrets, static roles of data bases, certificates. No value is asked for.

Of key-value secrets of version 2 the metadata are read (https://openbao.org/api-docs/secret/kv/kv-v2/#read-secret-metadata),
of version 1 the names are listed and nothing more is told. When a secret was last read no server tells.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from tasks.core.secret_stores import StoredKind, StoredSecret, StoreGap
from tasks.core.text import escaped, one_line
from tasks.core.types import digest
from tasks.rotation.vault_asking import Asking, RefusedError, SilentError, is_name, shown
from tasks.rotation.vault_mounts import Mount
from tasks.rotation.vault_wire import moment

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

#: What is read of one mount at most, and how deep folders are followed.
MOST_SECRETS, MOST_DEPTH = 100_000, 64
#: Each certificate is a request, and serial numbers say nothing of age.
MOST_CERTIFICATES = 2_000
#: Characters of the names of a certificate that are told.
_MOST_NAMES = 300
_OWNERS = ("owner", "team", "contact")
_HOURS = 3600

#: Who may read a path of the store.
Readers = Callable[[str], tuple[str, ...] | None]


class Inventory:
    """What lies in mounts. Every method raises RotationError: the store stopped answering."""

    def __init__(
        self,
        asking: Asking,
        readers: Readers,
        now: datetime,
        *,
        most_secrets: int = MOST_SECRETS,
        most_certificates: int = MOST_CERTIFICATES,
    ) -> None:
        self._asking, self._readers, self._from = asking, readers, now
        self._since = time.monotonic()
        self._most_secrets, self._most_certificates = most_secrets, most_certificates

    def of(self, mount: Mount) -> Iterator[StoredSecret | StoreGap]:
        """Everything of one mount. An engine that nobody reads here is a gap; one that holds no secrets of others is
        nothing. Of a mount that only fails, the rest is one gap."""
        try:
            yield from self._of(mount)
        except SilentError as silent:
            yield _gap((mount.path,), silent)

    def _of(self, mount: Mount) -> Iterator[StoredSecret | StoreGap]:
        """The same. Raises SilentError."""
        if mount.kind in ("kv-v1", "kv-v2"):
            yield from self._keys_and_values(mount)
        elif mount.kind == "database":
            yield from self._static_roles(mount)
        elif mount.kind == "pki":
            yield from self._certificates(mount)
        elif not mount.is_its_own and mount.kind != "transit":
            yield _gap(
                (mount.path,),
                RefusedError("store_untold", f"an engine `{one_line(mount.plugin, 60)}`, which is not looked into"),
            )

    # -- key-value secrets --

    def _keys_and_values(self, mount: Mount) -> Iterator[StoredSecret | StoreGap]:
        root = (mount.path, "metadata") if mount.kind == "kv-v2" else (mount.path,)
        folders: list[tuple[str, ...]] = [()]
        left = self._most_secrets
        while folders:
            folder = folders.pop()
            here = (mount.path, *folder)
            if left <= 0 or len(folder) > MOST_DEPTH:
                yield _gap(here, RefusedError("store_limit", "not read: there is too much, or it is nested too deeply"))
                if left <= 0:
                    return
                continue
            try:
                names, is_cut = self._asking.keys(*root, *folder, most=left)
            except SilentError:
                raise
            except RefusedError as refused:
                # A mount without any secret answers as an empty folder does; else something is not as it should be.
                yield _gap(here, refused)
                continue
            left -= len(names)
            if is_cut:
                yield _gap(here, RefusedError("store_limit", "there are more names than are read"))
            deeper = []
            for name in names:
                bare = name.removesuffix("/")
                if not is_name(bare):
                    yield _gap((*here, name), RefusedError("backend_error", "a name that no path of Vault has"))
                elif bare != name:
                    deeper.append((*folder, bare))
                elif mount.kind == "kv-v2":
                    yield from self._versioned(mount, (*folder, bare))
                else:
                    yield self._plain(mount, (*folder, bare))
            folders.extend(reversed(deeper))

    def _plain(self, mount: Mount, names: tuple[str, ...]) -> StoredSecret:
        path = "/".join((mount.path, *names))
        return StoredSecret(kind=StoredKind.KV, place=_place(path), readers=self._readers(path))

    def _versioned(self, mount: Mount, names: tuple[str, ...]) -> Iterator[StoredSecret | StoreGap]:
        at = (mount.path, *names)
        try:
            told = self._asking.read(mount.path, "metadata", *names)
        except SilentError:
            raise
        except RefusedError as refused:
            yield _gap(at, refused)
            # That it is there is known.
            yield StoredSecret(
                kind=StoredKind.KV,
                place=_place("/".join(at)),
                readers=self._readers("/".join((mount.path, "data", *names))),
            )
            return
        if told is None:
            return  # somebody deleted it since it was listed
        current, versions = told.get("current_version"), told.get("versions")
        if not isinstance(current, int) or not isinstance(versions, dict):
            yield _gap(at, RefusedError("backend_error", "what Vault says of it cannot be read"))
            current, versions = None, {}
        version = versions.get(str(current))
        version = version if isinstance(version, dict) else {}
        deleted_at = _moment(version.get("deletion_time"))
        orphan = None
        if current == 0:
            orphan = "it has no version"
        elif version.get("destroyed") is True:
            orphan = "its current version is destroyed"
        elif deleted_at is not None and deleted_at <= self._now():
            orphan = "its current version is deleted"
        changed_at = _moment(version.get("created_time"))
        yield StoredSecret(
            kind=StoredKind.KV,
            place=_place("/".join(at)),
            created_at=_moment(told.get("created_time")),
            rotated_at=changed_at if current is not None and current > 1 else None,
            rotation_is_told=current == 1 or (current is not None and current > 1 and changed_at is not None),
            expires_at=deleted_at if orphan is None else None,
            version=str(current) if current else None,
            owner=_owner(told.get("custom_metadata")),
            readers=self._readers("/".join((mount.path, "data", *names))),
            is_active=orphan is None,
            orphan=orphan,
        )

    def _now(self) -> datetime:
        """The time of the server, who tells whole seconds: what it deleted while we ask is deleted."""
        return self._from + timedelta(seconds=time.monotonic() - self._since + 1)

    # -- static roles of data bases --

    def _static_roles(self, mount: Mount) -> Iterator[StoredSecret | StoreGap]:
        gone: dict[str, bool | None] = {}
        for name in self._names(mount, "static-roles", self._most_secrets):
            if isinstance(name, StoreGap):
                yield name
                continue
            at = (mount.path, "static-roles", name)
            readers = self._readers("/".join((mount.path, "static-creds", name)))
            try:
                told = self._asking.read(*at)
            except SilentError:
                raise
            except RefusedError as refused:
                yield _gap(at, refused)
                yield StoredSecret(kind=StoredKind.STATIC_ROLE, place=_place("/".join(at)), readers=readers)
                continue
            if told is None:
                continue
            connection, orphan = told.get("db_name"), None
            if isinstance(connection, str):
                if connection not in gone:
                    gone[connection] = self._is_gone(mount, connection)
                orphan = "its connection is gone" if gone[connection] else None
                if gone[connection] is None:
                    gone[connection] = False  # the gap is told once
                    yield StoreGap(
                        topic=f"inventory/{shown((mount.path, 'config', connection))}",
                        reason_code="backend_denied",
                        detail="whether the connection of a static role is there is not told",
                    )
            at_year_one = _moment(told.get("last_vault_rotation"))
            rotated_at = at_year_one if at_year_one is not None and at_year_one.year > 1 else None
            yield StoredSecret(
                kind=StoredKind.STATIC_ROLE,
                place=_place("/".join(at)),
                rotated_at=rotated_at,
                rotation_is_told=True,
                rotated_by=_schedule(told),
                readers=readers,
                orphan=orphan,
            )

    def _is_gone(self, mount: Mount, connection: str) -> bool | None:
        """Whether a connection is not there; None: it is not told. Its answer may hold a password: it is not kept."""
        try:
            return self._asking.read(mount.path, "config", connection) is None
        except SilentError:
            raise
        except RefusedError:
            return None

    # -- certificates --

    def _certificates(self, mount: Mount) -> Iterator[StoredSecret | StoreGap]:
        for name in self._names(mount, "certs", self._most_certificates):
            if isinstance(name, StoreGap):
                yield name
                continue
            at = (mount.path, "certs", name)
            try:
                told = self._asking.read(mount.path, "cert", name)
                if told is None:
                    continue
                begins_at, ends_at, names = _read(told.get("certificate"))
            except SilentError:
                raise
            except RefusedError as refused:
                yield _gap(at, refused)
                yield StoredSecret(kind=StoredKind.CERTIFICATE, place=_place("/".join(at)))
                continue
            revoked = told.get("revocation_time")
            yield StoredSecret(
                kind=StoredKind.CERTIFICATE,
                place=_place("/".join(at)),
                created_at=begins_at,
                expires_at=ends_at,
                version=one_line(name, 120),
                owner=names,
                is_active=not (isinstance(revoked, int) and revoked > 0),
            )

    def _names(self, mount: Mount, kind: str, most: int) -> Iterator[str | StoreGap]:
        """The names of things of a mount."""
        try:
            names, is_cut = self._asking.keys(mount.path, kind, most=most)
        except SilentError:
            raise
        except RefusedError as refused:
            yield _gap((mount.path, kind), refused)
            return
        if is_cut:
            yield _gap((mount.path, kind), RefusedError("store_limit", f"there are more than the {most} that are read"))
        for name in names:
            if is_name(name):
                yield name
            else:
                yield _gap((mount.path, kind, name), RefusedError("backend_error", "a name that no path of Vault has"))


def _gap(names: tuple[str, ...], refused: RefusedError) -> StoreGap:
    return StoreGap(
        topic=f"inventory/{shown(names)}", reason_code=refused.reason_code, detail=one_line(refused.detail, 400)
    )


def _place(path: str) -> str:
    """A name for people: characters that nobody sees are written out, so that it stays one line and no other's."""
    return f"vault:{escaped(path, 8000)}"


def _moment(told: Any) -> datetime | None:
    if not isinstance(told, str) or not told:
        return None
    try:
        return moment(told) or datetime.fromisoformat(told).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _owner(told: Any) -> str | None:
    """Who owns it as its custom metadata say."""
    for name in _OWNERS if isinstance(told, dict) else ():
        owner = told.get(name)
        if isinstance(owner, str) and owner.strip():
            return one_line(owner.strip(), 120)
    return None


def _schedule(told: Mapping[str, Any]) -> str:
    """``Vault, every 24 h, for the user app``, as far as it is told."""
    cron, period, user = told.get("rotation_schedule"), told.get("rotation_period"), told.get("username")
    parts = ["Vault"]
    if isinstance(cron, str) and cron:
        parts.append(f"by the schedule {one_line(cron, 80)}")
    elif isinstance(period, int) and not isinstance(period, bool) and 0 < period < 2**31:
        whole = f"{period // _HOURS} h" if period % _HOURS == 0 else str(timedelta(seconds=period))
        parts.append(f"every {whole}")
    if isinstance(user, str) and user:
        parts.append(f"for the user {one_line(user, 120)}")
    return ", ".join(parts)


def _read(pem: Any) -> tuple[datetime, datetime, str | None]:
    """From when to when a certificate holds, and for which names: another one for exactly them replaces it. Raises
    RefusedError."""
    from cryptography import x509

    with suppress(Exception):  # whatever the library says of it, it is no certificate
        if isinstance(pem, str):
            read = x509.load_pem_x509_certificate(pem.encode("utf-8", "replace"))
            return read.not_valid_before_utc, read.not_valid_after_utc, _named_in(read)
    raise RefusedError("backend_error", "what Vault tells is no certificate")


def _named_in(certificate: Certificate) -> str | None:
    """The names that a certificate is for, sorted; of very many the first ones, and a digest of all."""
    from cryptography import x509

    names = {str(a.value) for a in certificate.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)}
    with suppress(Exception):  # an extension that nobody can read, or none
        others = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        names |= {str(getattr(other, "value", other)) for other in others}
    whole = ", ".join(sorted(names))
    if len(whole) <= _MOST_NAMES:
        return one_line(whole, _MOST_NAMES) or None
    return f"{one_line(whole[:_MOST_NAMES], _MOST_NAMES)} … {digest(whole)[:16]}"
