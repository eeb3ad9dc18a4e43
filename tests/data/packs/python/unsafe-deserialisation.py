"""Objects built from bytes of others, and their safe twins."""

import base64
import hmac
import json
import pickle

import requests
import yaml
from flask import Flask, request

app = Flask(__name__)


@app.route("/load", methods=["POST"])
def load():
    # ruleid: python-unsafe-deserialisation
    first = pickle.loads(request.data)
    body = request.get_data()
    # ruleid: python-unsafe-deserialisation, python-unsafe-deserialisation-yaml
    second = yaml.load(body, Loader=yaml.Loader)
    # ok: python-unsafe-deserialisation
    third = json.loads(body)
    # ok: python-unsafe-deserialisation
    fourth = yaml.safe_load(body)
    # ok: python-unsafe-deserialisation
    fifth = yaml.load(body, Loader=yaml.SafeLoader)
    return [first, second, third, fourth, fifth]


def read(stream):
    # ruleid: python-unsafe-deserialisation-yaml
    one = yaml.load(stream)
    # ruleid: python-unsafe-deserialisation-yaml
    two = yaml.unsafe_load(stream)
    # ok: python-unsafe-deserialisation-yaml
    three = yaml.load(stream, Loader=yaml.SafeLoader)
    # ok: python-unsafe-deserialisation-yaml
    four = yaml.safe_load(stream)
    return one, two, three, four


def receive(connection, key, path):
    data = connection.recv(4096)
    # ruleid: python-unsafe-deserialisation-pickle-network
    first = pickle.loads(data)
    # ruleid: python-unsafe-deserialisation-pickle-network
    second = pickle.loads(requests.get("https://cache.internal/model", timeout=5).content)
    with open(path, "rb") as handle:
        # ok: python-unsafe-deserialisation-pickle-network
        third = pickle.load(handle)
    sealed = base64.b64decode(key)
    # ok: python-unsafe-deserialisation-pickle-network
    fourth = json.loads(sealed)
    return first, second, third, fourth


def copied(url):
    answer = requests.get(url, timeout=5)
    # ok: python-unsafe-deserialisation-pickle-network
    first = pickle.loads(pickle.dumps(answer))
    session = requests.Session()
    written = pickle.dumps(session)
    # ok: python-unsafe-deserialisation-pickle-network
    second = pickle.loads(written)
    # ruleid: python-unsafe-deserialisation-pickle-network
    third = pickle.loads(session.get(url, timeout=5).content)
    return first, second, third


def verified(connection, mark, expected):
    data = connection.recv(4096)
    if not hmac.compare_digest(data, expected):
        raise ValueError
    # ok: python-unsafe-deserialisation-pickle-network
    return pickle.loads(data)
