"""The section ``rotation`` of ``org.yaml``: which secrets are rotated, where they lie, what accepts them, and when."""

from __future__ import annotations

import re
from datetime import time, timedelta
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, ConfigDict, Field, WithJsonSchema

from flows.org_models import Section
from flows.org_types import Account, Folder, Name, Program, Reference, Word, tell
from tasks.policy.secret_hygiene import HygieneLimits
from tasks.rotation.passwords import ValuePolicy
from tasks.rotation.schedule import Schedule, Window

Weekday = Literal["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]
#: A static role is both: its store changes the value itself.
BACKENDS = ("vault", "aws", "static_role")
TARGETS = ("postgresql", "mysql", "iam", "program", "certificate", "static_role")
TargetKind = Literal["postgresql", "mysql", "iam", "program", "certificate", "static_role"]
#: Who issues certificates.
ISSUERS = ("authority", "vault")
WEEKDAYS: tuple[Weekday, ...] = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_ROLE = re.compile(r"arn:(?P<partition>aws[a-z-]*):iam::(?P<account>[0-9]{12}):role/")
#: What must be written where one identity is rotated under its consumers.
ACCEPTED = "accepted"


def _zone(value: str) -> str:
    try:
        ZoneInfo(value)
    except (LookupError, ValueError, OSError):
        tell("there is no such time zone", "Write it as the IANA names it, as in Europe/Berlin.")
    return value


def _line(value: str) -> str:
    if not value.isprintable() or value != value.strip():
        tell("it holds what cannot be printed, or spaces around it", "Write it as one line of text.")
    return value


def _clock(value: str) -> str:
    if not re.fullmatch(_CLOCK, value):
        tell("it is no time of the day", 'Write it in quotes with two digits each, as in "06:00"; the last is "23:59".')
    return value


def _weekdays(value: tuple[Weekday, ...]) -> tuple[Weekday, ...]:
    if not value:
        tell("it never opens", "Name days, as in [monday, tuesday], or remove it for all of them.")
    return value


def _users(value: tuple[str, ...]) -> tuple[str, ...]:
    if not 1 <= len(value) <= _PAIR:
        tell("it is neither two users nor one", "Name two users with the same rights, which alternate.")
    return value


_CLOCK = r"^([01][0-9]|2[0-3]):[0-5][0-9]$"
_PAIR = 2
Clock = Annotated[str, AfterValidator(_clock), WithJsonSchema({"type": "string", "pattern": _CLOCK})]
Zone = Annotated[str, AfterValidator(_zone)]
#: Text of one line, as the other side knows it: users, hosts, fields, statements.
Line = Annotated[str, Field(min_length=1, max_length=4000), AfterValidator(_line)]
Host = Annotated[str, Field(pattern=r"^(/[^\s]*|[A-Za-z0-9._:-]+)$", max_length=255)]
Port = Annotated[int, Field(ge=1, le=65535)]
Arn = Annotated[str, Field(pattern=r"^arn:aws[a-z-]*:[^\s]+$", max_length=2048)]


def _exactly_one(*of: tuple[str, ...]) -> dict[str, Any]:
    """For the JSON Schema: exactly one key of each of these."""
    return {"allOf": [{"oneOf": [{"required": [n]} for n in names]} for names in of]}


# -- when, and how a value is made --------------------------------------------------------------------------------


class WindowSettings(Section):
    """When rotations may begin. One that was begun is finished at any time."""

    weekdays: Annotated[tuple[Weekday, ...], AfterValidator(_weekdays)] = Field(
        WEEKDAYS, description="The days on which it opens; all when absent."
    )
    opens: Clock = Field(description='From when on, "22:00" in quotes.')
    closes: Clock = Field(description="Until before when; earlier than `opens`: the next day; equal: the whole day.")
    zone: Zone = Field(description="By whose clocks, as in Europe/Berlin.")

    def window(self) -> Window:
        """The window as the schedule knows it."""
        return Window(
            zone=ZoneInfo(self.zone), opens=time.fromisoformat(self.opens), closes=time.fromisoformat(self.closes),
            weekdays=frozenset(WEEKDAYS.index(d) for d in self.weekdays),
        )  # fmt: skip


class PolicySettings(Section):
    """How secrets are rotated that name this policy."""

    every_days: float = Field(ge=0.01, le=3650, description="How often.")
    minimum_age_days: float | None = Field(
        None, ge=0, le=3650, description="What was changed for another reason is left alone so long; half when absent."
    )
    grace_minutes: float = Field(
        60, ge=0, le=525600, description="How long consumers may remember the old value; it works meanwhile."
    )
    leak_grace_minutes: float | None = Field(
        None, ge=0, le=525600, description="The same once the old value has leaked; as long as else when absent."
    )
    hold_days: float | None = Field(
        None, ge=0, le=3650, description="How much longer one that is still used is kept; null: as long as it is used."
    )
    settle_seconds: float = Field(10, ge=0, le=600, description="How long a target may take to accept a new value.")
    windows: tuple[WindowSettings, ...] = Field((), description="When rotations may begin; at any time when absent.")
    length: int | None = Field(None, ge=1, description="Characters of a value; what fits the target when absent.")
    alphabet: str | None = Field(None, min_length=1, description="Its characters; what fits the target when absent.")
    classes: tuple[str, ...] | None = Field(
        None, description="Of each of these texts at least one character appears; what fits the target when absent."
    )

    def schedule(self) -> Schedule:
        """When it is due."""
        every = timedelta(days=self.every_days)
        least = every / 2 if self.minimum_age_days is None else timedelta(days=self.minimum_age_days)
        return Schedule(every=every, minimum_age=least, windows=tuple(w.window() for w in self.windows))

    def values(self, fitting: ValuePolicy) -> ValuePolicy:
        """How a value is made, for a target that ``fitting`` fits. Raises UsageError."""
        return ValuePolicy(
            length=fitting.length if self.length is None else self.length,
            alphabet=fitting.alphabet if self.alphabet is None else self.alphabet,
            classes=fitting.classes if self.classes is None else self.classes,
        )


class ConsumerSettings(Section):
    """Who reads the secret."""

    name: Word = Field(description="Its name, for people.")
    cache_minutes: float = Field(0, ge=0, le=525600, description="How long it goes on with a value that it has read.")


# -- where it lies ------------------------------------------------------------------------------------------------


class VaultPlaceSettings(Section):
    """A secret of a key-value mount of version 2; the section `vault` says where Vault is."""

    mount: Account = Field(description="The mount, as in `vault kv get -mount=MOUNT PATH`.")
    path: Line = Field(description="Its path there.")
    pending_path: Line | None = Field(
        None, description="Where the next value waits; the path with -nightwarden when absent."
    )


class StaticRoleSettings(Section):
    """A static role of a database engine of Vault or OpenBao, which changes the password itself, at once."""

    mount: Account = Field(description="The mount.")
    role: Account = Field(description="The role.")
    in_place: Literal["accepted"] | None = Field(
        None, description="That its consumers fail until they have asked again is accepted; it must be written."
    )


class RoleSettings(Section):
    """A role of AWS that is taken on."""

    arn: Arn = Field(description="Its ARN.")
    external_id: Line | None = Field(None, description="What its trust policy asks for, if it does.")
    session_name: Annotated[str, Field(pattern=r"^[\w+=,.@-]{2,64}$")] = Field(
        "nightwarden", description="Who CloudTrail says it was."
    )

    @property
    def owner(self) -> tuple[str, str] | None:
        """The partition and the account that its ARN names; None: it names none."""
        told = _ROLE.match(self.arn)
        return (told["partition"], told["account"]) if told is not None else None


class AwsPlaceSettings(Section):
    """A secret of AWS Secrets Manager; the section `aws` says how we are known there."""

    id: Line = Field(description="Its name or ARN.")
    region: Word | None = Field(None, description="Its primary region; that of the section `aws` when absent.")
    role: RoleSettings | None = Field(None, description="A role that is taken on for it.")
    account: Annotated[str, Field(pattern=r"^[0-9]{12}$")] | None = Field(
        None, description="Its account, in quotes; `rotate policy aws` needs it where `id` is no ARN."
    )
    kms_key: Arn | None = Field(None, description="The key that encrypts it, for `rotate policy aws`.")


# -- what accepts it ----------------------------------------------------------------------------------------------


class AdminSettings(Section):
    """Who administers the server."""

    user: Line = Field(description="The account.")
    password: Reference = Field(description="A reference to its password, which is read when it is needed.")


class FieldsSettings(Section):
    """Names of the fields of the stored value; others stay as they are."""

    username: Line | None = Field("username", description="That of the user; null: it stands in the URL alone.")
    password: Line = Field("password", description="That of the password.")
    url: Line | None = Field(None, description="One that holds user and password in a URL.")
    templates: dict[str, Line] = Field(
        default_factory=dict, description="Fields that are written anew, of others: jdbc:…?user={username}."
    )


class _UsersSettings(Section):
    """What the users of any database have."""

    host: Host = Field(description="The server; a path is a socket.")
    ca_file: Folder | None = Field(None, description="Certificates (PEM) the server's is checked against.")
    users: Annotated[tuple[Line, ...], AfterValidator(_users)] = Field(
        description="Two users with the same rights that alternate; one by `in_place` only."
    )
    in_place: Literal["accepted"] | None = Field(
        None, description="For one user: that its consumers fail until they have read again is accepted."
    )
    admin: AdminSettings = Field(description="Who alters them.")
    check: Line | None = Field(None, description="A statement that each new credential must be able to run; read-only.")
    fields: FieldsSettings = Field(default_factory=FieldsSettings, description="How the stored value is made.")
    wait_seconds: float = Field(5, ge=0, le=600, description="How long another runner is waited for.")


class PostgreSqlSettings(_UsersSettings):
    """Users of PostgreSQL."""

    port: Port = Field(5432, description="Its port.")
    sslmode: Literal["disable", "allow", "prefer", "require", "verify-ca", "verify-full"] = Field(
        "verify-full", description="As libpq knows it; less than require only on this machine."
    )
    dbname: Line = Field(description="The database that they log in to.")
    admin_dbname: Line = Field("postgres", description="That which `admin` logs in to; the same for all runners.")
    valid_for_days: float | None = Field(None, gt=0, le=3650, description="Each new password ends then (VALID UNTIL).")


class MySqlSettings(_UsersSettings):
    """Users of MySQL or MariaDB."""

    port: Port = Field(3306, description="Its port.")
    tls: bool = Field(True, description="Whether the server is asked over TLS; false only on this machine.")
    from_host: Line = Field("%", description="The part after @ of the users.")
    dbname: Line | None = Field(None, description="The database that they log in to.")


class IamSettings(Section):
    """Access keys of a user of AWS; the section `aws` says how we are known there."""

    user: Annotated[str, Field(pattern=r"^[\w+=,.@-]{1,64}$")] = Field(description="The user's name.")
    arn: Arn | None = Field(None, description="The user's ARN, for `rotate policy aws`.")
    role: RoleSettings | None = Field(None, description="A role that is taken on for it.")
    id_field: Line = Field("aws_access_key_id", description="The field of the key's id.")
    secret_field: Line = Field("aws_secret_access_key", description="The field of its secret.")


class ProgramSettings(Section):
    """Any target, by an executable of yours: docs/rotation-program.md."""

    executable: Program = Field(description="The executable; not everybody may write it.")
    arguments: tuple[Line, ...] = Field((), description="What it is started with.")
    environment: dict[str, Line] = Field(default_factory=dict, description="Its environment; nothing else is in it.")
    settings: dict[str, Line] = Field(default_factory=dict, description="Plain words that every request has.")
    secrets: dict[str, Reference] = Field(
        default_factory=dict, description="References to secret ones that every request has beside them."
    )
    reads: tuple[Folder, ...] = Field((), description="Files and folders that it may read.")
    writes: tuple[Folder, ...] = Field((), description="Files and folders that it may write.")
    network: bool = Field(True, description="Whether it sees the network.")
    timeout_s: float = Field(30, gt=0, le=3600, description="Seconds a call may take.")
    memory_mb: int = Field(512, ge=16, description="Megabytes it may use.")
    lease_s: float = Field(300, gt=0, le=86400, description="Seconds a lock that it gives lasts.")


class EndpointSettings(Section):
    """Where a certificate is served."""

    host: Host = Field(description="The host.")
    port: Port = Field(443, description="Its port.")
    server_name: str = Field("", description="The name that is asked for there (SNI); the host when absent.")


class CertificateFieldsSettings(Section):
    """Names of the fields of the stored value."""

    certificate: Line = Field("certificate", description="That of the certificate.")
    private_key: Line = Field("private_key", description="That of its key.")
    ca_chain: Line = Field("ca_chain", description="That of the chain.")


class AuthoritySettings(Section):
    """An authority of your own, which issues them."""

    certificate: Folder = Field(description="Its certificate (PEM), with those above it.")
    key: Reference = Field(description="A reference to its key (PEM).")
    crl: Folder | None = Field(None, description="The list of what it revoked, which is made and kept.")
    key_kind: Literal["ec-p256", "ec-p384", "rsa-2048", "rsa-4096"] = Field(
        "ec-p256", description="The kind of the keys that are made."
    )


class VaultRoleSettings(Section):
    """A role of a PKI mount; the section `vault` says where Vault is."""

    mount: Account = Field(description="The mount.")
    role: Account = Field(description="The role, which says what it issues.")


class CertificateSettings(Section):
    """TLS certificates."""

    model_config = ConfigDict(json_schema_extra=_exactly_one(ISSUERS))

    authority: AuthoritySettings | None = Field(None, description="An authority of your own issues them.")
    vault: VaultRoleSettings | None = Field(None, description="Or Vault or OpenBao does.")
    common_name: Line = Field(description="The name that they are for.")
    alt_names: tuple[Line, ...] = Field((), description="More names, addresses or URIs.")
    ttl_days: float = Field(90, gt=0, le=3650, description="How long each is valid.")
    least_days: float | None = Field(None, gt=0, description="The least that is accepted; half of it when absent.")
    trusted: Folder | None = Field(None, description="Roots (PEM) that its chain must end in.")
    fields: CertificateFieldsSettings = Field(
        default_factory=CertificateFieldsSettings, description="How the stored value is made."
    )
    endpoints: tuple[EndpointSettings, ...] = Field((), description="Where it is served, to see which one is in use.")
    revokes: bool = Field(True, description="Whether the old one is revoked (by an authority: in its `crl`).")


# -- all of it ----------------------------------------------------------------------------------------------------


class RotatedSettings(Section):
    """A secret that is rotated: where it lies, what accepts it, and when."""

    model_config = ConfigDict(json_schema_extra=_exactly_one(BACKENDS, TARGETS))

    vault: VaultPlaceSettings | None = Field(None, description="It lies in Vault or OpenBao.")
    aws: AwsPlaceSettings | None = Field(None, description="It lies in AWS Secrets Manager.")
    postgresql: PostgreSqlSettings | None = Field(None, description="Users of PostgreSQL accept it.")
    mysql: MySqlSettings | None = Field(None, description="Users of MySQL or MariaDB accept it.")
    iam: IamSettings | None = Field(None, description="It is an access key of a user of AWS.")
    program: ProgramSettings | None = Field(None, description="What an executable of yours speaks for accepts it.")
    certificate: CertificateSettings | None = Field(None, description="It is a TLS certificate with its key.")
    static_role: StaticRoleSettings | None = Field(
        None, description="Instead of a place and a target: Vault rotates it, when it is told to."
    )
    policy: Name = Field(description="One of `policies`.")
    consumers: tuple[ConsumerSettings, ...] = Field((), description="Who reads it.")
    failure_class: Line | None = Field(
        None, description="After one of a class failed none of it is begun in a run; the kind and host when absent."
    )

    @property
    def kind(self) -> str:
        """The kind of its target."""
        return next((t for t in TARGETS if getattr(self, t) is not None), "none")

    @property
    def place(self) -> str:
        """Where it lies, for people."""
        if self.vault is not None:
            return f"vault:{self.vault.mount}/{self.vault.path}"
        if self.static_role is not None:
            return f"vault:{self.static_role.mount}/static-roles/{self.static_role.role}"
        return f"aws-sm:{self.aws.id}" if self.aws is not None else "nowhere"


# -- what else there is -------------------------------------------------------------------------------------------


class VaultInventorySettings(Section):
    """What of Vault or OpenBao is looked at; the section `vault` says where it is."""

    mounts: tuple[Account, ...] | None = Field(None, description="Only these mounts; all when absent.")


class AwsInventorySettings(Section):
    """What of AWS is looked at; the section `aws` says how we are known there."""

    regions: tuple[Word, ...] = Field((), description="These regions; that of the section `aws` when absent.")
    roles: tuple[RoleSettings, ...] = Field(
        (), description="Roles that are taken on, one an account; none when absent."
    )


class InventorySettings(Section):
    """Stores that are looked at for all that they hold, and how they are kept: nightwarden rotate inventory."""

    vault: VaultInventorySettings | None = Field(None, description="Vault or OpenBao; {} for all of it.")
    aws: AwsInventorySettings | None = Field(None, description="AWS; {} for the region and account of `aws`.")
    maximum_age_days: float = Field(
        90, gt=0, le=3650, description="How old a value may be that nobody configured; of others their policy says it."
    )
    unused_days: float = Field(90, gt=0, le=3650, description="What was not used for so long is unused.")
    expiring_days: float = Field(30, ge=0, le=3650, description="From when on the end of a certificate is near.")

    def limits(self) -> HygieneLimits:
        """From when on it is too late."""
        return HygieneLimits(
            maximum_age_days=self.maximum_age_days, unused_days=self.unused_days, expiring_days=self.expiring_days
        )


class RotationSettings(Section):
    """Secrets that are rotated: nightwarden rotate."""

    concurrency: int = Field(4, ge=1, le=64, description="Secrets at a time.")
    max_per_run: int | None = Field(
        None, ge=0, description="So many new rotations a run at most; what is finished is not counted."
    )
    leaks: bool = Field(
        True, description="Whether what a scan finds in a repository is rotated at once, whatever age and window."
    )
    dangerous: tuple[TargetKind, ...] = Field(
        (), description="Kinds of targets that need an approval beside those that always do: rotate approve."
    )
    policies: dict[str, PolicySettings] = Field(default_factory=dict, description="When and how, by name.")
    secrets: dict[str, RotatedSettings] = Field(default_factory=dict, description="What is rotated, by name.")
    inventory: InventorySettings | None = Field(
        None, description="Stores that are looked at for all that they hold, and how they are kept."
    )
