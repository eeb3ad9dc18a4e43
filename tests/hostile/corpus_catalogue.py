"""All hostile repositories, each with what the patrol must say of it."""

from __future__ import annotations

from pathlib import Path

from tasks.core.types import display_path
from tests.hostile import corpus_bombs as bombs
from tests.hostile import corpus_giants as giants
from tests.hostile import corpus_git as of_git
from tests.hostile import corpus_names as of_names
from tests.hostile import corpus_tools as of_tools
from tests.hostile.corpus import ALL, FULL, KINGFISHER, SECRET_PATH, Ground, Hostile, Place, Said, planted
from tests.hostile.repositories import PYTHON

_PARTIAL: tuple[Said, ...] = (("partial", None),)
_PYTHON = ("bandit", "semgrep")
_TREE = ("bandit", "semgrep", "checkov", "cfn-lint", "hadolint", "zizmor")
_TOO_MANY: tuple[Said, ...] = (("failed", "too_many_files"),)
_PLANTED: dict[str, frozenset[Place]] = {KINGFISHER: frozenset({(SECRET_PATH, "")})}
_BESIDE: dict[str, frozenset[Place]] = {KINGFISHER: frozenset({("secret.txt", "")})}
#: What stands beside bombs of YAML.
_GOOD: dict[str, frozenset[Place]] = {
    "zizmor": frozenset({("good/.github/workflows/ci.yml", "template-injection")}),
    "cfn-lint": frozenset({("good/template.yaml", "E3002")}),
}
#: What a tool may say of a file that it works on until it is stopped; the narrowing may or may not find that file.
_ENDLESS: tuple[Said, ...] = (
    ("partial", None),
    ("timeout", "timeout"),
    ("failed", "tool_error"),
    ("failed", "signal"),
    ("failed", "memory"),
)
#: Of a repository that cannot be fetched, every tool says so.
_UNREAD: dict[str, tuple[Said, ...]] = {ALL: (("failed", "fetch"), ("failed", "incomplete"), ("failed", "corrupt"))}


def _and(*many: dict[str, frozenset[Place]]) -> dict[str, frozenset[Place]]:
    return {tool: frozenset().union(*(m.get(tool, frozenset()) for m in many)) for m in many for tool in m}


def _bandit(*paths: str) -> dict[str, frozenset[Place]]:
    return {"bandit": frozenset((path, "B602") for path in paths)}


def _each(*said: Said, tools: tuple[str, ...] = _TREE) -> dict[str, tuple[Said, ...]]:
    return dict.fromkeys(tools, said)


def _unread(reason: str, *paths: str, tools: tuple[str, ...] = ("bandit",)) -> dict[str, frozenset[Place]]:
    return {tool: frozenset((path, reason) for path in paths) for tool in tools}


def _shown(stem: bytes, suffix: str) -> str:
    return display_path(stem + suffix.encode())


ODD_FOLDER = "odd \x1b[31m\n%s'$(x)\u202e"


def odd_folder(ground: Ground) -> None:
    """Lies in a folder whose name breaks lines, colours terminals and looks like shell."""
    planted(ground.repository(ODD_FOLDER), {"app.py": b"# odd-folder\n" + PYTHON})


_GIT = (
    Hostile(
        slug="option-refs",
        tries="branches named like options and commands are taken for such",
        build=of_git.option_refs,
        found=_and(_PLANTED, _bandit("app.py")),
    ),
    Hostile(
        slug="configuration",
        tries="its configuration, attributes and hooks run commands or hide refs",
        build=of_git.configuration,
        found=_and(_PLANTED, _bandit("app.py")),
    ),
    Hostile(
        slug="submodules",
        tries="submodules run commands, read the machine, ask addresses",
        build=of_git.submodules,
        found=_and(_PLANTED, _bandit("app.py")),
        said=_each(("partial", None), ("ok", None)),
        unread=_unread("submodule", "cmd", "ext", "option", "phone"),
    ),
    Hostile(
        slug="alternates",
        tries="another repository's objects are read as its own",
        build=of_git.alternates,
        said=_UNREAD,
    ),
    Hostile(slug="common-dir", tries="another git directory is read as its own", build=of_git.common_dir, said=_UNREAD),
    Hostile(
        slug="unknown-extension", tries="a format of its own hides it", build=of_git.unknown_extension, said=_UNREAD
    ),
    Hostile(
        slug="replaced",
        tries="replace refs put clean objects in the place of flawed ones",
        build=of_git.replaced,
        found=_and(_PLANTED, _bandit("app.py")),
    ),
    Hostile(slug="grafted", tries="a graft cuts the commit with the secret out", build=of_git.grafted, said=_UNREAD),
    Hostile(
        slug="shallow", tries="it calls itself shallow where the secret begins", build=of_git.shallow, said=_UNREAD
    ),
    Hostile(
        slug="odd-people",
        tries="names, dates, headers and messages of commits mislead who reads them",
        build=of_git.odd_people,
        found=_and(_PLANTED, _bandit("app.py")),
    ),
    Hostile(
        slug="links-out",
        tries="links lead out of the repository, to devices, in circles",
        build=of_git.links_out,
        said=_each(*_PARTIAL, tools=_PYTHON),
        found=_and(_BESIDE, _bandit("app.py")),
        unread=_unread("symlink", "passwd.py", "environ.py", "zero.py", "up.py", "loop-a.py", "self.py", "chain-0.py"),
    ),
    Hostile(
        slug="changing",
        tries="a path that changes its kind loses what it held",
        build=of_git.changing,
        said=_each(("partial", None), ("ok", None)),
        found={KINGFISHER: frozenset({("thing", "")}), **_bandit("app.py")},
        unread=_unread("submodule", "thing"),
    ),
    Hostile(
        slug="inflating-delta",
        tries="an object of a few bytes is sixteen gigabytes once it is put together",
        build=of_git.inflating_delta,
        said={ALL: (("failed", "memory"), ("failed", "incomplete"), ("failed", "corrupt"))},
    ),
    Hostile(
        slug="malformed",
        tries="objects that git's checks refuse are passed over",
        build=of_git.malformed,
        said=dict.fromkeys(("bandit", "semgrep"), (("ok", None), ("partial", None))),
        found={KINGFISHER: frozenset({("a.txt", "")}), **_bandit("z.py", "m.py")},
    ),
    Hostile(
        slug="dates-first", tries="dates that run backwards stop a walk early", build=of_git.dates_first, found=_PLANTED
    ),
    Hostile(
        slug=ODD_FOLDER, tries="its own name is an attack", build=odd_folder, found=_and(_PLANTED, _bandit("app.py"))
    ),
)

_NAMES = (
    Hostile(
        slug="names",
        tries="names of files break lists, terminals, shells and rows",
        build=of_names.names,
        said={"semgrep": (("ok", None), ("partial", None))},
        found={
            **_bandit(*(_shown(stem, ".py") for stem in of_names.STEMS)),
            KINGFISHER: frozenset((_shown(stem, ".txt"), "") for stem in of_names.STEMS),
        },
    ),
    Hostile(
        slug="escaping",
        tries="names lead out of the checkout and into .git",
        build=of_names.escaping,
        said=_each(*_PARTIAL, tools=_PYTHON),
        found={**_bandit("good.py"), KINGFISHER: frozenset((_shown(name, ""), "") for name in of_names.UNSAFE)},
        unread=_unread("unsafe_path", *(_shown(name, ".py") for name in of_names.UNSAFE), tools=("bandit", "semgrep")),
    ),
    Hostile(
        slug="one-name-twice",
        tries="of two files of one name the tools get the clean one",
        build=of_names.one_name_twice,
        said=_each(*_PARTIAL, tools=_PYTHON),
        found=_BESIDE,
        unread=_unread("unsafe_path", "app.py"),
    ),
)

_NOWHERE = Ground(org=Path("/nowhere"), shell=str, python=str.encode, url="")
_TOOLS = tuple(
    Hostile(
        slug=f"blind-{tool}",
        tries=f"{tool} overlooks its flaw, or runs the code it is brought; so does any other tool",
        build=lambda ground, tool=tool: of_tools.blinding(ground, tool),
        found=of_tools.found(tool, _NOWHERE),
    )
    for tool in of_tools.FLAWS
)

_BOMBS = (
    Hostile(
        slug="yaml-bombs",
        tries="aliases and brackets eat the memory of whoever loads YAML",
        build=bombs.yaml,
        said=dict.fromkeys(
            ("checkov", "cfn-lint", "zizmor"),
            (("partial", None), ("ok", None)) if not FULL else (*_ENDLESS, ("ok", None)),
        ),
        found=_and(
            _PLANTED,
            {
                "zizmor": frozenset({("good/.github/workflows/ci.yml", "template-injection")}),
                "cfn-lint": frozenset({("good/template.yaml", "E3002")}),
            },
        ),
    ),
    Hostile(slug="xml-bombs", tries="entities grow, or name files and addresses", build=bombs.xml, found=_PLANTED),
    Hostile(
        slug="archives",
        tries="archives grow without end, or write where they like",
        build=bombs.archives,
        said={KINGFISHER: (("ok", None), ("partial", None))},
        found=_PLANTED,
    ),
    Hostile(
        slug="code-bombs",
        tries="source sinks so deep that its reader crashes",
        build=bombs.code,
        said=dict.fromkeys(("bandit", "semgrep"), (("partial", None), ("ok", None))),
        found=_and(_PLANTED, _bandit("good.py", "line.py"), {"hadolint": frozenset({("Dockerfile", "DL3004")})}),
    ),
    Hostile(
        slug="terraform-bombs",
        tries="modules and locals go in circles",
        build=bombs.terraform,
        said={"checkov": (("ok", None), ("partial", None))},
        found=_and(_PLANTED, {"checkov": frozenset({("good/main.tf", "CKV_AWS_24")})}),
    ),
)

_GIANTS = (
    Hostile(
        slug="many-files",
        tries="more files than a checkout should hold",
        build=giants.many_files,
        said=_each(*_PARTIAL, tools=_PYTHON),
        found=_PLANTED,
        unread=_unread("too_many_files", "src/d9/f9.py"),
    ),
    Hostile(
        slug="many-commits",
        tries="a secret is lost in the length of a history",
        build=giants.many_commits,
        found=_PLANTED,
    ),
    Hostile(
        slug="deep",
        tries="folders nest deeper than a stack or a path",
        build=giants.deep,
        said={
            **_each(("partial", None), ("failed", "too_deep"), tools=_PYTHON),
            **dict.fromkeys(
                ("checkov", "cfn-lint", "hadolint", "zizmor"), (("nothing_to_read", None), ("failed", "too_deep"))
            ),
            KINGFISHER: (("ok", None), ("partial", None), ("failed", "too_deep")),
        },
    ),
    Hostile(
        slug="git-bomb",
        tries="a dozen objects name ten thousand million paths",
        build=giants.git_bomb,
        said={ALL: _TOO_MANY, KINGFISHER: _PARTIAL},
        found=_BESIDE,
        unread={KINGFISHER: frozenset({("", "too_many_places")})},
    ),
    Hostile(
        slug="secret-bomb",
        tries="the secret itself stands in ten thousand million places",
        build=giants.secret_bomb,
        said={ALL: _TOO_MANY, KINGFISHER: _PARTIAL},
        found={KINGFISHER: frozenset({("d0/" * 9 + "f0", "")})},
        unread={KINGFISHER: frozenset({("", "too_many_places")})},
    ),
    Hostile(
        slug="inflating",
        tries="a blob grows a thousandfold when it is written out",
        build=giants.inflating,
        said=dict.fromkeys(("bandit", "semgrep", KINGFISHER), _PARTIAL),
        found=_and(_PLANTED, _bandit("good.py")),
        unread=_unread("too_large", "zeros.py", tools=("bandit", "semgrep", KINGFISHER)),
    ),
    Hostile(slug="many-refs", tries="more refs than a folder should hold", build=giants.many_refs, found=_PLANTED),
    Hostile(
        slug="tags-of-tags",
        tries="the secret is tagged through thousands of tags",
        build=giants.tags_of_tags,
        found=_BESIDE,
    ),
)

#: What takes minutes, because tools are stopped by their time limit only.
_ENDLESS_ONES = (
    Hostile(
        slug="endless-code",
        tries="tools work on source until they are stopped",
        build=bombs.endless_code,
        said=dict.fromkeys(("bandit", "semgrep", "hadolint", "checkov"), (*_ENDLESS, ("ok", None))),
        found=_PLANTED,
    ),
    Hostile(
        slug="endless-terraform",
        tries="expressions that nobody can work out",
        build=bombs.endless_terraform,
        said={"checkov": (*_ENDLESS, ("ok", None))},
        found=_PLANTED,
    ),
)

CORPUS: tuple[Hostile, ...] = (*_GIT, *_NAMES, *_TOOLS, *_BOMBS, *_GIANTS, *(_ENDLESS_ONES if FULL else ()))
