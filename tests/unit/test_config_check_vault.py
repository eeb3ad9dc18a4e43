"""`config check` says which `vault:` references nobody can read by the way in which rotation alone signs in."""

from __future__ import annotations

from pathlib import Path

import pytest

from flows.cli_config import app

REFERS = """
home: home
vault: {{address: "https://vault.example.org", {way}}}
sources: [{{name: x, url: "https://git.example.org/x.git", token: "vault:secret/git#token"}}]
"""
WRAPPED = 'role_id: r, secret_id: "env:S", wrapped: true'


def checked(place: Path, capsys: pytest.CaptureFixture[str], text: str) -> str:
    (place / "org.yaml").write_text(text)
    app(["check", "--config", str(place / "org.yaml")], standalone_mode=False)
    return capsys.readouterr().out


@pytest.mark.parametrize(
    ("way", "variable", "told"),
    [
        ("kubernetes_role: k", "", "kubernetes_role is for rotation alone"),
        ("kubernetes_role: k", "VAULT_TOKEN_FILE", ""),
        (WRAPPED, "", "opens once"),
        (WRAPPED, "VAULT_TOKEN", "opens once"),
        ('role_id: r, secret_id: "env:S"', "", ""),
    ],
)
def test_references_that_nobody_can_read_are_told(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    way: str,
    variable: str,
    told: str,
) -> None:
    for name in ("VAULT_TOKEN", "VAULT_TOKEN_FILE"):
        monkeypatch.delenv(name, raising=False)
    if variable:
        monkeypatch.setenv(variable, "somewhere")
    said = checked(tmp_path, capsys, REFERS.format(way=way))
    assert ("references cannot be read" in said) == bool(told) and told in said
    assert ("sources[0].token" in said) == bool(told)
    assert "cannot be read" not in checked(tmp_path, capsys, f"home: home\nvault: {{{way}}}\n"), "nothing refers to it"
