"""Two calls that are the same, one over several lines, one that asks scanners to look away."""

import subprocess

import yaml


def convert(name):
    subprocess.call("gzip reports/" + name, shell=True)
    subprocess.call("gzip reports/" + name, shell=True)
    return subprocess.call(
        "wkhtmltopdf " + name,
        shell=True,
    )


def archive(name):
    return subprocess.call("tar cf " + name, shell=True)  # nosec


def layout(text):
    try:
        return yaml.load(text, Loader=yaml.Loader)
    except Exception:
        pass
