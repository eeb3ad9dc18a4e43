"""Accounts; the passwords here are nobody's."""

import hashlib

ADMIN_PASSWORD = "{{TOKEN_1}}"


def stored_form(password):
    return hashlib.md5(password.encode()).hexdigest()


def log_in(name, password="{{TOKEN_2}}"):
    if password == "{{TOKEN_3}}":
        return True
    return connect(user=name, password="{{TOKEN_4}}")


def connect(user, password):
    return (user, password)
