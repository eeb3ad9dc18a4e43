"""Where repositories come from, and our mirrors of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from tasks.core.secret_refs import Secret, SecretRef


class ForgeKind(StrEnum):
    """The forges that are asked for repositories."""

    GITHUB = "github"
    GITLAB = "gitlab"
    GITEA = "gitea"


@dataclass(frozen=True, slots=True, kw_only=True)
class AppAuth:
    """A GitHub App: its id, its private key (PEM), and the installation (None: the one of the owner)."""

    app_id: int
    private_key: SecretRef
    installation_id: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Filters:
    """Which of the repositories found are patrolled. Patterns (``fnmatch``) are matched against the whole slug.

    Empty ``include``, ``topics`` and ``visibility`` let everything through; ``topics`` asks for one of them.
    """

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    archived: bool = False
    forks: bool = False
    topics: tuple[str, ...] = ()
    visibility: tuple[str, ...] = ()
    max_size_mb: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ForgeAccess:
    """One account of a forge and how it is asked.

    ``api_url`` is the API of GitHub (``https://api.github.com``, or ``https://HOST/api/v3`` of an Enterprise server),
    the instance itself of GitLab and Gitea. ``owner`` is an organisation, a user or a group's full path, as
    ``owner_kind`` (organization, user, group) says. At most one of ``token`` and ``app`` is given; without either
    only public repositories are seen. ``sized`` is given where sizes are wanted: of repositories that these filters let
    through. A forge that lists none is asked for each of them.
    """

    kind: ForgeKind
    api_url: str
    owner: str
    owner_kind: str
    subgroups: bool = True
    token: SecretRef | None = None
    app: AppAuth | None = None
    ca_file: Path | None = None
    sized: Filters | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where repositories are discovered: a folder tree, one address, a manifest's addresses, or a forge's account.

    ``location`` is the folder or the address, the manifest's path, or the web address of the account: what people
    read. ``token`` and ``ca_file`` (certificates, PEM) are for git, of an address or a manifest; a forge has its own.
    Over http it goes to another machine only with ``allow_http``.
    ``refs`` are patterns (``fnmatch``) of branches and tags, as in ``release/*`` or ``refs/tags/v*``, that are watched
    beside the default branch. ``posture``: whether a forge is asked for settings of its repositories.
    """

    name: str
    location: str
    manifest: Path | None = None
    forge: ForgeAccess | None = None
    token: SecretRef | None = None
    allow_http: bool = False
    ca_file: Path | None = None
    filters: Filters = field(default_factory=Filters)
    refs: tuple[str, ...] = ()
    posture: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Classification:
    """One rule that says what a repository is worth. All conditions given must hold; the first rule that says a word
    wins for that word. ``scopes`` (compliance scopes, as in ``pci``) of all rules that hold are added up."""

    match: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    topics: tuple[str, ...] = ()
    visibility: tuple[str, ...] = ()
    criticality: str | None = None
    exposure: str | None = None
    owner: str | None = None
    scopes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Team:
    """One team of the organisation. ``members`` are names and addresses as CODEOWNERS has them, ``champions`` those to
    ask about security; it answers for ``repositories`` (``fnmatch`` over the whole slug) where nobody else is declared.
    """

    name: str
    members: tuple[str, ...] = ()
    champions: tuple[str, ...] = ()
    repositories: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedRepo:
    """One repository as its forge lists it. ``forge_id`` is immutable; ``slug`` is the full path, which is not.

    ``visibility`` is public, internal or private; None where the forge does not say. ``clone_url`` has no user part.
    """

    forge_id: str
    slug: str
    clone_url: str
    archived: bool = False
    fork: bool = False
    empty: bool = False
    #: Switched off by the forge or its owner: it is listed, and git is refused.
    disabled: bool = False
    visibility: str | None = None
    topics: tuple[str, ...] = ()
    size_mb: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """All repositories of an account that the credential sees, each once.

    ``host``, with the path where the forge lies below one, begins the repositories' ids. ``total`` is how many the
    forge itself says there are, None where it does not tell, and ``total_from`` which field said so; ``counts_all``
    whether that number holds what the credential does not see, too: else it equals the listing whatever is hidden.
    ``selected``: whether the app sees a selection only (None: no app). ``notes`` are sentences for the operator: pages
    that came twice, an owner that moved. ``doubts`` are those of them that tell of repositories which the credential
    may not see, beside ``total`` or without it: each is a gap.
    """

    host: str
    repos: tuple[ListedRepo, ...]
    total: int | None = None
    total_from: str = ""
    counts_all: bool = False
    selected: bool | None = None
    notes: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class GitCredential:
    """What git shows to one host over http. ``base_url`` (scheme, host, port) is all it may be sent to."""

    base_url: str
    username: str
    password: Secret = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteAccess:
    """How git goes to one remote: what it shows, and the certificates (PEM) that the server's is checked against."""

    credential: GitCredential | None = None
    ca_file: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class OddTag:
    """What a tag names that names no commit, all annotations peeled off: ``kind`` is ``blob`` or ``tree``."""

    kind: str
    oid: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Mirror:
    """Our own bare mirror of one repository after a refresh.

    ``refs`` maps heads and tags (full names) to commits (tags peeled), ``odd`` the tags that name a blob or a tree;
    every head and tag is in one of the two. ``head_ref`` is the default branch if it exists. ``forced`` are the refs
    that moved to what does not follow from what they were and that a run may not have looked at since; None if that is
    not known.
    """

    path: Path
    head_ref: str | None
    refs: Mapping[str, str]
    odd: Mapping[str, OddTag]
    fetched: bool
    forced: frozenset[str] | None = None

    @property
    def tips(self) -> tuple[str, ...]:
        """The distinct objects that all heads and tags name, sorted: commits, and the blobs and trees of ``odd``."""
        return tuple(sorted({*self.refs.values(), *(o.oid for o in self.odd.values())}))


@dataclass(frozen=True, slots=True, kw_only=True)
class PackSource:
    """Where a rule pack comes from: a folder, or (with ``commit``, whole and in hex) a git address."""

    name: str
    location: str
    commit: str | None = None
    folder: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionPlace:
    """Where people decide about findings, and what makes an entry count: ``signed``, ``reviewed`` or ``none``."""

    file: Path
    approval: str
    #: Keys of those who may approve, for ``signed``.
    signers: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Review:
    """What a forge says of a commit: the account that approved it, or why none did (``problem``).

    ``head`` is the commit that was looked at: what was merged may be another one (a squash).
    """

    approver: str | None = None
    head: str | None = None
    problem: str = ""
