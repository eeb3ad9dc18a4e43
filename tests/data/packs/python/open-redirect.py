"""Targets of redirects out of requests, and safe twins."""

from urllib.parse import urlsplit

from django.http import HttpResponseRedirect
from django.utils.http import url_has_allowed_host_and_scheme
from fastapi import FastAPI
from fastapi.responses import RedirectResponse
from flask import Flask, redirect, request, url_for

app = Flask(__name__)
api = FastAPI()


@app.route("/go")
def go():
    target = request.args.get("next")
    if target == "fixed":
        # ok: python-open-redirect
        return redirect(url_for("home", page=target))
    if target == "local":
        # ok: python-open-redirect
        return redirect("/people/" + target)
    # ruleid: python-open-redirect
    return redirect(target)


def view(request):
    target = request.GET.get("next", "/")
    if not url_has_allowed_host_and_scheme(target, allowed_hosts={request.get_host()}):
        target = "/"
    # ok: python-open-redirect
    return HttpResponseRedirect(target)


def careless(request):
    # ruleid: python-open-redirect
    return HttpResponseRedirect(request.POST["next"])


@api.get("/out")
def out(url: str):
    # ruleid: python-open-redirect
    return RedirectResponse(url)


@app.route("/leave")
def leave():
    target = request.args.get("next", "/")
    if urlsplit(target).netloc not in HOSTS:
        target = "/"
    # ok: python-open-redirect
    return redirect(target)
