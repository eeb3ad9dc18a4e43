"""Names of files out of requests and archives, and their safe twins."""

import os
import tarfile
from pathlib import Path

from aiohttp import web
from fastapi import FastAPI
from fastapi.responses import FileResponse
from flask import Flask, request, send_file, send_from_directory
from werkzeug.utils import secure_filename

app = Flask(__name__)
api = FastAPI()
ROOT = Path("/srv/files")


@app.route("/get")
def get():
    name = request.args["name"]
    # ruleid: python-path-traversal
    with open("/srv/files/" + name) as handle:
        text = handle.read()
    # ruleid: python-path-traversal
    os.remove(os.path.join("/srv/files", name))
    # ok: python-path-traversal
    with open(os.path.join("/srv/files", secure_filename(name))) as handle:
        text += handle.read()
    # ok: python-path-traversal
    with open("/srv/files/fixed.txt") as handle:
        text += handle.read()
    # ok: python-path-traversal
    sent = send_from_directory("/srv/files", name)
    # ruleid: python-path-traversal
    return send_file(f"/srv/files/{name}"), text, sent


@app.route("/checked")
def checked():
    path = (ROOT / request.args["name"]).resolve()
    if not path.is_relative_to(ROOT):
        return "no", 404
    # ok: python-path-traversal
    return send_file(path)


@app.route("/up", methods=["POST"])
def upload():
    upload = request.files["file"]
    # ruleid: python-path-traversal
    upload.save(os.path.join("/srv/files", upload.filename))
    # ok: python-path-traversal
    upload.save(os.path.join("/srv/files", secure_filename(upload.filename)))


@api.get("/download/{name}")
async def download(name: str):
    # ruleid: python-path-traversal
    return FileResponse(f"/srv/files/{name}")


async def show(request):
    # ruleid: python-path-traversal
    return web.FileResponse("/srv/files/" + request.match_info["name"])


def unpack(source, target):
    with tarfile.open(source) as archive:
        # ruleid: python-path-traversal-archive
        archive.extractall(target)
    other = tarfile.open(source)
    # ruleid: python-path-traversal-archive
    other.extractall(path=target)
    # ok: python-path-traversal-archive
    other.extractall(target, filter="data")
    with tarfile.open(source) as archive:
        # ok: python-path-traversal-archive
        archive.extractall(target, members=known(archive))
