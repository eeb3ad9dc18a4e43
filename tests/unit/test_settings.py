"""What the settings become: places, variables, the types of the rooms, and the schema."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from flows import cli_config
from flows.org_models import SourceSettings
from flows.org_schema import references
from flows.settings import Settings, load, unknown_variables, variables
from tasks.core.aws_access import AwsAccess
from tasks.core.errors import UsageError
from tasks.core.mistakes import ConfigurationError
from tasks.core.origins import AppAuth, Classification, DecisionPlace, Filters, ForgeAccess, ForgeKind, Source
from tasks.core.secret_refs import parse_ref
from tasks.core.vault_access import VaultAccess

ROOT = Path(__file__).parents[2]
EXAMPLE = files("flows").joinpath("org_example.yaml").read_text()


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [n for n in os.environ if n.startswith("NIGHTWARDEN_")]:
        monkeypatch.delenv(name)


def loaded(place: Path, text: str, **given: object) -> Settings:
    (place / "org.yaml").write_text(text)
    return load(place / "org.yaml", **given)


def switched_on(text: str) -> str:
    """The example with every setting in force."""
    return re.sub(r"^#( *(?:- )?[a-z0-9_-]+:(?: |$))", r"\1", text, flags=re.MULTILINE)


def test_places_count_from_the_folder_of_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "link").symlink_to("/usr/bin/env")
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.chdir(tmp_path)
    text = """
home: ../home
lake: ~/lake
key_file: /keys/key
sources:
  - {name: a, path: git}
  - {name: b, url: "https://git.example.org/b.git", token: "file:token", ca_file: ca.pem}
tools: {checkov: {binary: link}}
"""
    made = loaded(tmp_path / "etc", text)
    assert (made.home, made.lake_dir, made.key_path) == (tmp_path / "home", Path("/home/me/lake"), Path("/keys/key"))
    assert made.sources[0].source() == Source(name="a", location=str(tmp_path / "etc" / "git"))
    assert made.sources[1].source() == Source(
        name="b",
        location="https://git.example.org/b.git",
        token=parse_ref(f"file:{tmp_path}/etc/token"),
        ca_file=tmp_path / "etc" / "ca.pem",
    )
    assert made.tools["checkov"].binary == tmp_path / "etc" / "link", "a program may go by the name it is called by"


def test_variables_and_options_overrule_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "etc").mkdir()
    text = "workers: 2\nlake: lake\nown_pack: true\ndisk_reserve_gb: 1.5\ns3: {region: eu}\ntools_home: t\n"
    for name, value in {
        "WORKERS": "3", "LAKE": "other", "OWN_PACK": "no", "S3_ENDPOINT": "https://s3.example.org", "TOOLS": "older",
        "S3_ACCESS_KEY": "file:id", "S3_SECRET_KEY": "env:KEY", "VAULT_KV_VERSION": "2", "HOME": "", "KEY_FILE": "~/k",
    }.items():  # fmt: skip
        monkeypatch.setenv(f"NIGHTWARDEN_{name}", value)
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.setenv("XDG_DATA_HOME", "/data")
    made = loaded(tmp_path / "etc", text)
    assert (made.workers, made.lake, made.own_pack, made.disk_reserve_gb) == (3, tmp_path / "other", False, 1.5)
    assert (made.home, made.tools_home, made.key_file) == (
        Path("/data/nightwarden"), tmp_path / "older", Path("/home/me/k"),
    )  # fmt: skip
    assert made.s3 is not None and made.vault is not None
    assert (made.s3.endpoint, made.s3.region) == ("https://s3.example.org", "eu")
    assert made.s3.access_key == parse_ref(f"file:{tmp_path}/id")
    assert made.vault.kv_version == 2
    made = loaded(tmp_path / "etc", text, workers=7, lake="s3://bucket/prefix/", sources=(SourceSettings(name="x"),))
    assert (made.workers, made.lake, made.sources[0].name) == (7, "s3://bucket/prefix", "x")
    monkeypatch.setenv("NIGHTWARDEN_TOOLS_HOME", "newer")
    assert load().tools_home == tmp_path / "newer"


def test_every_setting_of_one_value_has_a_variable() -> None:
    """Those that were there first, and all others by their name."""
    names = {"HOME", "LAKE", "TOOLS", "KEY_FILE", "WORKERS", "S3_SECRET_KEY", "VAULT_TOKEN", "AWS_REGION"}
    assert {f"NIGHTWARDEN_{n}" for n in names} <= variables().keys()
    sections = {"advisories", "registries", "decisions", "teams", "rotation", "s3", "vault", "aws"}
    many = {"packs", "sources", "classification", "sla", "tools", *sections}
    assert {k[0] for k in variables().values() if len(k) == 1} == set(Settings.model_fields) - many


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("WORKERS", "many", "a number is expected"),
        ("WORKERS", "0", "the number must be at least 1"),
        ("LAKE", "~nobody-of-this-name/x", "there is no such user"),
        ("KEY_FILE", "caf\udce9", "it is not UTF-8"),
        ("OWN_PACK", "perhaps", "true or false is expected, this is text"),
        ("DISK_RESERVE_GB", "nan", "a number is expected"),
        ("LAKE", "gs://x", "it is no folder and no s3://BUCKET/PREFIX"),
        ("S3_SECRET_KEY", "hunter2", "not a reference to a secret"),
        ("S3_ENDPOINT", "https://me:hunter2@x", "the address holds a user or a password"),
        ("VAULT_KV_VERSION", "3", "it is none of the words known here"),
    ],
)
def test_a_wrong_variable_is_named(
    name: str, value: str, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"NIGHTWARDEN_{name}", value)
    text = "workers: 2\ns3: {access_key: env:A, secret_key: env:B}\nwokers: 1\n"
    with pytest.raises(ConfigurationError) as error:
        loaded(tmp_path, text)
    head, *lines = str(error.value).splitlines()
    assert head == "2 mistakes in the configuration", "the file's own are told beside it"
    assert f"NIGHTWARDEN_{name}: {told}" in lines
    assert "hunter2" not in str(error.value)


def test_a_variable_puts_a_wrong_line_of_the_file_right(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NIGHTWARDEN_WORKERS", "4")
    assert loaded(tmp_path, "workers: 0x10\n").workers == 4


@pytest.mark.parametrize(
    ("variable", "value", "text", "told"),
    [
        ("VAULT_TOKEN", "env:FOO", "vault: {token: hvs.%s}", "what looks like a Vault token is written here"),
        ("VAULT_TOKEN", "env:FOO", "vault: {token: hunter2}", "not a reference to a secret"),
        (
            "VAULT_ADDRESS",
            "https://x",
            "vault: {address: 'https://me:hunter2@x'}",
            "the address holds a user",
        ),
        ("WORKERS", "3", "workers: ghp_%s", "what looks like a GitHub token is written here"),
        ("LAKE", "other", "lake: 's3://b/p?token=hunter2'", "the address holds a token in its query"),
        ("VAULT_TOKEN", "env:FOO", "vault: hvs.%s", "what looks like a Vault token is written here"),
    ],
)
def test_a_secret_in_the_file_is_told_though_it_is_overruled(
    variable: str, value: str, text: str, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"NIGHTWARDEN_{variable}", value)
    with pytest.raises(ConfigurationError, match=rf"^\S+org\.yaml:1:\d+: \w+(\.\w+)?: {told}") as error:
        loaded(tmp_path, text.replace("%s", "A" * 30))
    assert len(error.value.mistakes) == 1
    assert "hunter2" not in str(error.value)


def test_a_variable_that_nothing_reads_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in (
        "WORKER",
        "VAULT_ADDR",
        "SOMETHING",
        "SERVICE_HOST",
        "SERVICE_PORT",
        "PORT",
        "PORT_8080_TCP_ADDR",
        "RECORD",
        "EMPTY",
    ):
        monkeypatch.setenv(f"NIGHTWARDEN_{name}", "" if name == "EMPTY" else "1")
    monkeypatch.setenv("nightwarden_lake", "x")
    with pytest.raises(ConfigurationError) as error:
        loaded(tmp_path, "workers: 0\n")
    assert [m.place.outside or m.what for m in error.value.mistakes] == [
        "the number must be at least 1", "NIGHTWARDEN_VAULT_ADDR", "NIGHTWARDEN_WORKER", "nightwarden_lake",
    ]  # fmt: skip
    assert "NIGHTWARDEN_WORKER: there is no such variable\n  Did you mean NIGHTWARDEN_WORKERS?" in str(error.value)
    assert "Did you mean NIGHTWARDEN_VAULT_ADDRESS?" in str(error.value)
    assert "Did you mean NIGHTWARDEN_LAKE?" in str(error.value)
    with pytest.raises(ConfigurationError):
        loaded(tmp_path, "workers: 0\n")
    told = capsys.readouterr().err
    assert told == "nightwarden: nothing reads the variable NIGHTWARDEN_SOMETHING\n", "once a process"


def test_every_variable_of_the_project_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    code = [p for d in ("deployments", "flows", "tasks", "tests") for p in (ROOT / d).rglob("*.py") if p.is_file()]
    code += [ROOT / "Makefile", ROOT / "deployments" / "prefect.yaml"]
    texts = [p.read_text() for p in code if p != Path(__file__)]
    for name in {n for t in texts for n in re.findall(r"NIGHTWARDEN_[A-Z0-9_]*[A-Z0-9]\b", t)}:
        monkeypatch.setenv(name, "1")
    assert "NIGHTWARDEN_THOROUGH" in os.environ
    assert unknown_variables() == {}


@pytest.mark.parametrize("given", ["variable", "option"])
def test_a_key_inside_the_lake_is_told_where_it_was_said(
    given: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake = str(tmp_path / "all")
    if given == "variable":
        monkeypatch.setenv("NIGHTWARDEN_LAKE", lake)
    with pytest.raises(ConfigurationError, match="2 mistakes") as error:
        loaded(tmp_path, "home: all/home\nwokers: 1\n", lake=None if given == "variable" else lake)
    where = "NIGHTWARDEN_LAKE" if given == "variable" else "--lake"
    assert f"\n{where}: the key file lies inside the lake\n" in str(error.value)
    assert loaded(tmp_path, "home: all/home\nkey_file: key\n", lake=lake).key_path == tmp_path / "key"


def test_an_option_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"^--workers: the number must be at least 1"):
        load(workers=0)


def test_nothing_is_expanded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WHERE", "elsewhere")
    assert loaded(tmp_path, "home: ${WHERE}\n").home == tmp_path / "${WHERE}"


def test_sources_become_what_discovery_takes(tmp_path: Path) -> None:
    made = loaded(tmp_path, switched_on(EXAMPLE))
    website, listed, hub, lab, tea = [s.source() for s in made.sources[1:]]
    assert website.token == parse_ref("env:WEBSITE_TOKEN")
    assert (listed.manifest, listed.location) == (tmp_path / "repositories.txt", str(tmp_path / "repositories.txt"))
    assert hub == Source(
        name="github",
        posture=True,
        location="https://github.com/example",
        forge=ForgeAccess(
            kind=ForgeKind.GITHUB,
            api_url="https://api.github.com",
            owner="example",
            owner_kind="organization",
            token=parse_ref("env:GITHUB_TOKEN"),
            sized=hub.filters,
        ),
        manifest=tmp_path / "repositories.txt",
        filters=Filters(
            include=("example/*",),
            exclude=("example/archive-*",),
            topics=("production",),
            visibility=("public", "internal", "private"),
            max_size_mb=2000,
        ),
        refs=("release/*", "refs/tags/v*"),
    )
    assert lab.forge is not None and tea.forge is not None
    assert lab.forge.sized is None, "no filter asks for sizes"
    assert (lab.location, lab.forge.owner_kind, lab.forge.subgroups) == (
        "https://gitlab.com/platform/backend", "group", True,
    )  # fmt: skip
    assert (tea.location, tea.forge.api_url) == ("https://gitea.example.org/example", "https://gitea.example.org")
    assert made.rules() == (
        Classification(
            match=("example/pay-*",),
            sources=("local",),
            topics=("payment",),
            visibility=("private",),
            criticality="high",
            exposure="internet",
            owner="team-payments",
            scopes=("pci",),
        ),
    )
    assert made.vault is not None and made.aws is not None
    assert made.vault.access() == VaultAccess(
        address="https://vault.example.org",
        namespace="team",
        ca_file=tmp_path / "certificates.pem",
        role_id="0b1c2d3e-example",
        secret_id=parse_ref("env:VAULT_SECRET_ID"),
        kv_version=2,
    )
    assert made.aws.access() == AwsAccess(
        region="eu-central-1",
        endpoint="https://secretsmanager.example.org",
        profile="security",
        ca_file=tmp_path / "certificates.pem",
    )
    assert len(list(references(made))) == 13


def test_decisions_lie_beside_the_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = loaded(tmp_path, "decisions: {allowed_signers: keys/signers}\n").decisions
    assert made is not None
    assert made.place() == DecisionPlace(
        file=tmp_path / "decisions.yaml", approval="signed", signers=tmp_path / "keys" / "signers"
    )
    assert loaded(tmp_path, "workers: 1\n").decisions is None
    monkeypatch.setenv("NIGHTWARDEN_DECISIONS_FILE", str(tmp_path / "other.yaml"))
    moved = loaded(tmp_path, "decisions: {approval: reviewed}\n").decisions
    assert moved is not None
    assert moved.file == tmp_path / "other.yaml"


def test_a_deployment_refuses_decisions_that_nobody_approves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from flows.means import opened

    made = loaded(tmp_path, "allow_no_sandbox: true\ndecisions: {approval: none}\n")
    monkeypatch.setenv("NIGHTWARDEN_DEPLOYED", "1")
    with pytest.raises(UsageError, match="whoever can write the file decides"), opened(made):
        pass
    assert not (tmp_path / "lake").exists()


def test_an_enterprise_server_and_an_app(tmp_path: Path) -> None:
    text = """
sources:
  - name: hub
    ca_file: ca.pem
    github:
      user: me
      api_url: https://github.example.org/api/v3/
      app: {id: 1, private_key: "file:app.pem", installation_id: 2}
"""
    source = loaded(tmp_path, text).sources[0].source()
    assert source.location == "https://github.example.org/me"
    assert source.forge == ForgeAccess(
        kind=ForgeKind.GITHUB,
        api_url="https://github.example.org/api/v3",
        owner="me",
        owner_kind="user",
        app=AppAuth(app_id=1, private_key=parse_ref(f"file:{tmp_path}/app.pem"), installation_id=2),
        ca_file=tmp_path / "ca.pem",
    )


def test_sources_of_every_kind_can_be_selected(tmp_path: Path) -> None:
    made = loaded(tmp_path, switched_on(EXAMPLE))
    assert [s.name for s in made.select(["local", "github", "listed"])] == ["local", "github", "listed"]


def test_no_error_of_pydantic_quotes_a_value() -> None:
    with pytest.raises(ValueError) as error:
        Settings(sources=[{"name": "x", "token": "hunter2"}], workers="hunter2")
    assert "hunter2" not in str(error.value)


# -- the commands ---------------------------------------------------------------------------------------------


def test_the_example_is_right_and_explains_every_setting(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cli_config.init(tmp_path / "org.yaml")
    cli_config.check(tmp_path / "org.yaml")
    told = capsys.readouterr().out
    assert "source         local: path" in told
    assert "note" not in told
    text = switched_on(EXAMPLE)
    (tmp_path / "org.yaml").write_text(text)
    cli_config.check(tmp_path / "org.yaml", lake="s3://bucket/prefix")
    told = capsys.readouterr().out
    assert "source         github: github https://github.com/example, signs in with env:GITHUB_TOKEN, also rel" in told
    assert "lake           s3://bucket/prefix" in told
    for section in (Settings, *(type(s) for s in every_section(loaded(tmp_path, text)))):
        for name in section.model_fields:
            assert re.search(rf"\b{name}:", text), f"{section.__name__}.{name} is not in the example"
    shown = {"sources", "classification", "tools", "packs", "advisories", "registries", "s3", "vault", "aws", "workers"}
    defaults = Settings(home=tmp_path)
    for line in re.findall(r"^#([a-z0-9_]+): (\S.*)$", EXAMPLE, flags=re.MULTILINE):
        name, value = line
        if name not in shown and not isinstance(getattr(defaults, name), Path | None):
            assert str(getattr(defaults, name)).lower() == value, "it shows the default"


def every_section(section: Any) -> list[Any]:
    found = []
    for name in type(section).model_fields:
        value = getattr(section, name)
        for item in value.values() if isinstance(value, dict) else value if isinstance(value, tuple) else (value,):
            if hasattr(type(item), "model_fields"):
                found += [item, *every_section(item)]
    return found


@pytest.mark.parametrize(
    "name", ["advisories", "registries", "classification", "packs", "tools", "rotation", "s3", "vault", "aws"]
)
def test_a_section_of_the_example_may_stand_there_empty_or_whole(name: str, tmp_path: Path) -> None:
    import yaml

    validator = Draft202012Validator({**Settings.model_json_schema()})
    head, _, rest = EXAMPLE.partition(f"\n#{name}:\n")
    block = re.match(r"(?:#? +.*\n)*", rest)
    assert block is not None
    whole = re.sub(r"^#", "", block.group(), flags=re.MULTILINE)
    for text in (f"{head}\n{name}:\n{rest}", f"{head}\n{name}:\n{whole}{rest[block.end() :]}"):
        made = loaded(tmp_path, text)
        assert list(validator.iter_errors(yaml.safe_load(text))) == []
    assert getattr(made, name), "whole, it says something"


@pytest.mark.parametrize("place", [".", "..", "/", "folder"])
@pytest.mark.parametrize("force", [True, False])
def test_init_is_told_a_folder(place: str, force: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "folder").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="is a folder"):
        cli_config.init(Path(place), force=force)
    assert [p.name for p in tmp_path.rglob("*")] == ["folder"]


def test_init_keeps_what_is_there(tmp_path: Path) -> None:
    place = tmp_path / "org.yaml"
    place.symlink_to("elsewhere")
    with pytest.raises(UsageError, match="is there already"):
        cli_config.init(place)
    assert not (tmp_path / "elsewhere").exists()
    cli_config.init(place, force=True)
    assert place.read_text() == EXAMPLE
    assert [p.name for p in tmp_path.iterdir()] == ["org.yaml"]
    with pytest.raises(UsageError, match="cannot be written"):
        cli_config.init(tmp_path / "none" / "org.yaml")


def test_the_schema_agrees_with_the_models(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    import yaml

    cli_config.schema()
    schema = json.loads(capsys.readouterr().out)
    Draft202012Validator.check_schema(schema)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    validator = Draft202012Validator(schema)
    for text in (EXAMPLE, switched_on(EXAMPLE)):
        assert list(validator.iter_errors(yaml.safe_load(text))) == []
    for text in ("wokers: 1", "workers: many", "sources: [{name: a}]", "sources: [{name: a, path: b, url: c}]",
                 "sources: [{name: a, url: b, token: c}]", "s3: {access_key: hunter2}", "lake: 3"):  # fmt: skip
        assert list(validator.iter_errors(yaml.safe_load(text))), text
    assert not re.search(r'"description": ""', json.dumps(schema))


def test_resolve_says_of_each_secret_whether_it_can_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = """
sources:
  - {name: a, url: "https://git.example.org/a.git", token: env:A_TOKEN}
  - {name: b, url: "https://git.example.org/b.git", token: env:B_TOKEN}
"""
    monkeypatch.setenv("A_TOKEN", "hunter2")
    monkeypatch.delenv("B_TOKEN", raising=False)
    (tmp_path / "org.yaml").write_text(text)
    with pytest.raises(UsageError, match="1 of 2 secrets cannot be read"):
        cli_config.check(tmp_path / "org.yaml", resolve=True)
    told = capsys.readouterr().out
    assert "readable       sources[0].token: env:A_TOKEN\n" in told
    assert "FAULT          sources[1].token: env:B_TOKEN: the environment variable is not set\n" in told
    assert "hunter2" not in told
    monkeypatch.setenv("B_TOKEN", "hunter2")
    cli_config.check(tmp_path / "org.yaml", resolve=True)


def test_help_loads_no_library_of_a_store_or_a_forge() -> None:
    heavy = ("boto3", "botocore", "hvac", "github", "gitlab", "gitea", "requests", "prefect", "deltalake", "pyarrow")
    code = f"import sys, flows.cli; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
