"""Pages with input in them, and their safe twins."""

import jinja2
from django.http import HttpResponse
from django.utils.html import escape, format_html
from django.utils.safestring import mark_safe
from flask import Flask, jsonify, make_response, render_template, request
from markupsafe import Markup
from markupsafe import escape as escaped

app = Flask(__name__)


@app.route("/a")
def a():
    name = request.args.get("name", "")
    if name == "short":
        # ruleid: python-cross-site-scripting
        return f"<p>Hello {name}</p>"
    if name == "made":
        # ruleid: python-cross-site-scripting
        return make_response("<p>Hello " + name + "</p>")
    if name == "escaped":
        # ok: python-cross-site-scripting
        return f"<p>Hello {escaped(name)}</p>"
    if name == "json":
        # ok: python-cross-site-scripting
        return jsonify(name=name)
    # ok: python-cross-site-scripting
    return render_template(f"{name}.html", name=name)


@app.route("/b")
def b():
    # ruleid: python-cross-site-scripting
    label = Markup("<b>" + request.form["label"] + "</b>")
    # ok: python-cross-site-scripting
    safe = Markup("<b>{}</b>").format(request.form["label"])
    return render_template("b.html", label=label, safe=safe)


def view(request):
    query = request.GET["q"]
    # ruleid: python-cross-site-scripting
    note = mark_safe("<i>%s</i>" % query)
    # ok: python-cross-site-scripting
    other = format_html("<i>{}</i>", query)
    # ok: python-cross-site-scripting
    third = HttpResponse("<i>" + escape(query) + "</i>")
    # ruleid: python-cross-site-scripting
    return HttpResponse("<p>%s</p>" % query), note, other, third


def environments(loader, **more):
    # ruleid: python-cross-site-scripting-autoescape-off
    first = jinja2.Environment(loader=loader, autoescape=False)
    # ruleid: python-cross-site-scripting-autoescape-off
    second = jinja2.Environment(loader=loader)
    second.get_template("page.html")
    # ok: python-cross-site-scripting-autoescape-off
    third = jinja2.Environment(loader=loader, autoescape=True)
    third.get_template("page.html")
    # ok: python-cross-site-scripting-autoescape-off
    fourth = jinja2.Environment(loader=loader)
    fourth.get_template("nginx.conf")
    return first, second, third, fourth


@app.get("/greeting")
def greeting():
    name = request.args.get("name", "")
    # ruleid: python-cross-site-scripting
    return f"<h1>Good morning, {name}</h1>"


@app.get("/greeting/escaped")
def greeting_escaped():
    name = escape(request.args.get("name", ""))
    # ok: python-cross-site-scripting
    return f"<h1>Good morning, {name}</h1>"
