"""Repositories whose files have names that mislead terminals, shells, lists of names and file systems."""

from __future__ import annotations

from tests.hostile.corpus import SECRET, Ground, secret
from tests.hostile.repositories import PYTHON

#: Names that a file system takes; each is the stem of a Python file with a flaw, and of one with the secret.
STEMS: tuple[bytes, ...] = (
    b"new\nline", b"carriage\rreturn", b"\x1b[2J\x1b[31mred", b"\x1b]0;title\x07", "rtl\u202egnp".encode(),
    "bidi\u2066x\u2069".encode(), "zero\u200bwidth".encode(), b"c1\xc2\x9b31m", b"latin-\xe9", b"\xff\xfe", b"-rf",
    b"--config=evil", b"con", b"nul.", b"dot.", b"blank ", b" lead", b"glob[a-z]*?", b"%s%n%d", b"quote'\"`",
    b"$(touch x)", b"a;b|c&d", b"<script>alert(1)</script>", b"=cmd()", b"@sum", b"UPPER", b"upper", b"back\\slash",
    b"tab\there", b"#hash", b"~home", b"!bang", b"{brace,x}", b"x" * 200, "\U0001f4a9".encode(),
    b"bell\x07", b"del\x7f",
)  # fmt: skip
#: Names that no file system takes, or that no checkout may write.
UNSAFE: tuple[bytes, ...] = (
    b"l" * 4000, b"m" * 256, b"../up", b"/abs", b"a//b", b"./dot", b".git/hooks/post-checkout", b".GIT/config",
    ".g\u200cit/config".encode(), b"git~1/config", b".git./config", b".git::$INDEX_ALLOCATION/config", b"sub/../../x",
)  # fmt: skip


def names(ground: Ground) -> None:
    """Names with line ends, escape sequences, reversed text, bytes that are no UTF-8, options and shell syntax."""
    repo = ground.repository("names")
    entries = []
    for n, stem in enumerate(STEMS):
        entries.append((b"100644", stem + b".py", repo.blob(b"# name %d\n" % n + PYTHON)))
        entries.append((b"100644", stem + b".txt", repo.blob(secret(f"name {n}"))))
    repo.commit_tree(repo.raw_tree(*sorted(entries, key=lambda e: e[1])))


def escaping(ground: Ground) -> None:
    """Names that lead out of the checkout, into ``.git`` in all its spellings, or are too long for any folder."""
    repo = ground.repository("escaping")
    flaw = repo.blob(b"# escaping\n" + PYTHON)
    entries = [(b"100644", name + b".py", flaw) for name in UNSAFE] + [(b"100644", b"good.py", flaw)]
    entries += [(b"100644", name, repo.blob(secret(f"escaping {n}"))) for n, name in enumerate(UNSAFE)]
    repo.commit_tree(repo.raw_tree(*entries))


def one_name_twice(ground: Ground) -> None:
    """A clean file, and a flawed one of the same name; the same of a folder and a file, and of a link and a folder."""
    repo = ground.repository("one-name-twice")
    flaw, clean = repo.blob(b"# twice\n" + PYTHON), repo.blob(b"x = 'twice'\n")
    inner = repo.raw_tree((b"100644", b"inner.py", flaw))
    repo.commit_tree(
        repo.raw_tree(
            (b"100644", b"app.py", clean),
            (b"100644", b"app.py", flaw),
            (b"100644", b"folder", clean),
            (b"40000", b"folder", inner),
            (b"120000", b"link", repo.blob(b"/tmp")),
            (b"40000", b"link", inner),
            (b"100644", b"secret.txt", repo.blob(b"nothing\n")),
            (b"100644", b"secret.txt", repo.blob(SECRET)),
        )
    )
