"""What the demo's repositories hold, commit by commit. Read `demo_truth.json` beside it: it says what must be seen.

A change of a line here asks for a change of the truth, by hand. Secrets stand as ``@@NAME@@`` and are put together
when the repository is made (``demo_org``), so that no scanner finds one in this file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Commit:
    """One commit: files written (path → text) and removed. A branch that does not exist yet starts here."""

    slug: str
    message: str
    write: Mapping[str, str] = field(default_factory=dict)
    remove: tuple[str, ...] = ()
    branch: str = "main"


#: Placeholder → beginning (in parts) and lengths of the random-looking rest, joined by ``-``. Never anyone's.
TOKENS: dict[str, tuple[tuple[str, ...], tuple[int, ...]]] = {
    "@@DEPLOY_TOKEN@@": (("gl", "pat", "-"), (20,)),
    "@@CHAT_TOKEN@@": (("xo", "xb", "-", "649850294284", "-", "9815406993709", "-"), (24,)),
    "@@PULL_TOKEN@@": (("gh", "p", "_"), (36,)),
}

# -- shop/web: an application in the style of Flask --------------------------------------------------------------

_APP = '''\
"""Routes of the storefront."""

import os

from flask import Flask, jsonify, request

from shop import orders, reports

app = Flask(__name__)
app.secret_key = os.environ["SHOP_SECRET_KEY"]


@app.get("/orders")
def find_orders():
    return jsonify(orders.by_customer(request.args["customer"]))


@app.post("/reports/<name>")
def make_report(name):
    return jsonify(status=reports.convert(name))


if __name__ == "__main__":
    app.run(host="0.0.0.0", port=8000, debug=True)
'''

_ORDERS = '''\
"""Orders of a customer."""

import sqlite3


def by_customer(name):
    query = "SELECT id, state FROM orders WHERE customer = '%s'" % name
    with sqlite3.connect("shop.db") as db:
        return db.execute(query).fetchall()


def by_number(number):
    with sqlite3.connect("shop.db") as db:
        return db.execute("SELECT id, state FROM orders WHERE id = ?", (number,)).fetchall()
'''

_ACCOUNTS = '''\
"""Accounts and their passwords."""

import hashlib
import secrets


def stored_form(password):
    return hashlib.md5(password.encode()).hexdigest()


def etag(body):
    return hashlib.md5(body, usedforsecurity=False).hexdigest()


def session_id():
    return secrets.token_urlsafe(32)
'''

# The second call asks scanners to look away; the repository's own opinion must not count.
_REPORTS = '''\
"""Monthly reports."""

import subprocess

import yaml


def convert(name):
    return subprocess.call(
        f"wkhtmltopdf reports/{name}.html reports/{name}.pdf",
        shell=True,
    )


def archive(name):
    return subprocess.call("gzip reports/" + name, shell=True)  # nosec


def layout(text):
    return yaml.load(text, Loader=yaml.Loader)
'''

_BASKETS = '''\
"""Baskets kept in a cookie."""

import pickle


def restore(cookie):
    return pickle.loads(cookie)
'''

_OLD_EXPORT = '''\
"""Written for Python 2."""


def export(rows):
    print "rows:", len(rows)
    return eval(rows[0])
'''

_WEBHOOKS = '''\
"""Orders from partners."""

import requests


def forward(url, body):
    return requests.post(url, data=body, verify=False, timeout=10).status_code
'''

_BANDIT_INI = """\
[bandit]
exclude: /shop
skips: B602,B608
"""

# -- shop/infra: Terraform ---------------------------------------------------------------------------------------

_CHECKOV_YAML = """\
skip-check:
  - CKV_AWS_20
  - CKV_AWS_24
"""

_NETWORK = """\
resource "aws_security_group" "bastion" {
  name        = "bastion"
  description = "administrators"

  ingress {
    description = "ssh from anywhere"
    from_port   = 22
    to_port     = 22
    protocol    = "tcp"
    cidr_blocks = ["0.0.0.0/0"]
  }
}

resource "aws_security_group" "internal" {
  name        = "internal"
  description = "between the services"

  ingress {
    description = "ssh from the office"
    from_port   = 22
    to_port     = 22
    protocol    = "tcp"
    cidr_blocks = ["10.20.0.0/16"]
  }
}
"""

_STORAGE = """\
resource "aws_ebs_volume" "orders" {
  availability_zone = "eu-central-1a"
  size              = 40
  encrypted         = false
}

resource "aws_s3_bucket" "downloads" {
  bucket = "shop-downloads"
  acl    = "public-read"
}
"""

_STORAGE_2 = """\
# Volumes, buckets and databases of the shop.

resource "aws_ebs_volume" "orders" {
  availability_zone = "eu-central-1a"
  size              = 40
  encrypted         = true
}

resource "aws_s3_bucket" "downloads" {
  bucket = "shop-downloads"
  acl    = "public-read"
}

resource "aws_db_instance" "reports" {
  engine              = "postgres"
  instance_class      = "db.t3.micro"
  allocated_storage   = 20
  publicly_accessible = true
  storage_encrypted   = true
}
"""

# -- shop/deploy: Kubernetes and an image ------------------------------------------------------------------------

_DEPLOYMENT = """\
apiVersion: apps/v1
kind: Deployment
metadata:
  name: web
  namespace: shop
spec:
  replicas: 2
  selector:
    matchLabels: {app: web}
  template:
    metadata:
      labels: {app: web}
    spec:
      containers:
        - name: web
          image: registry.example/shop/web:latest
          securityContext:
            privileged: true
          ports:
            - containerPort: 8000
"""

_POD = """\
apiVersion: v1
kind: Pod
metadata:
  name: agent
  namespace: shop
spec:
  hostPID: true
  containers:
    - name: agent
      image: registry.example/shop/agent:1.0.3
      volumeMounts:
        - name: docker
          mountPath: /var/run/docker.sock
  volumes:
    - name: docker
      hostPath:
        path: /var/run/docker.sock
"""

_DOCKERFILE = """\
FROM python:latest
WORKDIR /srv
COPY . /srv
EXPOSE 22
CMD ["python", "-m", "shop.app"]
"""

_DEPLOY_README = "# Deploy\n\nManifests of the cluster and the image of the shop.\n"
_DEPLOY_README_2 = (
    _DEPLOY_README + "\nBy hand: `echo @@PULL_TOKEN@@ | docker login registry.example -u shop --password-stdin`\n"
)

# -- shop/legacy: secrets in the history -------------------------------------------------------------------------

_BILLING = '''\
"""Monthly bills."""

import marshal


def read(data):
    return marshal.loads(data)
'''

_DEPLOY_ENV = """\
# Used by the nightly release.
REGISTRY=registry.example
DEPLOY_TOKEN=@@DEPLOY_TOKEN@@
DEPLOY_PASSWORD=changeme
"""

_NOTIFY = """\
#!/bin/sh
# Tells the team about a release.
CHAT_TOKEN=@@CHAT_TOKEN@@
curl -fsS -H "Authorization: Bearer $CHAT_TOKEN" -d "text=$1" https://chat.example/post
"""

_LOST = '''\
"""The object of this file is taken away: nobody can read it, so nobody may call it clean."""

import subprocess

subprocess.call("ls", shell=True)
'''

#: The folder whose object is removed after its commit, and the file.
BROKEN = ("shop/broken", "lost.py")

#: What each repository is, for people.
ABOUT = {
    "shop/web": "a Python web application with flaws; it tells scanners to look away; one file is Python 2",
    "shop/infra": "Terraform: ssh open to the world, a public bucket, an unencrypted volume",
    "shop/deploy": "Kubernetes: a privileged container, the docker socket; a Dockerfile",
    "shop/legacy": "a secret that a later commit deleted, another one on a branch",
    "shop/docs": "a README, nothing else",
    "shop/broken": "an object under HEAD is lost: nobody can read it, so nobody may call it clean",
}

DAY_ONE = (
    Commit(
        slug="shop/web",
        message="The storefront",
        write={
            "README.md": "# Storefront\n\nThe web application of the shop: `python -m shop.app`.\n",
            "requirements.txt": "flask\npyyaml\nrequests\n",
            ".bandit": _BANDIT_INI,
            "shop/__init__.py": '"""The storefront."""\n',
            "shop/app.py": _APP,
            "shop/orders.py": _ORDERS,
            "shop/accounts.py": _ACCOUNTS,
            "shop/reports.py": _REPORTS,
            "shop/baskets.py": _BASKETS,
            "shop/old_export.py": _OLD_EXPORT,
        },
    ),
    Commit(
        slug="shop/infra",
        message="Network and storage",
        write={
            "README.md": "# Infrastructure\n\nThe network and the storage of the shop.\n",
            ".checkov.yaml": _CHECKOV_YAML,
            "network.tf": _NETWORK,
            "storage.tf": _STORAGE,
        },
    ),
    Commit(
        slug="shop/deploy",
        message="Manifests and image",
        write={
            "README.md": _DEPLOY_README,
            "web/deployment.yaml": _DEPLOYMENT,
            "agent/pod.yaml": _POD,
            "Dockerfile": _DOCKERFILE,
        },
    ),
    Commit(
        slug="shop/legacy",
        message="Billing, as it came",
        write={
            "README.md": "# Billing\n",
            "billing/report.py": _BILLING,
            "config/deploy.env": _DEPLOY_ENV,
        },
    ),
    Commit(slug="shop/legacy", branch="release-1", message="Tell the team", write={"notify.sh": _NOTIFY}),
    Commit(
        slug="shop/legacy",
        message="Settings come from the environment now",
        write={"README.md": "# Billing\n\nSettings come from the environment.\n"},
        remove=("config/deploy.env",),
    ),
    Commit(slug="shop/docs", message="Handbook", write={"README.md": "# Handbook\n\nHow the shop is run.\n"}),
    Commit(
        slug="shop/broken",
        message="Restored from a damaged disk",
        write={"README.md": "# An old copy\n", "lost.py": _LOST},
    ),
)

DAY_TWO = (
    Commit(slug="shop/deploy", message="How to pull the image", write={"README.md": _DEPLOY_README_2}),
    Commit(slug="shop/infra", message="Encrypt the volume; a database for reports", write={"storage.tf": _STORAGE_2}),
    Commit(
        slug="shop/web",
        message="Orders from partners; baskets are gone",
        write={"shop/webhooks.py": _WEBHOOKS},
        remove=("shop/baskets.py",),
    ),
    Commit(slug="shop/legacy", message="Bills are made elsewhere", remove=("billing/report.py",)),
)
