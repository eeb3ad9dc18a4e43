"""Statements built from input, and their safe twins."""

from django.db import models
from fastapi import FastAPI
from flask import Flask, request
from psycopg2 import sql
from sqlalchemy import select, text

app = Flask(__name__)
api = FastAPI()
SORTABLE = {"name": "name", "age": "age"}


@app.route("/one")
def one():
    name = request.args.get("name")
    query = "SELECT * FROM people WHERE name = '%s'" % name
    # ruleid: python-sql-injection
    cursor.execute(query)
    # ruleid: python-sql-injection
    cursor.execute(f"SELECT * FROM people WHERE name = '{request.form['name']}'")
    # ruleid: python-sql-injection
    db.session.execute(text("SELECT * FROM people WHERE name = '{}'".format(name)))
    longer = "SELECT * FROM people WHERE 1 = 1"
    longer += " AND name = '" + name + "'"
    # ruleid: python-sql-injection
    cursor.execute(longer)
    # ok: python-sql-injection
    cursor.execute("SELECT * FROM people WHERE name = %s", (name,))
    # ok: python-sql-injection
    db.session.execute(text("SELECT * FROM people WHERE name = :name"), {"name": name})
    # ok: python-sql-injection
    db.session.execute(select(Person).where(Person.name == name))
    number = int(request.args["number"])
    # ok: python-sql-injection
    cursor.execute(f"SELECT * FROM people LIMIT {number}")
    # ok: python-sql-injection
    cursor.execute("SELECT * FROM people ORDER BY " + SORTABLE[request.args["sort"]])
    # ok: python-sql-injection
    cursor.execute(sql.SQL("SELECT * FROM {}").format(sql.Identifier(name)))


@app.route("/sorted")
def in_order():
    column = request.args["sort"]
    if column not in ("name", "age"):
        return "no", 400
    # ok: python-sql-injection
    cursor.execute(f"SELECT * FROM people ORDER BY {column}")


def view(request):
    key = request.GET["key"]
    # ruleid: python-sql-injection
    found = Person.objects.raw("SELECT * FROM person WHERE key = '" + key + "'")
    # ok: python-sql-injection
    return Person.objects.raw("SELECT * FROM person WHERE key = %s", [key])


@api.get("/people")
async def people(name: str, limit: int = 10):
    # ruleid: python-sql-injection, python-sql-injection-built-query
    await connection.execute(f"SELECT * FROM people WHERE name = '{name}'")
    # ok: python-sql-injection
    await connection.execute("SELECT * FROM people WHERE name = $1", name)


async def show(request):
    # ruleid: python-sql-injection
    await connection.fetchrow("SELECT * FROM people WHERE id = " + request.match_info["id"])


def add_student(connection, name):
    # ruleid: python-sql-injection-built-query
    connection.execute("INSERT INTO student (name) VALUES ('%s')" % name)
    statement = f"DELETE FROM student WHERE name = '{name}'"
    # ruleid: python-sql-injection-built-query
    connection.execute(statement)
    # ok: python-sql-injection-built-query
    connection.execute("INSERT INTO student (name) VALUES (%s)", (name,))
    marks = ", ".join("?" for _ in name)
    # ok: python-sql-injection-built-query
    connection.execute(f"SELECT * FROM student WHERE name IN ({marks})", name)


def count(connection, limit):
    # ok: python-sql-injection-built-query
    connection.execute("SELECT * FROM student LIMIT %d" % int(limit))
    # ok: python-sql-injection-built-query
    runner.execute("the plan for %s" % limit)
