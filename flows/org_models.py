"""The sections of ``org.yaml``, and the types of the rooms they become."""

from __future__ import annotations

from dataclasses import fields as dataclass_fields
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal, cast

from pydantic import BaseModel, ConfigDict, Field, field_validator

from flows.org_types import (
    Account,
    Folder,
    Handle,
    Name,
    Pattern,
    PlainReference,
    Program,
    Reference,
    RefPattern,
    WebAddress,
    Word,
    tell,
)
from tasks.core.aws_access import AwsAccess
from tasks.core.errors import UsageError
from tasks.core.origins import (
    AppAuth,
    Classification,
    DecisionPlace,
    Filters,
    ForgeAccess,
    ForgeKind,
    PackSource,
    Source,
    Team,
)
from tasks.core.vault_access import VaultAccess
from tasks.policy.severity import Severity
from tasks.policy.sla import SlaRule
from tasks.scanners.rule_packs import OWN_PACK

Visibility = Literal["public", "internal", "private"]
#: Sections that may stand there with nothing below them, as when all entries are commented out.
MAY_BE_EMPTY = ("classification", "packs", "sla", "tools")
KINDS = ("path", "url", "manifest", "github", "gitlab", "gitea")


def _one_of(*names: str) -> dict[str, Any]:
    """For the JSON Schema: exactly one of these keys."""
    return {"oneOf": [{"required": [n]} for n in names]}


#: Beside the address of a forge.
_ALLOW_HTTP: bool = Field(False, description="Whether a token may go there without TLS; to loopback it may.")


class Section(BaseModel):
    """A part of the configuration: nothing unknown in it, nothing of it changes, no value of it in an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True, defer_build=True)


class FilterSettings(Section):
    """Which of the repositories found are patrolled."""

    include: tuple[Pattern, ...] = Field((), description="Only repositories whose whole name one of these matches.")
    exclude: tuple[Pattern, ...] = Field((), description="None whose whole name one of these matches.")
    archived: bool = Field(False, description="Archived ones too.")
    forks: bool = Field(False, description="Forks too.")
    topics: tuple[Word, ...] = Field((), description="Only those with one of these topics.")
    visibility: tuple[Visibility, ...] = Field((), description="Only those that are seen so.")
    max_size_mb: int | None = Field(
        None, ge=1, description="None that the forge says is larger, in megabytes; GitLab is asked for each project."
    )

    def filters(self) -> Filters:
        """The filters as the rooms know them."""
        return Filters(**{name: getattr(self, name) for name in type(self).model_fields})


class AppSettings(Section):
    """A GitHub App instead of a token."""

    id: int = Field(ge=1, description="The App's id.")
    private_key: Reference = Field(description="A reference to its private key (PEM).")
    installation_id: int | None = Field(None, ge=1, description="The installation; the account's own when absent.")

    def auth(self) -> AppAuth:
        """The App as the rooms know it."""
        return AppAuth(app_id=self.id, private_key=self.private_key, installation_id=self.installation_id)


class GitHubSettings(Section):
    """An organisation or a user of GitHub, or of a GitHub Enterprise server."""

    model_config = ConfigDict(json_schema_extra=_one_of("organization", "user"))

    organization: Account | None = Field(None, description="The organisation's name.")
    user: Account | None = Field(None, description="Or a user's name.")
    api_url: WebAddress = Field(
        "https://api.github.com", description="The API; https://HOST/api/v3 of an Enterprise server."
    )
    allow_http: bool = _ALLOW_HTTP
    token: Reference | None = Field(None, description="A reference to a token.")
    app: AppSettings | None = Field(None, description="Or a GitHub App.")

    def access(self) -> ForgeAccess:
        """The account, as its client is made."""
        return ForgeAccess(
            kind=ForgeKind.GITHUB,
            api_url=self.api_url,
            owner=self.organization or self.user or "",
            owner_kind="organization" if self.organization else "user",
            token=self.token,
            app=self.app.auth() if self.app is not None else None,
        )

    def web_url(self) -> str:
        """The address of the account for people."""
        if self.api_url == "https://api.github.com":
            return f"https://github.com/{self.organization or self.user}"
        return f"{self.api_url.removesuffix('/api/v3')}/{self.organization or self.user}"


class GitLabSettings(Section):
    """A group of GitLab."""

    group: Account = Field(description="The group's full path, as in platform/backend.")
    url: WebAddress = Field("https://gitlab.com", description="The instance.")
    allow_http: bool = _ALLOW_HTTP
    subgroups: bool = Field(True, description="The groups below it too.")
    token: Reference | None = Field(None, description="A reference to a token.")

    def access(self) -> ForgeAccess:
        """The account, as its client is made."""
        return ForgeAccess(
            kind=ForgeKind.GITLAB,
            api_url=self.url,
            owner=self.group,
            owner_kind="group",
            subgroups=self.subgroups,
            token=self.token,
        )

    def web_url(self) -> str:
        """The address of the account for people."""
        return f"{self.url}/{self.group}"


class GiteaSettings(Section):
    """An organisation or a user of Gitea or Forgejo."""

    model_config = ConfigDict(json_schema_extra=_one_of("organization", "user"))

    organization: Account | None = Field(None, description="The organisation's name.")
    user: Account | None = Field(None, description="Or a user's name.")
    url: WebAddress = Field(description="The instance.")
    allow_http: bool = _ALLOW_HTTP
    token: Reference | None = Field(None, description="A reference to a token.")

    def access(self) -> ForgeAccess:
        """The account, as its client is made."""
        return ForgeAccess(
            kind=ForgeKind.GITEA,
            api_url=self.url,
            owner=self.organization or self.user or "",
            owner_kind="organization" if self.organization else "user",
            token=self.token,
        )

    def web_url(self) -> str:
        """The address of the account for people."""
        return f"{self.url}/{self.organization or self.user}"


class SourceSettings(Section):
    """One source of repositories: exactly one of its kinds, and what holds for all of them."""

    model_config = ConfigDict(json_schema_extra=_one_of(*KINDS))

    name: Name = Field(description="How runs refer to it.")
    path: Folder | None = Field(None, description="A folder with git repositories, bare or not, at any depth.")
    url: str | None = Field(None, description="A git address: https, http or file.")
    manifest: Folder | None = Field(None, description="A file that lists git addresses.")
    github: GitHubSettings | None = Field(None, description="An organisation or a user of GitHub.")
    gitlab: GitLabSettings | None = Field(None, description="A group of GitLab.")
    gitea: GiteaSettings | None = Field(None, description="An organisation or a user of Gitea.")
    expected: Folder | None = Field(
        None, description="For a forge: a manifest of what the account should hold; what is not listed is reported."
    )
    token: Reference | None = Field(None, description="For `url` and `manifest`: a reference to git's token.")
    allow_http: bool = Field(False, description="For `url` and `manifest`: whether the token may go without TLS.")
    ca_file: Folder | None = Field(None, description="Certificates (PEM) that the server's is checked against.")
    filters: FilterSettings = Field(default_factory=FilterSettings, description="Which repositories are patrolled.")
    refs: tuple[RefPattern, ...] = Field(
        (), description="Patterns of branches and tags that are watched beside the default branch."
    )
    posture: bool | None = Field(
        None, description="For a forge: whether it is asked for settings; where there is a credential when absent."
    )

    def source(self) -> Source:
        """The source as the rooms know it. Raises UsageError unless exactly one kind is given."""
        kinds = [k for k in KINDS if getattr(self, k) is not None]
        if len(kinds) != 1:
            raise UsageError(
                f"source {self.name!r} has {' and '.join(kinds) or 'no kind'}",
                advice=f"Give each source exactly one of {', '.join(KINDS)}.",
            )
        more: dict[str, Any] = {"filters": self.filters.filters(), "refs": self.refs}
        account = self.github or self.gitlab or self.gitea
        if account is not None:
            access = account.access()
            if self.ca_file is not None:
                access = replace(access, ca_file=self.ca_file)
            if self.filters.max_size_mb is not None:
                access = replace(access, sized=self.filters.filters())
            more["posture"] = bool(access.token or access.app) if self.posture is None else self.posture
            return Source(name=self.name, location=account.web_url(), forge=access, manifest=self.expected, **more)
        place = self.path or self.manifest
        return Source(
            name=self.name,
            location=str(place or self.url),
            manifest=self.manifest,
            token=self.token,
            allow_http=self.allow_http,
            ca_file=self.ca_file,
            **more,
        )


class ClassificationSettings(Section):
    """One rule that says what a repository is worth. All conditions given must hold; the first rule that says a word
    wins for that word, compliance scopes are added up."""

    match: tuple[Pattern, ...] = Field((), description="Repositories whose whole name one of these matches.")
    sources: tuple[str, ...] = Field((), description="Repositories of these sources.")
    topics: tuple[Word, ...] = Field((), description="Repositories with one of these topics.")
    visibility: tuple[Visibility, ...] = Field((), description="Repositories that are seen so.")
    criticality: Word | None = Field(None, description="How much depends on it, as in high.")
    exposure: Word | None = Field(None, description="Who can reach what it runs, as in internet.")
    owner: Word | None = Field(None, description="The team that answers for it.")
    scopes: tuple[Word, ...] = Field((), description="Compliance scopes, as in pci.")

    def rule(self) -> Classification:
        """The rule as the rooms know it."""
        return Classification(**{name: getattr(self, name) for name in type(self).model_fields})


class SlaSettings(Section):
    """One rule of the SLA. All conditions given must hold; the first rule that fits a finding says its days."""

    kind: Literal["code", "secret", "iac", "dependency", "web", "host", "posture", "secret-hygiene"] | None = Field(
        None, description="Findings of this kind."
    )
    severity: Literal["critical", "high", "medium", "low", "info"] | None = Field(
        None, description="Findings of this severity; an unknown one counts as `explain priority` says."
    )
    exposure: Word | None = Field(None, description="Findings of repositories with this exposure, as in internet.")
    origin: Literal["code", "rules", "advisory", "import", "time", "settings", "backlog"] | None = Field(
        None, description="Findings that came so; backlog: they were there when their repository was first looked at."
    )
    days: int | None = Field(ge=1, le=3650, description="Days to mend it from when it opened; null: no deadline.")

    def rule(self) -> SlaRule:
        """The rule as the policy knows it."""
        severity = Severity(self.severity) if self.severity is not None else None
        return SlaRule(kind=self.kind, severity=severity, exposure=self.exposure, origin=self.origin, days=self.days)


class TeamSettings(Section):
    """One team. A finding is a team's when the first of its owners is a member, or has the team's name."""

    members: tuple[Handle, ...] = Field(
        (), description="Names and addresses as CODEOWNERS has them: @org/payments, @jane, jane@example.org."
    )
    champions: tuple[Handle, ...] = Field((), description="Whom of it to ask about security.")
    repositories: tuple[Pattern, ...] = Field(
        (), description="Patterns of repositories that it answers for where nobody else is declared."
    )

    def team(self, name: str) -> Team:
        """The team as the rooms know it."""
        return Team(name=name, members=self.members, champions=self.champions, repositories=self.repositories)


class ToolSettings(Section):
    """How one scanner is used."""

    enabled: bool = Field(True, description="Whether it is used at all.")
    binary: Program | None = Field(None, description="A platform's own binary, instead of the installed environment.")
    timeout_s: float | None = Field(None, gt=0, description="Seconds one scan may take.")
    memory_mb: int | None = Field(None, ge=64, description="Megabytes one scan may use.")
    max_file_mb: int | None = Field(None, ge=1, description="Larger files are gaps (too_large).")
    max_total_mb: int | None = Field(None, ge=1, description="A checkout stops here (total_size).")
    max_files: int | None = Field(None, ge=1, description="A checkout has at most so many files (too_many_files).")


class PackSettings(Section):
    """One rule pack of semgrep beside our own: a folder, or a git address and the commit that was looked through."""

    model_config = ConfigDict(json_schema_extra=_one_of("path", "url"))

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,30}$", description="Stands before the ids of its rules.")]
    path: Folder | None = Field(None, description="A folder of YAML files with rules.")
    url: str | None = Field(None, description="A git address: https, http or file.")
    commit: Annotated[str, Field(pattern=r"^(?:[0-9a-f]{40}|[0-9a-f]{64})$")] | None = Field(
        None, description="The whole id of the commit whose rules are used; a branch may change overnight."
    )
    folder: str = Field("", description="The folder of the repository that holds the rules; all of it when empty.")

    @field_validator("folder")
    @classmethod
    def _inside(cls, value: str) -> str:
        if value.startswith("/") or ".." in value.split("/"):
            tell("it leads out of the repository", "Write a folder of the repository, as rules/semgrep.")
        return value.strip("/")

    def source(self) -> PackSource:
        """The pack as the patrol knows it. Raises UsageError unless it is a path, or an address with its commit."""
        if (self.path is None) == (self.url is None) or (self.url is not None) != (self.commit is not None):
            raise UsageError(
                f"rule pack {self.name!r} is neither a path nor an address with a commit",
                advice="Give each entry of `packs` a `path`, or both `url` and `commit`.",
            )
        if self.name == OWN_PACK:
            raise UsageError(
                f"rule pack {self.name!r} has the name of our own",
                advice="Choose another; `own_pack: false` switches it off.",
            )
        where = str(self.path or self.url)
        return PackSource(name=self.name, location=where, commit=self.commit, folder=self.folder)


class DecisionSettings(Section):
    """Where people decide about findings, and what makes a decision count."""

    file: Folder = Field(
        cast(Path, "decisions.yaml"),
        validate_default=True,
        description="The decisions, in the repository of org.yaml.",
    )
    approval: Literal["signed", "reviewed", "none"] = Field(
        "signed", description="What makes an entry count: somebody else's signature or review; none is for trials."
    )
    allowed_signers: Folder | None = Field(
        None, description="For `signed`: keys of those who may approve, as ssh-keygen(1) describes ALLOWED SIGNERS."
    )

    def place(self) -> DecisionPlace:
        """The place as the patrol knows it."""
        return DecisionPlace(file=self.file, approval=self.approval, signers=self.allowed_signers)


class S3Settings(Section):
    """Where the object storage of a lake on ``s3://`` is. Without keys, boto3's own chain says who we are."""

    endpoint: WebAddress | None = Field(None, description="The server; AWS's own when absent.")
    region: Word | None = Field(None, description="The region.")
    access_key: Reference | None = Field(None, description="A reference to the id of an access key.")
    secret_key: Reference | None = Field(None, description="A reference to its secret.")
    allow_http: bool = Field(False, description="Whether an endpoint without TLS may be used, other than on loopback.")
    cache_mb: int = Field(4096, ge=64, description="Megabytes of the lake's files that are kept here once fetched.")


class VaultSettings(Section):
    """Where HashiCorp Vault or OpenBao is, and how we sign in; what is absent comes from ``VAULT_*`` variables."""

    address: WebAddress | None = Field(None, description="The server; VAULT_ADDR when absent.")
    allow_http: bool = Field(False, description="Whether a server without TLS may be used, other than on loopback.")
    namespace: Account | None = Field(None, description="The namespace; VAULT_NAMESPACE when absent.")
    ca_file: Folder | None = Field(None, description="Certificates (PEM) the server's is checked against.")
    token: PlainReference | None = Field(None, description="A reference (env or file) to a token.")
    role_id: Word | None = Field(None, description="Or AppRole: the id of the role, which is no secret.")
    secret_id: PlainReference | None = Field(None, description="AppRole: a reference (env or file) to the secret id.")
    approle_mount: Account = Field("approle", description="Where AppRole is mounted.")
    wrapped: bool = Field(
        False, description="For `rotation`: what secret_id leads to is a wrapping token, which opens once."
    )
    kubernetes_role: Word | None = Field(None, description="For `rotation`: or Kubernetes, the role.")
    kubernetes_mount: Account = Field("kubernetes", description="Where Kubernetes is mounted.")
    kubernetes_token: PlainReference | None = Field(
        None, description="A reference (env or file) to the service account's token; the pod's own when absent."
    )
    proxy: WebAddress | None = Field(None, description="For `rotation`: a proxy; none of the environment is used.")
    kv_version: Literal[1, 2] | None = Field(None, description="The version of the KV mounts; asked when absent.")

    def access(self) -> VaultAccess:
        """What the store of `vault:` references is opened with."""
        return VaultAccess(**{f.name: getattr(self, f.name) for f in dataclass_fields(VaultAccess)})


class AwsSettings(Section):
    """Where AWS Secrets Manager is; what is absent comes from boto3's own chain."""

    region: Word | None = Field(None, description="The region; AWS_REGION when absent.")
    endpoint: WebAddress | None = Field(None, description="An endpoint of your own; AWS's when absent.")
    allow_http: bool = Field(False, description="Whether an endpoint without TLS may be used, other than on loopback.")
    profile: Word | None = Field(None, description="A profile of the AWS configuration.")
    ca_file: Folder | None = Field(None, description="Certificates (PEM) the server's is checked against.")

    def access(self) -> AwsAccess:
        """What the store is opened with."""
        return AwsAccess(**{name: getattr(self, name) for name in type(self).model_fields})
