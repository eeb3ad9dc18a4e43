"""Repositories that are too much: files, folders, commits, refs, and objects that are small only while they are packed."""

from __future__ import annotations

import zlib
from pathlib import Path

from tests.builders import FIRST_DATE, Repository
from tests.hostile.corpus import FULL, SECRET, SECRET_PATH, Ground, imported

#: Scale of each giant: of the real thing, and of an ordinary test run.
FILES = 100_000 if FULL else 3_000
ZEROS = 1024**3 if FULL else 64 * 1024**2
COMMITS = 50_000 if FULL else 2_000
LEVELS = 20_000 if FULL else 3_000
REFS = 100_000 if FULL else 2_000
TAGS = 5_000 if FULL else 200
FAN_OUT = 10
_PERSON = b"Ada <ada@example.invalid> %d +0000\n"


def _data(content: bytes) -> bytes:
    return b"data %d\n%s\n" % (len(content), content)


def many_files(ground: Ground) -> None:
    stream = [b"commit refs/heads/main\ncommitter " + _PERSON % FIRST_DATE + _data(b"many")]
    stream += [b"M 100644 inline src/d%d/f%d.py\n" % (n % 97, n) + _data(b"x = %d\n" % n) for n in range(FILES)]
    stream += [b"M 100644 inline %s\n" % SECRET_PATH.encode() + _data(SECRET)]
    imported(ground.repository("many-files"), b"".join(stream))


def many_commits(ground: Ground) -> None:
    """Each changes one file; the secret lies in the middle and is deleted by the next."""
    stream = []
    for n in range(COMMITS):
        stream += [b"commit refs/heads/main\ncommitter " + _PERSON % (FIRST_DATE + n) + _data(b"c%d" % n)]
        stream += [b"M 100644 inline f%d.txt\n" % (n % 50) + _data(b"%d\n" % n)]
        if n == COMMITS // 2:
            stream += [b"M 100644 inline %s\n" % SECRET_PATH.encode() + _data(SECRET)]
        if n == COMMITS // 2 + 1:
            stream += [b"D %s\n" % SECRET_PATH.encode()]
    imported(ground.repository("many-commits"), b"".join(stream))


def deep(ground: Ground) -> None:
    """Folders in folders; each level is one small tree object."""
    repo = ground.repository("deep")
    python = repo.blob(b"x = 1\n")
    secret = repo.blob(SECRET)
    _write_trees(repo, LEVELS, python, secret)


def _write_trees(repo: Repository, levels: int, python: str, secret: str) -> None:
    import hashlib

    oid = bytes.fromhex(python)
    body = b"100644 deep.py\0" + oid
    for n in range(levels):
        raw = b"tree %d\0" % len(body) + body
        name = hashlib.sha1(raw, usedforsecurity=False)
        place = repo.loose(name.hexdigest())
        place.parent.mkdir(parents=True, exist_ok=True)
        if not place.exists():
            place.write_bytes(zlib.compress(raw, 1))
        body = b"40000 d\0" + name.digest()
    top = repo.raw_tree((b"40000", b"d", name.hexdigest()), (b"100644", b"secret.txt", secret))
    repo.commit_tree(top)


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
    zeros = Path(repo.path, "zeros.bin")
    with zeros.open("wb") as f:
        f.truncate(ZEROS)
    repo.commit({SECRET_PATH: SECRET, "zeros.py": b"x = 1\n" + b"\n" * (2 * 1024**2)})
    zeros.unlink()


def many_refs(ground: Ground) -> None:
    repo = ground.repository("many-refs")
    tip = repo.commit({SECRET_PATH: SECRET, "a.py": b"x = 1\n"})
    lines = sorted(f"{tip} refs/{'heads' if n % 2 else 'tags'}/r{n}" for n in range(REFS))
    lines = sorted(lines, key=lambda line: line.split(" ", 1)[1])
    (repo.git_dir / "packed-refs").write_text(
        "# pack-refs with: peeled fully-peeled sorted\n" + "\n".join(lines) + "\n"
    )


def tags_of_tags(ground: Ground) -> None:
    """A tag of a tag of a tag …, and at the end of it a commit that no branch has."""
    repo = ground.repository("tags-of-tags")
    repo.commit({"a.py": b"x = 1\n"})
    tree = repo.raw_tree((b"100644", b"secret.txt", repo.blob(SECRET)))
    oid, kind = repo.git("commit-tree", tree, "-m", "hidden"), "commit"
    stream = [b"tag t0\nfrom %s\ntagger " % oid.encode() + _PERSON % FIRST_DATE + _data(b"t")]
    del kind
    imported(repo, b"".join(stream))
    for n in range(1, TAGS):
        body = f"object {repo.git('rev-parse', f'refs/tags/t{n - 1}')}\ntype tag\ntag t{n}\ntagger {(_PERSON % FIRST_DATE).decode()}\nx\n"
        oid = repo.git("hash-object", "-t", "tag", "-w", "--stdin", stdin=body.encode())
        repo.git("update-ref", f"refs/tags/t{n}", oid)
