"""Rule packs as read: every fault is named, and the other rules stay."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tasks.scanners.rule_packs import Pack, own_pack, read_pack, suffixes_of_rule


def rule(rule_id: str, **more: Any) -> dict[str, Any]:
    """A rule that compiles."""
    return {
        "id": rule_id, "message": "m", "severity": "ERROR", "languages": ["python"], "pattern": "eval(...)", **more,
    }  # fmt: skip


def file_of(*rules: Any) -> str:
    """The text of a file of rules: JSON is YAML."""
    return json.dumps({"rules": list(rules)})


def read(folder: Path, **files: str | bytes) -> Pack:
    """The pack of a folder with these files (``name`` becomes ``name.yaml``)."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / f"{name}.yaml").write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_pack("team", folder)


def told(pack: Pack) -> list[str]:
    """The faults as told."""
    return [str(f) for f in pack.faults]


GOOD = file_of(rule("good"))
BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{n}: &{n} [*{b},*{b},*{b},*{b},*{b},*{b},*{b}]\n" for b, n in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("rules: [", "bad.yaml: no YAML, line"),
        (file_of(rule("x", languages=["regex"])), "x: a rule of texts needs `paths.include`"),
        (
            file_of(rule("x", languages=["generic"], paths={"include": ["*.erb", "src/**"]})),
            "x: a rule of texts needs `paths.include`",
        ),
        ("rules: []\n---\nrules: []\n", "bad.yaml: no YAML, line 2"),
        (b"rules: ['\xff\xfe']", "bad.yaml: it is not UTF-8"),
        (BOMB + "rules: []", "bad.yaml: YAML aliases are not read"),
        ("rules: " + "[" * 500_000, "bad.yaml: it is nested too deeply"),
        ("rules: " + "[" * 61 + "]" * 61, "bad.yaml: it is nested too deeply"),
        ("#" * (2 * 1024**2 + 1), "bad.yaml: it is larger than 2 MB"),
        ("rules: nothing", "bad.yaml: `rules` is no list"),
        (file_of("no rule"), "bad.yaml, rule 1: it is no mapping"),
        (file_of({"message": "m"}), "bad.yaml, rule 1: `id` is missing"),
        (file_of({**rule("x"), "severity": None, "id": 5}), "bad.yaml, rule 1: `id` is no word"),
        (file_of({k: v for k, v in rule("x").items() if k != "message"}), "x: `message` is missing"),
        (file_of(rule("a b")), "a b: `id` is no word"),
        (file_of(rule("x", languages=["cobol"])), "x: language cobol is not supported here"),
        (file_of(rule("x", languages=[])), "x: `languages` is no list of names"),
        (file_of(rule("x", languages="python")), "x: `languages` is no list of names"),
        (file_of(rule("x", message=["m"])), "x: `message` is no text"),
        ("rules: [{id: x, message: m, severity: E, languages: [go], at: 2026-01-01}]", "x: it holds a value"),
        ("rules: [{id: x, message: m, severity: E, languages: [go], at: .nan}]", "x: it holds a value"),
        ("rules: [{id: x, message: m, severity: E, languages: [go], 1: a, b: c}]", "x: it holds a value"),
        (file_of(rule("x", paths={"exclude": ["a.py", "/src/**"]})), "x: a pattern of `paths` goes by the topmost"),
        (file_of(rule("good")), "good: the id is used twice; the one in z-bad.yaml does not run"),
    ],
    ids=lambda v: v[-40:] if isinstance(v, str) and len(v) < 200 else "",
)
def test_every_fault_is_named_and_the_others_stay(tmp_path: Path, text: str | bytes, why: str) -> None:
    name = "z-bad" if "twice" in why else "bad"
    pack = read(tmp_path, good=GOOD, **{name: text})
    assert list(pack.rules) == ["team.good"]
    (said,) = told(pack)
    assert said.startswith(why)


def test_a_fault_names_the_rule_where_it_has_an_id(tmp_path: Path) -> None:
    """Findings of the others may then close."""
    pack = read(tmp_path, a=file_of(rule("x", languages=["cobol"]), rule("a b")), b="rules: [")
    assert [f.rule for f in pack.faults] == ["x", None, None, None]


def test_a_fault_tells_what_the_rule_would_have_read(tmp_path: Path) -> None:
    """Also where nothing else of the rule is right."""
    go = {"languages": ["go"]}
    rules = (go, {"id": "x", **go}, {"id": "x", "languages": ["cobol"]}, {"id": "x", "languages": "go"}, "no rule")
    pack = read(tmp_path, a=file_of(*rules), b="rules: [")
    assert [f.reads for f in pack.faults] == [(b".go",), (b".go",), (), (), (), (), ()]


def test_links_are_named_and_never_followed(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    read(outside, other=file_of(rule("other")))
    folder = tmp_path / "pack"
    folder.mkdir()
    (folder / "link.yaml").symlink_to(outside / "other.yaml")
    (folder / "below").symlink_to(outside)
    pack = read(folder, good=GOOD)
    assert list(pack.rules) == ["team.good"]
    assert told(pack) == ["below: a link to a folder is not followed", "link.yaml: it is no regular file"]


def test_other_files_of_a_folder_are_no_faults(tmp_path: Path) -> None:
    """Folders of rules hold tests, hidden files and other YAML."""
    (tmp_path / ".hidden").mkdir()
    (tmp_path / "notes.md").write_text("rules: [")
    for name in (".hidden/x.yaml", ".hidden.yml", "good.test.yaml"):
        (tmp_path / name).write_text("rules: [")
    assert told(read(tmp_path, good=GOOD, ci="on: push", empty="", words="words")) == []


def test_a_suffix_in_capitals_is_read(tmp_path: Path) -> None:
    (tmp_path / "A.YAML").write_text(GOOD)
    assert list(read_pack("team", tmp_path).rules) == ["team.good"]


@pytest.mark.parametrize("files", [{}, {"ci": "on: push"}, {"none": "rules: []"}])
def test_an_empty_pack_is_a_fault(tmp_path: Path, files: dict[str, str]) -> None:
    pack = read(tmp_path / "pack", **files)
    assert told(pack) == ["the pack: it holds no rule that can run"]


def test_a_folder_that_is_not_there_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_pack("team", tmp_path / "nowhere")


def test_too_many_files_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks.scanners.rule_packs._MAX_FILES", 2)
    pack = read(tmp_path, a=file_of(rule("a")), b=file_of(rule("b")), c=file_of(rule("c")))
    assert list(pack.rules) == ["team.a", "team.b"]
    assert told(pack) == ["files: 3 of them; only 2 are read"]


def test_no_text_of_a_file_is_told(tmp_path: Path) -> None:
    """Whoever wrote it may have put a secret there."""
    word = "hunter" + "22"
    odd = f"rules: [{{id: x, message: m, severity: E, languages: [go], {word}: .nan}}]"
    pack = read(tmp_path, bad=f"{word}: [", other=odd)
    assert word not in " ".join(told(pack))
    assert len(told(pack)) == 3


def test_a_rule_of_texts_says_which_files_it_reads() -> None:
    texts = rule("x", languages=["regex", "go"], paths={"include": ["*.ERB", "**/*.blade.php"]})
    assert suffixes_of_rule(texts) == (b".blade.php", b".erb", b".go")


def test_our_own_pack_has_no_fault() -> None:
    pack = own_pack()
    assert told(pack) == []
    assert len(pack.rules) > 50
    assert all(r["metadata"]["cwe"] for r in pack.rules.values())
