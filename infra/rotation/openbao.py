"""OpenBao: started with its configuration, initialised and unsealed, and the secret that is rotated put into it.

``keys.json`` (mode 0600) holds the key shares, so that a server that was killed comes back by itself. **A real
installation does not keep them so**: each share is with another person, or a key service unseals (auto-unseal). The
root token is there until everything is set up, and is revoked then.
"""

from __future__ import annotations

import json
import shutil
import signal
import ssl
import time
import urllib.error
import urllib.request
from contextlib import suppress
from dataclasses import dataclass
from http.client import HTTPException
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

from infra.rotation import processes
from infra.rotation.state import HOST, State, is_taken, read_private, write_private
from tasks.core.errors import NightwardenError
from tasks.core.secret_refs import Secret
from tasks.rotation.passwords import POSTGRESQL

NAME = "openbao"
#: Ends it; it is sealed when it comes back.
STOP = signal.SIGTERM
#: Who rotates, and who only reads.
RUNNER, CLIENT = "nightwarden", "client"
MOUNT, SHOP, ROTATOR = "kv", "shop/db", "postgresql/rotator"
_SHARES, _THRESHOLD = 3, 2
_PATIENCE_S, _ANSWER_S, _PAUSE_S = 60.0, 30.0, 0.1
_NOT_FOUND, _DENIED = 404, 403
_HERE = f"{HOST}/32"
#: What stands in keys.json from before it is initialised until its shares are there.
_ASKED: dict[str, Any] = {"shares": []}


class RefusedError(NightwardenError):
    """OpenBao answered with a status that is no success. Its text is not repeated: it may quote what was sent."""

    def __init__(self, method: str, path: str, status: int) -> None:
        super().__init__(f"OpenBao answers {status} to {method} {path}")
        self.status = status


class AwayError(NightwardenError):
    """OpenBao does not answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class First:
    """The first passwords, which OpenBao knows before PostgreSQL does."""

    rotator: Secret
    shop_a: Secret


class Api:
    """Calls over TLS to a server that proves to be of our authority. Never by a proxy."""

    def __init__(self, address: str, ca_file: Path) -> None:
        self.address = address
        tls = urllib.request.HTTPSHandler(context=ssl.create_default_context(cafile=str(ca_file)))
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), tls)

    def call(self, method: str, path: str, body: Any = None, *, token: Secret | None = None) -> Any:
        """One call; its answer as JSON. Raises RefusedError, AwayError."""
        headers = {"X-Vault-Token": token.reveal()} if token is not None else {}
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.address}/v1/{path}", data, headers, method=method)
        status = 0
        try:
            with self._opener.open(request, timeout=_ANSWER_S) as answer:
                return json.loads(answer.read() or b"null")
        except urllib.error.HTTPError as e:
            status = e.code
            e.close()
        except (OSError, HTTPException, ValueError):
            pass
        if status:
            raise RefusedError(method, path, status)
        raise AwayError(f"OpenBao at {self.address} does not answer", advice="`make rotation-up` starts it.")

    def log_in(self, role_id: str, secret_id: Secret) -> Secret:
        """A token by AppRole. Raises as ``call``."""
        made = self.call("POST", "auth/approle/login", {"role_id": role_id, "secret_id": secret_id.reveal()})
        return Secret(made["auth"]["client_token"])


class OpenBao:
    """The server of a folder."""

    def __init__(self, state: State, program: Path) -> None:
        self._state, self._program = state, program

    @property
    def api(self) -> Api:
        """Calls to it."""
        known = self._state.make()
        return Api(f"https://{HOST}:{known.api}", self._state.ca)

    def start(self) -> bool:
        """Have it running and unsealed; whether it had to be started. Raises NightwardenError."""
        is_new = processes.runs(self._state, NAME) is None
        if is_new:
            self._begin()
        processes.wait(self._state, NAME, lambda: self._status() is not None)
        self._open()
        return is_new

    def _begin(self) -> None:
        known, folder = self._state.make(), self._state.openbao
        for port in (known.api, known.cluster):
            if is_taken(port):
                raise NightwardenError(
                    f"another program listens at port {port}, which is OpenBao's here",
                    advice="End it, or begin anew: `make rotation-down PURGE=1`.",
                )
        own = files("infra.rotation")
        (folder / "openbao.hcl").write_text(own.joinpath("openbao.hcl").read_text("utf-8"))
        where = Template(own.joinpath("listener.hcl").read_text("utf-8"))
        (folder / "listener.hcl").write_text(where.substitute(api=known.api, cluster=known.cluster))
        argv = [str(self._program), "server", "-config=openbao.hcl", "-config=listener.hcl"]
        processes.start(self._state, NAME, argv, user=None, cwd=folder)

    def _status(self) -> dict[str, Any] | None:
        with suppress(AwayError, RefusedError):
            status: dict[str, Any] = self.api.call("GET", "sys/seal-status")
            return status
        return None

    def _open(self) -> None:
        """Initialise it the first time, and unseal it."""
        kept, is_initialised = read_private(self._state.keys), self._is_initialised()
        if is_initialised and kept == _ASKED:
            # Whoever asked was killed before the answer was kept. Nobody has its shares, so nothing is in it.
            processes.end(self._state, NAME, STOP)
            shutil.rmtree(self._state.openbao / "raft")
            self._state.make()
            self._begin()
            processes.wait(self._state, NAME, lambda: self._status() is not None)
            is_initialised = self._is_initialised()
        if is_initialised is (kept in ({}, _ASKED)):
            what = "key shares are" if is_initialised else "data is"
            raise NightwardenError(f"OpenBao's {what} gone", advice="`make rotation-down PURGE=1`, and begin anew.")
        if not is_initialised:
            write_private(self._state.keys, json.dumps(_ASKED))
            made = self.api.call("PUT", "sys/init", {"secret_shares": _SHARES, "secret_threshold": _THRESHOLD})
            kept = {"shares": made["keys_base64"], "root_token": made["root_token"]}
            write_private(self._state.keys, json.dumps(kept, indent=1))
        for share in kept["shares"][:_THRESHOLD]:
            if (self._status() or {}).get("sealed"):
                self.api.call("PUT", "sys/unseal", {"key": share})
        until = time.monotonic() + _PATIENCE_S
        while not self._is_active():
            if time.monotonic() > until:
                raise NightwardenError("OpenBao stays sealed", advice=f"Its log is {self._state.log(NAME)}.")
            time.sleep(_PAUSE_S)

    def _is_initialised(self) -> bool:
        return bool(self.api.call("GET", "sys/seal-status")["initialized"])

    def _is_active(self) -> bool:
        """200: it is initialised, unsealed and leads."""
        with suppress(AwayError, RefusedError):
            self.api.call("GET", "sys/health")
            return True
        return False

    # -- what is in it --------------------------------------------------------------------------------------------

    def root(self) -> Secret | None:
        """The root token while there is one. Where it was revoked and not yet struck out, that is done."""
        kept = read_private(self._state.keys)
        if "root_token" not in kept:
            return None
        token = Secret(kept["root_token"])
        try:
            self.api.call("GET", "auth/token/lookup-self", token=token)
        except RefusedError as e:
            if e.status != _DENIED:
                raise
            self._strike_out()
            return None
        return token

    def prepare(self, root: Secret, database: int) -> First:
        """The mounts, the first values and the roles, as far as they are not there yet. Returns what PostgreSQL must
        accept."""
        api = self.api
        if f"{MOUNT}/" not in api.call("GET", "sys/mounts", token=root)["data"]:
            api.call("POST", f"sys/mounts/{MOUNT}", {"type": "kv", "options": {"version": "2"}}, token=root)
        if "approle/" not in api.call("GET", "sys/auth", token=root)["data"]:
            api.call("POST", "sys/auth/approle", {"type": "approle"}, token=root)
        rotator = self._first(root, ROTATOR, {"password": POSTGRESQL.fresh().reveal()})
        shop = {"username": "shop_a", "password": POSTGRESQL.fresh().reveal()}
        shop |= {"host": HOST, "port": str(database), "dbname": "shop"}
        return First(
            rotator=Secret(rotator["password"]), shop_a=Secret(self._first(root, SHOP, shop)["password"])
        )  # fmt: skip

    def role(self, root: Secret, name: str) -> str:
        """An AppRole with the policy of its name, for this machine only; its role id. Its secret id is in a file, and
        does not end, so that this can be looked at again later: a real one ends (``secret_id_ttl``)."""
        api, file = self.api, self._state.secret_id(name)
        told = {
            "token_policies": [name], "token_no_default_policy": True, "token_ttl": "10m", "token_max_ttl": "1h",
            "token_bound_cidrs": [_HERE], "secret_id_bound_cidrs": [_HERE],
        }  # fmt: skip
        api.call("POST", f"auth/approle/role/{name}", told, token=root)
        if not file.exists():
            made = api.call("POST", f"auth/approle/role/{name}/secret-id", {}, token=root)
            write_private(file, made["data"]["secret_id"])
        return str(api.call("GET", f"auth/approle/role/{name}/role-id", token=root)["data"]["role_id"])

    def allow(self, root: Secret, name: str, policy: str) -> None:
        """Write a policy."""
        self.api.call("PUT", f"sys/policies/acl/{name}", {"policy": policy}, token=root)

    def finish(self, root: Secret) -> None:
        """Revoke the root token: from now on each call is one of a role."""
        self.api.call("POST", "auth/token/revoke-self", token=root)
        self._strike_out()

    def _first(self, root: Secret, path: str, fields: dict[str, str]) -> dict[str, str]:
        """What lies at a path; ``fields`` are put there where nothing does."""
        until = time.monotonic() + _PATIENCE_S
        while True:
            try:
                with suppress(RefusedError):
                    held: dict[str, str] = self.api.call("GET", f"{MOUNT}/data/{path}", token=root)["data"]["data"]
                    return held
                self.api.call("POST", f"{MOUNT}/data/{path}", {"data": fields, "options": {"cas": 0}}, token=root)
            except RefusedError:
                # A mount of version 2 is made ready after it was made.
                if time.monotonic() > until:
                    raise
                time.sleep(_PAUSE_S)

    def _strike_out(self) -> None:
        kept = read_private(self._state.keys)
        write_private(self._state.keys, json.dumps({"shares": kept["shares"]}, indent=1))
