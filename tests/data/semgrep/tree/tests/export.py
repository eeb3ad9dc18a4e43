import os

from flask import request


def export():
    os.system("tar cf /srv/export.tar " + request.args["folder"])
