"""The program that serves cfn-lint: which files look like templates, and what becomes of a checkout that kills it."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tasks.core.errors import ScanGapError
from tasks.core.keys import HmacKey
from tasks.scanners.cfn_lint import CFN_LINT, PROGRAM

#: A linter whose template ends the process as its text says, and prints.
SERVER = """
import importlib.util, os, signal, sys
spec = importlib.util.spec_from_file_location("program", sys.argv[2])
program = importlib.util.module_from_spec(spec)
spec.loader.exec_module(program)

class Linter:
    judged = 0
    def is_template(self, path):
        return True
    def judge(self, path):
        text = open(path).read()
        print("a library prints")
        if "SEGV" in text:
            os.kill(os.getpid(), signal.SIGSEGV)
        if "memory" in text:
            raise MemoryError
        if "wrong" in text:
            raise ValueError("quoting")
        Linter.judged += 1
        return [{"line": Linter.judged}], None

program.Linter = Linter
program.main()
"""


@pytest.fixture(scope="module")
def program() -> ModuleType:
    spec = importlib.util.spec_from_file_location("cfn_lint_program", PROGRAM)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def served(tmp_path: Path, *texts: str) -> list[dict[str, Any]]:
    """The answers about one checkout a text, by one process."""
    requests = []
    for n, text in enumerate(texts):
        root = tmp_path / str(n)
        if text != "gone":
            root.mkdir()
            (root / "a.yaml").write_text(f"AWSTemplateFormatVersion: x\n# {text}\n" if text else "kind: Pod\n")
        requests.append(json.dumps({"root": str(root)}))
    argv = [sys.executable, "-c", SERVER, str(tmp_path), str(PROGRAM)]
    done = subprocess.run(argv, input="\n".join(requests), capture_output=True, text=True, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_what_ends_the_child_is_an_answer_and_the_next_checkout_is_judged(tmp_path: Path) -> None:
    answers = served(tmp_path, "fine", "SEGV", "memory", "wrong", "", "gone", "fine")
    errors = [a.get("error") for a in answers]
    assert errors == [None, "Killed", "the child ended with an error", None, None, "FileNotFoundError", None]
    assert [a.get("ok") for a in answers if a.get("error")] == [False] * 3
    assert answers[3]["unparsed"] == [{"path": "a.yaml", "reason": "ValueError"}]
    assert (answers[4]["others"], answers[4]["read"]) == (["a.yaml"], [])
    assert answers[0] == answers[6], "nothing is carried over from one checkout to the next"


def test_an_answer_that_is_none_fails_the_scan(tmp_path: Path) -> None:
    (answer,) = served(tmp_path, "SEGV")
    with pytest.raises(ScanGapError) as told:
        CFN_LINT.mask(json.dumps(answer).encode(), b"", HmacKey(b"k" * 32))
    assert (told.value.reason_code, told.value.detail) == ("tool_error", "cfn-lint: Killed")


WHOLE = "Resources:\n  A:\n    Type: AWS::SNS::Topic\n"


@pytest.mark.parametrize(
    ("body", "looks"),
    [
        (WHOLE.encode(), True),
        (WHOLE.replace("AWS", "Custom").encode(), True),
        (WHOLE.replace("AWS::SNS", ">-\n      MongoDB::Atlas").encode(), True),
        (WHOLE.encode("utf-16"), True),
        (WHOLE.encode("utf-16-le"), True),
        (WHOLE.encode("utf-16-be"), True),
        (b'{"Reso\\u0075rces": {"A": {"Type": "AWS::SNS::Topic"}}}', True),
        (b'"Reso\\x75rces": {A: {Type: "AWS:\\\n  :SNS"}}', True),
        (b"? AWSTemplateFormatVersion\n: x\n", True),
        (WHOLE.encode() + b"#" * (5 * 1024**2), False),
        (b"Resources:\n  limits: {cpu: 1}\n", False),
        (b"Type: AWS::SNS::Topic\n", False),
        (b"", False),
    ],
)
def test_a_template_is_worth_a_parser(program: ModuleType, tmp_path: Path, body: bytes, looks: bool) -> None:
    (tmp_path / "a").write_bytes(body)
    assert program.looks_like_template(str(tmp_path / "a")) is looks


@pytest.mark.parametrize(
    ("document", "is_one"),
    [
        ({"AWSTemplateFormatVersion": "x"}, True),
        ({"Resources": {"A": {"Type": "MongoDB::Atlas::Cluster"}}}, True),
        ({"Resources": {"Fn::ForEach::A": []}, "Transform": "AWS::LanguageExtensions"}, True),
        ({"Resources": {"limits": {"text": "a::b"}}}, False),
        ({"Resources": ["AWS::SNS::Topic"]}, False),
        (["AWSTemplateFormatVersion"], False),
        (None, False),
    ],
)
def test_a_document_is_a_template_as_a_whole(program: ModuleType, document: Any, is_one: bool) -> None:
    assert program.is_template(document) is is_one
