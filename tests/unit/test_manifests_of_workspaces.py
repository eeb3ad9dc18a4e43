"""What members of a Cargo workspace inherit from it."""

from __future__ import annotations

from tasks.deps.formats import cargo
from tasks.deps.manifest import Manifest, Source
from tasks.deps.resolving import resolved
from tests.deps_samples import gaps

_BY_NAME = {form.name: form for form in cargo.FORMATS}


def parsed(form: str, text: str) -> Manifest:
    return _BY_NAME[form].parse(text.encode(), form)


def _closed(manifests: dict[str, Manifest], path: str) -> Manifest:
    return resolved(manifests, cargo.FORMATS)[path]


_WORKSPACE = """
[workspace]
members = ["crates/*"]
[workspace.dependencies]
own = { version = "0.1", path = "crates/own" }
serde = "1.0"
pinned = "=2.1.0"
short = { package = "long-name", version = "3" }
"https://u:p@x" = "1"
"""


def test_a_member_of_a_cargo_workspace_inherits_what_the_workspace_declares() -> None:
    names = ("own", "serde", "pinned", "short", "missing")
    member = "[dependencies]\n" + "".join(f"{n} = {{ workspace = true }}\n" for n in names) + 'plain = "1"\n'
    workspace = parsed("Cargo.toml", _WORKSPACE)
    told = _closed(
        {"Cargo.toml": workspace, "crates/app/Cargo.toml": parsed("Cargo.toml", member)}, "crates/app/Cargo.toml"
    )
    assert [(d.name, d.source.value, d.version, d.requirement, d.line) for d in told.dependencies] == [
        ("plain", "registry", None, "1", 7), ("own", "folder", None, "0.1", 2), ("serde", "registry", None, "1.0", 3),
        ("pinned", "registry", "2.1.0", None, 4), ("long-name", "registry", None, "3", 5),
        ("missing", "registry", None, None, 6),
    ]  # fmt: skip
    assert sorted(gaps(told)) == [("unpinned", 3), ("unpinned", 5), ("unpinned", 7), ("unresolved", 6)]
    assert "https" not in "".join(workspace.offers)
    lock = parsed("Cargo.lock", 'version = 4\n[[package]]\nname = "serde"\nversion = "1.0.5"\n'
                  'source = "registry+https://github.com/rust-lang/crates.io-index"\n')  # fmt: skip
    told = _closed(
        {"Cargo.toml": workspace, "Cargo.lock": lock, "a/Cargo.toml": parsed("Cargo.toml", member)}, "a/Cargo.toml"
    )
    assert ("unpinned", 3) not in gaps(told), "the lock says which"
    nearest = parsed("Cargo.toml", '[workspace.dependencies]\nserde = { git = "https://x.example/y", rev = "ab12" }\n')
    told = _closed(
        {"Cargo.toml": workspace, "a/Cargo.toml": nearest, "a/b/Cargo.toml": parsed("Cargo.toml", member)},
        "a/b/Cargo.toml",
    )
    assert {d.name: d.source for d in told.dependencies}["serde"] is Source.GIT, "the nearest workspace that has it"
