"""Command lines, code and templates built from input, and their safe twins."""

import ast
import os
import shlex
import subprocess

import paramiko
from flask import Flask, render_template, render_template_string, request
from jinja2 import Template

app = Flask(__name__)
ACTIONS = {"start": "systemctl start web"}


@app.route("/ping")
def ping():
    host = request.args.get("host")
    # ruleid: python-command-injection
    os.system("ping -c 1 " + host)
    command = f"ping -c 1 {host}"
    # ruleid: python-command-injection
    subprocess.run(command, shell=True, check=True)
    client = paramiko.SSHClient()
    # ruleid: python-command-injection
    client.exec_command("ls {}".format(host))
    # ruleid: python-command-injection
    subprocess.check_output(["/bin/sh", "-c", command])
    # ok: python-command-injection
    subprocess.run(["ping", "-c", "1", host], check=True)
    # ok: python-command-injection
    subprocess.run(f"ping -c 1 {shlex.quote(host)}", shell=True, check=True)
    # ok: python-command-injection
    os.system("uptime")
    # ok: python-command-injection
    os.system(ACTIONS[request.form["action"]])
    return "done"


def compress(path, level):
    # ruleid: python-command-injection-shell-argument
    os.system("gzip " + path)
    # ruleid: python-command-injection-shell-argument
    subprocess.call(f"gzip {path}", shell=True)
    # ok: python-command-injection-shell-argument
    subprocess.call(["gzip", path])
    # ok: python-command-injection-shell-argument
    subprocess.call("gzip %s" % shlex.quote(path), shell=True)
    # ok: python-command-injection-shell-argument
    os.system("gzip -%d all" % int(level))


@app.route("/sum")
def calculate():
    # ruleid: python-command-injection-code
    total = eval(request.args["expression"])
    code = request.form["code"]
    # ruleid: python-command-injection-code
    exec(code)
    # ok: python-command-injection-code
    numbers = ast.literal_eval(request.args["numbers"])
    # ok: python-command-injection-code
    eval("1 + 1")
    return str(total + numbers)


@app.route("/hello/<name>")
def hello(name):
    page = "<h1>Hello %s</h1>" % request.args["name"]
    # ruleid: python-command-injection-template
    first = render_template_string(page)
    # ruleid: python-command-injection-template
    second = Template("Hello " + name).render()
    # ok: python-command-injection-template
    third = render_template_string("<h1>Hello {{ name }}</h1>", name=name)
    # ok: python-command-injection-template
    return render_template("hello.html", name=name, parts=[first, second, third])
