"""Input taken as it comes, and safe twins."""

import re

from flask import Flask, request

app = Flask(__name__)


@app.route("/people", methods=["POST"])
def create():
    # ruleid: python-missing-input-validation
    one = Person(**request.get_json())
    data = request.json
    # ruleid: python-missing-input-validation
    two = Person.objects.create(**data)
    for key in data:
        # ruleid: python-missing-input-validation
        setattr(one, key, data)
    # ok: python-missing-input-validation
    three = Person(name=data["name"], age=int(data["age"]))
    # ok: python-missing-input-validation
    four = Person(**PersonSchema().load(request.json))
    return [one, two, three, four]


@app.route("/login", methods=["POST"])
def login():
    data = request.get_json()
    # ruleid: python-missing-input-validation-nosql
    one = people.find_one({"name": data["name"]})
    # ruleid: python-missing-input-validation-nosql
    two = people.find_one(request.json)
    # ok: python-missing-input-validation-nosql
    three = people.find_one({"name": str(data["name"])})
    # ok: python-missing-input-validation-nosql
    four = people.find_one({"kind": "person"})
    return [one, two, three, four]


@app.route("/search")
def search():
    term = request.args["q"]
    # ruleid: python-missing-input-validation-regex
    pattern = re.compile(term)
    # ruleid: python-missing-input-validation-regex
    found = re.search(f"^{term}", BODY)
    # ok: python-missing-input-validation-regex
    safe = re.compile(re.escape(term))
    # ok: python-missing-input-validation-regex
    named = re.match(r"^\w+$", term)
    return [pattern, found, safe, named]
