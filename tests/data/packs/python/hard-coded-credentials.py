"""Credentials in the source, and safe twins."""

import os

import jwt
import psycopg2
from flask import Flask

app = Flask(__name__)
# ruleid: python-hard-coded-credentials
DB_PASSWORD = "blue-harbour-lamp"
# ruleid: python-hard-coded-credentials
app.secret_key = "seven-quiet-geese"
# ruleid: python-hard-coded-credentials
app.config["SECRET_KEY"] = "seven-quiet-geese"
# ok: python-hard-coded-credentials
api_key = os.environ["API_KEY"]
# ok: python-hard-coded-credentials
password = ""
# ok: python-hard-coded-credentials
PASSWORD = "change-me-before-use"
# ok: python-hard-coded-credentials
secret_hint = "the name of your first street"
# ok: python-hard-coded-credentials
password_field = "new_password"


def use(payload):
    # ruleid: python-hard-coded-credentials-argument
    one = psycopg2.connect(host="db", user="app", password="blue-harbour-lamp")
    # ruleid: python-hard-coded-credentials-argument
    two = jwt.encode(payload, "seven-quiet-geese", algorithm="HS256")
    # ok: python-hard-coded-credentials-argument
    three = psycopg2.connect(host="db", user="app", password=os.environ["DB_WORD"])
    # ok: python-hard-coded-credentials-argument
    four = jwt.encode(payload, app.secret_key, algorithm="HS256")
    return one, two, three, four
