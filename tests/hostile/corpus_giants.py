"""Repositories that are too much: files, folders, commits, refs, and objects that are small only while packed."""

from __future__ import annotations

import zlib
from hashlib import sha1

from tests.builders import FIRST_DATE
from tests.hostile.corpus import FULL, SECRET, SECRET_PATH, Ground, committed, data, imported
from tests.hostile.repositories import PYTHON

#: Scale of each giant: of the real thing, and of an ordinary test run.
FILES = 100_000 if FULL else 3_000
ZEROS = 1024**3 if FULL else 64 * 1024**2
COMMITS = 50_000 if FULL else 2_000
LEVELS = 20_000 if FULL else 3_000
REFS = 100_000 if FULL else 2_000
TAGS = 5_000 if FULL else 200
FAN_OUT = 10
_PERSON = b"Ada <ada@example.invalid> %d +0000\n"


def many_files(ground: Ground) -> None:
    stream = [b"commit refs/heads/main\ncommitter " + _PERSON % FIRST_DATE + data(b"many")]
    stream += [b"M 100644 inline src/d%d/f%d.py\n" % (n % 97, n) + data(b"x = %d\n" % n) for n in range(FILES)]
    stream += [b"M 100644 inline %s\n" % SECRET_PATH.encode() + data(SECRET)]
    imported(ground.repository("many-files"), b"".join(stream))


def many_commits(ground: Ground) -> None:
    """Each changes one file; the secret lies in the middle and is deleted by the next."""
    stream = []
    for n in range(COMMITS):
        stream += [b"commit refs/heads/main\ncommitter " + _PERSON % (FIRST_DATE + n) + data(b"c%d" % n)]
        stream += [b"M 100644 inline f%d.txt\n" % (n % 50) + data(b"%d\n" % n)]
        if n == COMMITS // 2:
            stream += [b"M 100644 inline %s\n" % SECRET_PATH.encode() + data(SECRET)]
        if n == COMMITS // 2 + 1:
            stream += [b"D %s\n" % SECRET_PATH.encode()]
    imported(ground.repository("many-commits"), b"".join(stream))


def deep(ground: Ground) -> None:
    """Folders in folders; each level is one small tree object."""
    repo = ground.repository("deep")
    body = b"100644 deep.py\0" + bytes.fromhex(repo.blob(b"x = 1\n"))
    digest = b""
    for _ in range(LEVELS):
        raw = b"tree %d\0" % len(body) + body
        digest = sha1(raw, usedforsecurity=False).digest()
        place = repo.loose(digest.hex())
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(zlib.compress(raw, 1))
        body = b"40000 d\0" + digest
    repo.commit_tree(repo.raw_tree((b"40000", b"d", digest.hex()), (b"100644", b"secret.txt", repo.blob(SECRET))))


def git_bomb(ground: Ground) -> None:
    """Ten trees of ten times the same tree: twelve objects, ten thousand million paths."""
    repo = ground.repository("git-bomb")
    tree = repo.raw_tree(*[(b"100644", b"f%d.py" % n, repo.blob(b"password = 1\n")) for n in range(FAN_OUT)])
    for _ in range(9):
        tree = repo.raw_tree(*[(b"40000", b"d%d" % n, tree) for n in range(FAN_OUT)])
    repo.commit_tree(repo.raw_tree((b"40000", b"bomb", tree), (b"100644", b"secret.txt", repo.blob(SECRET))))


def secret_bomb(ground: Ground) -> None:
    """The same, and what lies at the end of every path is the secret."""
    repo = ground.repository("secret-bomb")
    tree = repo.raw_tree(*[(b"100644", b"f%d" % n, repo.blob(SECRET)) for n in range(FAN_OUT)])
    for _ in range(9):
        tree = repo.raw_tree(*[(b"40000", b"d%d" % n, tree) for n in range(FAN_OUT)])
    repo.commit_tree(tree)


def inflating(ground: Ground) -> None:
    """A blob of zeros: a thousand times as large as its object."""
    repo = ground.repository("inflating")
    committed(repo, {SECRET_PATH: SECRET, "good.py": b"# inflating\n" + PYTHON})
    zeros = repo.path / "zeros.py"
    with zeros.open("wb") as f:
        f.truncate(ZEROS)
    blob = repo.git("hash-object", "-w", "zeros.py")
    zeros.unlink()
    parent = repo.git("rev-parse", "main")
    entries = [(b"100644", b"good.py", repo.git("rev-parse", "main:good.py")), (b"100644", b"zeros.py", blob)]
    repo.commit_tree(repo.raw_tree(*entries), parent)


def many_refs(ground: Ground) -> None:
    repo = ground.repository("many-refs")
    tip = committed(repo, {SECRET_PATH: SECRET, "a.py": b"x = 1\n"})
    lines = sorted(f"{tip} refs/{'heads' if n % 2 else 'tags'}/r{n}" for n in range(REFS))
    lines = sorted(lines, key=lambda line: line.split(" ", 1)[1])
    (repo.git_dir / "packed-refs").write_text(
        "# pack-refs with: peeled fully-peeled sorted\n" + "\n".join(lines) + "\n"
    )


def tags_of_tags(ground: Ground) -> None:
    """A tag of a tag of a tag …, and at the end of it a commit that no branch has."""
    repo = ground.repository("tags-of-tags")
    committed(repo, {"a.py": b"x = 'tags-of-tags'\n"})
    tree = repo.raw_tree((b"100644", b"secret.txt", repo.blob(SECRET)))
    oid, kind = repo.git("commit-tree", tree, "-m", "hidden"), "commit"
    for n in range(TAGS):
        body = (
            f"object {oid}\ntype {kind}\ntag t{n}\ntagger Ada <ada@example.invalid> {FIRST_DATE} +0000\n\nx\n".encode()
        )
        raw = b"tag %d\0" % len(body) + body
        oid, kind = sha1(raw, usedforsecurity=False).hexdigest(), "tag"
        place = repo.loose(oid)
        place.parent.mkdir(exist_ok=True)
        place.write_bytes(zlib.compress(raw, 1))
    (repo.git_dir / "refs/tags").mkdir(exist_ok=True)
    (repo.git_dir / "refs/tags/last").write_text(oid + "\n")
