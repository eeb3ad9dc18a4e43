"""Cookies open to others, and safe twins."""

from flask import Flask

app = Flask(__name__)
# ruleid: python-insecure-cookies-settings
SESSION_COOKIE_SECURE = False
# ruleid: python-insecure-cookies-settings
app.config["SESSION_COOKIE_HTTPONLY"] = False
# ok: python-insecure-cookies-settings
CSRF_COOKIE_SECURE = True
# ok: python-insecure-cookies-settings
LANGUAGE_COOKIE_SECURE = False


def answer(response, mark):
    # ruleid: python-insecure-cookies
    response.set_cookie("session_id", mark)
    # ruleid: python-insecure-cookies
    response.set_cookie("visits", "1", httponly=False)
    # ruleid: python-insecure-cookies
    response.set_cookie("auth_token", mark, httponly=True)
    # ok: python-insecure-cookies
    response.set_cookie("session_id", mark, secure=True, httponly=True, samesite="Lax")
    # ok: python-insecure-cookies
    response.set_cookie("language", "de")
    # ok: python-insecure-cookies
    response.set_cookie("session_id", "", max_age=0)
