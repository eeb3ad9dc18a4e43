"""What the demo's repositories hold, commit by commit. `demo/demo_truth.json` says what is planted there, and where.

Their files lie in `demo/`, each with the suffix `.txt` and `dot-` for a leading dot, so that nothing of ours reads them
as code or configuration: `files/` is how main stands on day one, `past/` what only the history holds, `day_two/` what
the second day changes. Secrets stand as ``@@NAME@@`` and are put together when the repository is made (``demo_org``),
so that no scanner finds one in these files. A change of a line there asks for a change of the truth, by hand.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

#: The stored files, the truth and what is declared out of reach.
FOLDER = Path(__file__).with_name("demo")


@dataclass(frozen=True, slots=True, kw_only=True)
class Commit:
    """One commit: files written (path → text) and removed. A branch that does not exist yet starts where HEAD is.

    With a ``tag`` the branch is removed again, so that only the tag reaches the commit.
    """

    slug: str
    message: str
    write: Mapping[str, str] = field(default_factory=dict)
    remove: tuple[str, ...] = ()
    branch: str = "main"
    tag: str | None = None


#: Placeholder → beginning (in parts) and length of the random-looking rest. Never anyone's.
TOKENS: dict[str, tuple[tuple[str, ...], int]] = {
    "@@DEPLOY_TOKEN@@": (("gl", "pat", "-"), 20),
    "@@CHAT_TOKEN@@": (("xo", "xb", "-", "649850294284", "-", "9815406993709", "-"), 24),
    "@@PULL_TOKEN@@": (("gh", "p", "_"), 36),
    "@@STRIPE_KEY@@": (("sk", "_li", "ve_"), 24),
    "@@PAYMENT_TOKEN@@": (("sk", "_li", "ve_"), 24),
    "@@FLASK_KEY@@": ((), 40),
    "@@PORTAL_JWT_KEY@@": ((), 40),
    "@@WAREHOUSE_PASSWORD@@": ((), 18),
    "@@LEDGER_PASSWORD@@": ((), 18),
    "@@BACKOFFICE_PASSWORD@@": ((), 18),
    "@@PRESS_PASSWORD@@": ((), 18),
}

#: The folder whose object is removed after its commit, and the file.
BROKEN = ("shop/broken", "lost.py")

#: What each repository is, for people.
ABOUT = {
    "shop/web": "a Python web application; it tells scanners to look away; one file is Python 2",
    "shop/portal": "the customers' portal: TypeScript with Express and React, some JavaScript",
    "shop/gateway": "a gateway in Go",
    "shop/billing": "bills and payments: Java with Spring",
    "shop/backoffice": "Ruby on Rails for the staff, PHP for the press team",
    "shop/infra": "Terraform and CloudFormation; it tells scanners to look away",
    "shop/deploy": "Kubernetes manifests and the Dockerfiles of the images",
    "shop/pipelines": "GitHub Actions workflows",
    "shop/legacy": "secrets in its history: deleted, on another branch, under a tag",
    "shop/broken": "an object under HEAD is lost: nobody can read it, so nobody may call it clean",
}


def stored(root: str, slug: str) -> dict[str, str]:
    """The files kept for a repository below ``files``, ``past`` or ``day_two``: path → text with placeholders."""
    folder = FOLDER / root / slug.rpartition("/")[2]
    return {_path(f.relative_to(folder)): f.read_text("utf-8") for f in sorted(folder.rglob("*.txt"))}


def day_one() -> tuple[Commit, ...]:
    """The commits of the first day, oldest first."""
    plain = [slug for slug in ABOUT if slug != "shop/legacy"]
    return (*(Commit(slug=slug, message="As it stands", write=stored("files", slug)) for slug in plain), *_legacy())


def day_two() -> tuple[Commit, ...]:
    """The commits of the second day: one repairs, one moves lines and adds a flaw."""
    return (
        Commit(
            slug="shop/web",
            message="Statements take parameters, reports no shell; baskets are gone",
            write=stored("day_two", "shop/web"),
            remove=("shop/baskets.py",),
        ),
        Commit(
            slug="shop/infra",
            message="A heading for the storage, volumes for exports and imports",
            write=stored("day_two", "shop/infra"),
        ),
    )


def _legacy() -> tuple[Commit, ...]:
    slug = "shop/legacy"
    now, past = stored("files", slug), stored("past", slug)
    settings, tell, payment = "config/deploy.env", "notify.sh", "config/payment.yml"
    return (
        Commit(slug=slug, message="Billing, as it came", write={settings: past[settings]}),
        Commit(slug=slug, branch="release-1", message="Tell the team", write={tell: past[tell]}),
        Commit(slug=slug, branch="trial", message="Try payments", write={payment: past[payment]}, tag="v0.9"),
        Commit(slug=slug, message="Settings come from the environment now", write=now, remove=(settings,)),
    )


def _path(kept: Path) -> str:
    parts = [f".{part[4:]}" if part.startswith("dot-") else part for part in kept.parts]
    return "/".join(parts).removesuffix(".txt")
