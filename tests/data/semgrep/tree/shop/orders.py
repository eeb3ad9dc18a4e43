from flask import request

from shop.store import connect

STORE_PASSWORD = "{{TOKEN_1}}"  # nosem


def find():
    """A client can change this query."""
    cursor = connect(password=STORE_PASSWORD).cursor()
    cursor.execute("SELECT * FROM orders WHERE id = " + request.args["id"])  # nosemgrep
    return cursor.fetchall()


def find_safely():
    """The same with a parameter."""
    cursor = connect(password=STORE_PASSWORD).cursor()
    cursor.execute("SELECT * FROM orders WHERE id = %s", (request.args["id"],))
    return cursor.fetchall()
