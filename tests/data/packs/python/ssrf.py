"""Addresses out of requests, and their safe twins."""

import urllib.request

import httpx
import requests
from fastapi import FastAPI
from flask import Flask, request

app = Flask(__name__)
api = FastAPI()
MIRRORS = {"one": "https://one.internal/list"}


@app.route("/fetch")
def fetch():
    url = request.args["url"]
    # ruleid: python-ssrf
    requests.get(url, timeout=5)
    # ruleid: python-ssrf
    urllib.request.urlopen("http://" + url)
    # ruleid: python-ssrf
    requests.post(f"https://{request.form['host']}/hook", timeout=5)
    # ok: python-ssrf
    requests.get("https://api.internal/items/" + url, timeout=5)
    # ok: python-ssrf
    requests.get(f"https://api.internal/items/{url}", timeout=5)
    # ok: python-ssrf
    requests.get("https://api.internal/items", params={"q": url}, timeout=5)
    # ok: python-ssrf
    requests.get(MIRRORS[request.args["mirror"]], timeout=5)


@api.get("/relay")
async def relay(target: str):
    async with httpx.AsyncClient() as client:
        # ruleid: python-ssrf
        return await client.get(target)


@api.get("/relay-known")
async def relay_known(target: str):
    if target not in MIRRORS.values():
        return None
    # ok: python-ssrf
    return httpx.get(target)
