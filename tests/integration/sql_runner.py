"""A runner in a process of its own that stops between its last check and the change: ``python -m … KIND PORT``.

Reads a line of JSON: the users, the fields that are staged and those in force. It then takes the lock, says so by a
line, waits for a line, and lets the target accept the staged value, or refuse the user ``retire``. Its last line is
the reason of a failure, or done.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from tasks.core.rotations import Held, RotationError
from tasks.core.secret_refs import Secret
from tasks.rotation.mysql import MySql, MySqlSettings
from tasks.rotation.mysql_login import MySqlServer
from tasks.rotation.postgresql import PostgreSql, PostgreSqlSettings
from tasks.rotation.postgresql_login import PostgreSqlServer
from tasks.rotation.sql_users import Account, Users


def target(kind: str, port: int, told: dict[str, Any]) -> PostgreSql | MySql:
    """The target of a test's server."""
    users = Users(names=tuple(told["users"]))

    def admin() -> Account:
        return Account(user=told["admin"], password=Secret(told["password"]))

    if kind == "postgresql":
        server = PostgreSqlServer(host="127.0.0.1", port=port, sslmode="disable")
        return PostgreSql(PostgreSqlSettings(server=server, users=users, admin=admin, dbname="shop"))
    return MySql(MySqlSettings(server=MySqlServer(host="127.0.0.1", port=port, tls=False), users=users, admin=admin))


def held(fields: dict[str, str]) -> Held:
    """A stored value."""
    return Held(fields={k: Secret(v) for k, v in fields.items()}, version="1", mark=None)


if __name__ == "__main__":
    asked = json.loads(sys.stdin.readline())
    runner = target(sys.argv[1], int(sys.argv[2]), asked)
    try:
        with runner.exclusive():
            print("alone", flush=True)
            sys.stdin.readline()
            if "retire" in asked:
                runner.retire(asked["retire"], in_force=asked["current"]["username"])
            else:
                runner.apply(held(asked["staged"]), held(asked["current"]))
        print("done", flush=True)
    except RotationError as e:
        print(e.reason_code, e.is_passing, flush=True)
