"""A role of a PKI mount of Vault or OpenBao as the issuer of certificates (``tasks.core.issuers``).

Which certificates of a role were issued for which secret the mount does not keep, so none is listed.
https://openbao.org/api-docs/secret/pki/#generate-certificate-and-key.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from urllib.parse import quote

from tasks.core.issuers import Issued, address, is_host
from tasks.core.rotations import RotationError
from tasks.core.secret_refs import Secret
from tasks.rotation.vault_session import VaultSession
from tasks.rotation.vault_static_roles import RolePlace
from tasks.rotation.vault_wire import Answer, fault

_OK, _NO_CONTENT, _REFUSED, _NOT_FOUND = 200, 204, 400, 404
#: What an issuer does is what a target does.
_AS_TARGET = {
    "backend_denied": "target_denied",
    "backend_unreachable": "target_unreachable",
    "backend_limited": "target_unreachable",
    "backend_sealed": "target_unreachable",
    "backend_error": "target_error",
}


class VaultIssuer:
    """``tasks.core.issuers.Issuer`` over one role. A role with ``no_store`` has nothing to revoke."""

    def __init__(self, session: VaultSession, place: RolePlace) -> None:
        self._session, self._at = session, place

    def issue(self, common_name: str, alt_names: tuple[str, ...], ttl: timedelta) -> Issued:
        """A new certificate. A role may shorten its time; who asked looks at what it got."""
        names: dict[str, list[str]] = {"alt_names": [], "ip_sans": [], "uri_sans": []}
        for name in (*((common_name,) if is_host(common_name) else ()), *alt_names):
            kind = "ip_sans" if address(name) is not None else "uri_sans" if "://" in name else "alt_names"
            if name not in names[kind] and not (kind == "alt_names" and name == common_name):  # that one is put there
                names[kind].append(name)
        body = {"common_name": common_name, "ttl": f"{int(ttl.total_seconds())}s"}
        body |= {kind: ",".join(some) for kind, some in names.items() if some}
        told = self._ask("post", self._at.url("issue"), body=body).data
        chain = told.get("ca_chain") or [told.get("issuing_ca")]
        texts = (told.get("certificate"), told.get("private_key"), *(chain if isinstance(chain, list) else [None]))
        if not all(isinstance(text, str) and text for text in texts):
            raise RotationError("target_error", f"{self._at}: what Vault issued is no certificate with key and chain")
        certificate, key, *above = map(str, texts)
        return Issued(certificate=certificate, private_key=Secret(key), ca_chain="\n".join(above))

    def issued(self) -> frozenset[str]:
        """None: those of a role may be anybody's."""
        return frozenset()

    def revoke(self, serial: str) -> None:
        """Revoke a certificate."""
        path = f"{quote(self._at.mount)}/revoke"
        answer = self._ask(
            "post", path, body={"serial_number": _with_colons(serial)}, accepts=(_OK, _NO_CONTENT, _REFUSED)
        )
        if answer.status == _REFUSED and not (answer.says("not found") or answer.says("expired")):
            raise _as_target(fault(answer, path))

    def is_revoked(self, serial: str) -> bool | None:
        """Whether it was revoked; None: the mount does not know it."""
        path = f"{quote(self._at.mount)}/cert/{_with_colons(serial)}"
        told = self._ask("get", path, accepts=(_OK, _NOT_FOUND)).data.get("revocation_time")
        return told > 0 if isinstance(told, int) else None

    def _ask(self, method: str, path: str, **more: Any) -> Answer:
        try:
            return self._session.ask(method, path, **more)
        except RotationError as e:
            error = _as_target(e)
        raise error


def _as_target(e: RotationError) -> RotationError:
    reason = _AS_TARGET.get(e.reason_code, e.reason_code)
    return RotationError(reason, e.message, advice=e.advice, is_passing=e.is_passing)


def _with_colons(serial: str) -> str:
    """A serial number as Vault writes it."""
    return ":".join(serial[n : n + 2] for n in range(0, len(serial), 2))
