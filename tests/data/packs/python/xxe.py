"""XML of others, and safe twins."""

import xml.sax
from xml.dom import pulldom
from xml.sax.handler import feature_external_ges

import defusedxml.ElementTree
from flask import Flask, request
from lxml import etree

app = Flask(__name__)


@app.route("/xml", methods=["POST"])
def receive():
    # ruleid: python-xxe
    one = etree.fromstring(request.data)
    # ruleid: python-xxe
    two = pulldom.parseString(request.get_data(as_text=True))
    # ok: python-xxe
    three = defusedxml.ElementTree.fromstring(request.data)
    strict = etree.XMLParser(resolve_entities=False)
    # ok: python-xxe
    four = etree.fromstring(request.data, strict)
    return [one, two, three, four]


def parsers():
    # ruleid: python-xxe-parser
    first = etree.XMLParser(resolve_entities=True)
    reader = xml.sax.make_parser()
    # ruleid: python-xxe-parser
    reader.setFeature(feature_external_ges, True)
    # ok: python-xxe-parser
    reader.setFeature(feature_external_ges, False)
    # ok: python-xxe-parser
    second = etree.XMLParser(resolve_entities=False, no_network=True)
    return first, second
