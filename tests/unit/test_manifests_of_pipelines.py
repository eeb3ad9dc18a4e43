"""Dockerfiles, workflows, hooks and Terraform: what one file says by itself."""

from __future__ import annotations

import pytest

from tasks.deps.images import image
from tasks.deps.manifest import Dependency, Source
from tasks.deps.pins import place, tag
from tests.deps_samples import FORMATS, gaps, parsed, rows, sample

SHA = "0b93645e9fea7318ecaed2b359559ac225c90a2b"


def test_a_dockerfile_tells_images_and_no_stages() -> None:
    found = sample("docker/Dockerfile")
    assert rows(found.dependencies) == [
        "golang 1.21.3 5 d",
        "ghcr.io/astral-sh/uv 0.4.9 6 d",
        "python 3.11-slim 12 dr",
        "registry.example.org:5000/team/tool - 13 d",
        "alpine - 16 d",
        "node (lts) 17 d",
        "busybox 1.36 20 d",
    ]
    assert (found.dependencies[3].revision or "").startswith("sha256:0123")
    assert [(u.why.value, u.line, u.detail) for u in found.unread] == [
        ("unresolved", 15, "an argument without a default: REGISTRY")
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("FROM a:1\nFROM 0\nCOPY --from=0 / /", ["a 1 1 d", "0 - 2 dr"]),
        ("arg V=1\nfrom a:$V as X\nFROM x", ["a 1 2 dr"]),
        ("ARG V\nFROM a:${V:-2}", ["a 2 2 dr"]),
        ("ARG V=9\nFROM a${V:+:3}", ["a 3 2 dr"]),
        ('ARG V="1.2"\nARG W=$V\nFROM a:${W}', ["a 1.2 3 dr"]),
        ("# escape=`\nFROM `\n  mcr.microsoft.com/windows:1809", ["mcr.microsoft.com/windows 1809 2 dr"]),
        ("FROM a:1 \\\n\n# comment\n  AS b\nFROM b", ["a 1 1 dr"]),
        ("\ufeffFROM docker.io/bitnami/redis:7.0", ["bitnami/redis 7.0 1 dr"]),
        ("FROM localhost:5000/x:1", ["localhost:5000/x 1 1 dr"]),
        ("FROM a:1 AS one\nRUN <<-'X' cat\n\tFROM b:2\n\tX\nFROM one", ["a 1 1 dr"]),
    ],
)
def test_forms_of_dockerfiles(text: str, expected: list[str]) -> None:
    assert rows(parsed("Dockerfile", text).dependencies) == expected


def test_arguments_do_not_grow_without_end() -> None:
    lines = ["ARG A0=aaaaaaaaaa"] + [f"ARG A{n}=$A{n - 1}$A{n - 1}" for n in range(1, 200)]
    found = parsed("Dockerfile", "\n".join([*lines, "FROM x:$A199"]))
    assert gaps(found) == [("unresolved", 201)]


def test_no_login_of_an_image_is_told() -> None:
    found = parsed("Dockerfile", "FROM https://user:s3cr3t@example.org/app:1\nFROM user:s3cr3t@example.org/app:1")
    assert found.dependencies == ()
    assert gaps(found) == [("malformed", 1), ("malformed", 2)]
    assert "s3cr3t" not in repr(found)


@pytest.mark.parametrize(
    ("text", "name", "version"),
    [("postgres:16", "postgres", "16"), ("index.docker.io/library/redis:7", "redis", "7"), ("a/b", "a/b", None),
     ("r.example:5/x/y:v1", "r.example:5/x/y", "v1"), ("x:latest", "x", None)],
)  # fmt: skip
def test_references_of_images(text: str, name: str, version: str | None) -> None:
    found = image(text, 1)
    assert isinstance(found, Dependency)
    assert (found.name, found.version) == (name, version)


def test_a_workflow_tells_actions_workflows_and_images() -> None:
    found = sample("github-actions/ci.yml")
    assert rows(found.dependencies) == [
        "octo-org/workflows (main) 25 dt",
        "actions/checkout (v4) 13 dt",
        "actions/setup-python 5.3.0 14 dt",
        "tj-actions/changed-files 45.0.1 15 dt",
        "github/codeql-action - 16 dt",
        "ghcr.io/example/tool 2.1 18 dt",
        "actions/cache 4.2.0 20 dt",
        "node 18.17.1 6 dt",
        "postgres 15.4 9 dt",
    ]
    assert found.dependencies[2].revision == SHA
    assert gaps(found) == [("unresolved", 11)]
    assert rows(sample("github-actions/action.yml").dependencies) == ["actions/upload-artifact 4.3.1 6 dt"]


@pytest.mark.parametrize(
    ("ref", "comment", "expected"),
    [
        (SHA, "# v5.3.0", ("5.3.0", None, SHA)),
        (SHA, "# frozen: v1.2", ("1.2", None, SHA)),
        (SHA, "# tag=codeql-bundle-v2.14.1", ("2.14.1", None, SHA)),
        (SHA, "# pin@v4", (None, "v4", SHA)),
        (SHA, "# see issue", (None, None, SHA)),
        (SHA, "", (None, None, SHA)),
        (SHA.upper(), "", (None, None, SHA)),
        ("v4.1.0", "# v9.9.9", ("4.1.0", None, None)),
        ("v4", "", (None, "v4", None)),
        ("release/2.1.0-rc.1", "", ("2.1.0-rc.1", None, None)),
        ("0b93645", "", (None, "0b93645", None)),
    ],
)
def test_references_of_git(ref: str, comment: str, expected: tuple[str | None, str | None, str | None]) -> None:
    assert tag(ref, comment) == expected


def test_odd_uses_are_gaps() -> None:
    text = "jobs:\n  a:\n    steps:\n    - uses: ${{ matrix.a }}\n    - uses: nothing\n    - uses: [x]\n    - run: x\n"
    assert gaps(parsed("GitHub Actions", text)) == [("unresolved", 4), ("malformed", 5), ("malformed", 6)]


@pytest.mark.parametrize("used", ["./.github/actions/a", "../a", "$/.github/workflows/plan.yml"])
def test_what_lies_in_the_repository_itself_is_no_package(used: str) -> None:
    found = parsed("GitHub Actions", f"jobs:\n  a:\n    uses: {used}\n")
    assert (found.dependencies, found.unread) == ((), ())


def test_hooks_and_their_packages() -> None:
    found = sample("pre-commit/.pre-commit-config.yaml")
    assert rows(found.dependencies) == [
        "github.com/psf/black 23.9.1 2 dt",
        "git.example.org/team/hooks 1.4.0 6 dt",
        "types-requests 2.31.0.2 10 dt",
        "eslint 8.49.0 10 dt",
        "flask-cors (>=4) 18 dt",
        "jinja2 3.1.2 19 dt",
    ]
    assert [d.ecosystem for d in found.dependencies] == ["pre-commit", "pre-commit", "PyPI", "npm", "PyPI", "PyPI"]
    assert gaps(found) == [("unsupported", 10)]
    assert "s3cr3t" not in repr(found)
    assert "token" not in repr(found)


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("https://github.com/psf/black", "github.com/psf/black"),
        ("https://u:p@Example.org:8443/a/b.git?x=1#y", "example.org/a/b"),
        ("git@github.com:psf/black.git", "github.com/psf/black"),
        ("git::ssh://git@example.org/a", "example.org/a"),
        ("https://u:p@q@example.org/a", "example.org/a"),
        ("../local", None), ("/abs/path", None), ("https://u:p@/a", None), ("x", None), ("https://a.b/c\nd", None),
    ],
)  # fmt: skip
def test_places_of_addresses_have_no_login(address: str, expected: str | None) -> None:
    assert place(address) == expected


def test_terraform_tells_providers_and_modules() -> None:
    lock = sample("terraform/.terraform.lock.hcl")
    assert rows(lock.dependencies) == ["hashicorp/aws 5.17.0 4 r", "registry.example.org/team/own 1.2.3 13 r"]
    found = sample("terraform/main.tf")
    assert rows(found.dependencies) == [
        "hashicorp/aws (~> 5.0) 4 dr",
        "hashicorp/random 3.5.1 8 dr",
        "registry.example.org/team/own 1.2.3 9 dr",
        "terraform-aws-modules/vpc/aws 5.1.2 14 dr",
        "git.example.org/team/network 1.2.0 20 dr",
    ]
    assert found.dependencies[-1].source is Source.GIT
    assert found.unread == ()
    assert "s3cr3t" not in repr(found)
    assert "token" not in repr(found)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("github.com/hashicorp/example?ref=v1.2.3", "github.com/hashicorp/example 1.2.3 1 dr"),
        ("git@github.com:hashicorp/example.git", "github.com/hashicorp/example - 1 dr"),
        ("https://u:p@example.org/vpc-module.zip", "example.org/vpc-module.zip - 1 dr"),
        ("app.terraform.io/org/net/aws//modules/x", "app.terraform.io/org/net/aws - 1 dr"),
        ("git::https://example.org/a.git//x?ref=" + SHA, "example.org/a - 1 dr"),
    ],
)
def test_sources_of_modules(source: str, expected: str) -> None:
    assert rows(parsed("*.tf", f'module "a" {{ source = "{source}" }}').dependencies) == [expected]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ('module "a" {\n  source = "x', 2),
        ("module {\n}\n}", 3),
        ("a {\n b = [1,\n}", 3),
        ("a {\n b = <<EOT\nx\n", 2),
        ("a {\n b = 1\n b = 2\n}", 3),
        ("/* never", 1),
        ('a = "${x', 1),
        ("a {\n", 1),
    ],
)
def test_hcl_that_is_none_is_told_with_its_line(text: str, line: int) -> None:
    with pytest.raises(Exception, match=r"closed|closes|twice|neither") as caught:
        parsed("*.tf", text)
    assert getattr(caught.value, "line", None) == line


def test_an_empty_file_of_terraform_declares_nothing() -> None:
    assert parsed("*.tf", "").dependencies == ()


@pytest.mark.parametrize(
    ("path", "form"),
    [
        ("Dockerfile", "Dockerfile"), ("a/api.Dockerfile", "Dockerfile"), ("Dockerfile.dev", "Dockerfile"),
        ("Containerfile", "Dockerfile"), ("Dockerfile.dockerignore", None), ("Dockerfiles/readme", None),
        (".github/workflows/ci.yaml", "GitHub Actions"), ("action.yml", "GitHub Actions"),
        (".github/workflows/sub/ci.yml", None), ("x/.pre-commit-config.yaml", ".pre-commit-config.yaml"),
        ("a/.terraform.lock.hcl", ".terraform.lock.hcl"), ("a/b.tf", "*.tf"), ("a/b.tofu", "*.tf"), ("b.tfvars", None),
        ("bom.json", "CycloneDX"), ("x.cdx.xml", "CycloneDX"), ("x.spdx", "SPDX"), ("x.spdx.yaml", "SPDX"),
    ],
)  # fmt: skip
def test_paths_of_pipelines(path: str, form: str | None) -> None:
    assert [each.name for each in FORMATS if each.matches(path)] == ([form] if form else [])
