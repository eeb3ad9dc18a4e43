"""SARIF: places, names, what is masked, what is not believed."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest

from tasks.core.keys import HmacKey
from tasks.core.reports import ReportError, is_finding
from tasks.core.types import Gap, Observation
from tasks.importers import SARIF

KEY = HmacKey(bytes(range(32)))
SECRET = "hunter" + "2-" + "correct9Horse" * 2
WORD = "correct" + "horse"


def result(**more: Any) -> dict[str, Any]:
    return {"ruleId": "R1", "message": {"text": "a flaw"}, **more}


def at(uri: str, line: int | None = 3, **more: Any) -> list[dict[str, Any]]:
    region = {"region": {"startLine": line}} if line is not None else {}
    return [{"physicalLocation": {"artifactLocation": {"uri": uri, **more}, **region}}]


def log(*results: Any, **run: Any) -> dict[str, Any]:
    return {"version": "2.1.0", "runs": [{"tool": {"driver": {"name": "T"}}, "results": list(results), **run}]}


def read(document: Any, encoding: str = "utf-8") -> list[Observation | Gap]:
    text = document if isinstance(document, str) else json.dumps(document)
    records = SARIF.parse(io.BytesIO(text.encode(encoding)), KEY)
    return [r.item for r in records if r.item is not None]


def one(*args: Any, **run: Any) -> Observation:
    (found,) = read(log(*args, **run))
    assert isinstance(found, Observation)
    return found


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
def test_any_utf_is_read(encoding: str) -> None:
    text = json.dumps(log(result(locations=at("é.py"))), ensure_ascii=False)
    (found,) = read(text, encoding)
    assert isinstance(found, Observation)
    assert found.path == "é.py"


@pytest.mark.parametrize(
    ("uri", "base", "path", "outside"),
    [
        ("a%20b.py", None, "a b.py", None),
        ("./x/../y.py", None, "y.py", None),
        ("file:///src/shop/y.py", None, "y.py", None),
        ("file:///elsewhere/y.py", None, "/elsewhere/y.py", None),
        ("y.py", "SUB", "lib/y.py", None),
        ("y.py", "LOOP", "y.py", None),
        ("../../etc/passwd", None, None, "../../etc/passwd"),
        ("https://u:p@h.example/x?k=v", None, None, "https://h.example/x"),
    ],
)
def test_places(uri: str, base: str | None, path: str | None, outside: str | None) -> None:
    bases = {
        "SRCROOT": {"uri": "file:///src/shop/"},
        "SUB": {"uri": "lib/", "uriBaseId": "SRCROOT"},
        "LOOP": {"uriBaseId": "LOOP"},
    }
    found = one(result(locations=at(uri, **({"uriBaseId": base} if base else {}))), originalUriBaseIds=bases)
    assert (found.path, found.extra.get("place")) == (path, outside)


def test_a_line_that_moves_keeps_the_name_and_twins_have_their_own() -> None:
    twins = [result(locations=at("a.py", n), message={"text": f"flaw at line {n}"}) for n in (3, 9)]
    moved = [result(locations=at("a.py", n), message={"text": f"flaw at line {n}"}) for n in (5, 11)]
    first, second = (
        [o.anchor_uid for o in read(log(*results)) if isinstance(o, Observation)] for results in (twins, moved)
    )
    assert first == second
    assert len(set(first)) == 2


def test_a_steady_fingerprint_counts_more_than_the_message_and_a_sentence_is_none() -> None:
    def anchor(text: str, print_: str) -> str:
        prints = {"matchBasedId/v1": print_}
        return one(result(message={"text": text}, locations=at("a.py"), fingerprints=prints)).anchor_uid

    assert anchor("x", "0123456789abcdef_0") == anchor("y", "0123456789abcdef_0")
    assert anchor("x", "0123456789abcdef_0") != anchor("x", "0123456789abcdee_0")
    assert anchor("x", "requires login") != anchor("y", "requires login")


def test_the_same_result_twice_is_two_records_of_one_finding() -> None:
    found = [o for o in read(log(*[result(locations=at("a.py"))] * 2)) if isinstance(o, Observation)]
    assert len({o.anchor_uid for o in found}) == 1
    assert len({o.occurrence_uid for o in found}) == 2


@pytest.mark.parametrize(
    "document",
    [
        log(result(message={"text": f"value '{SECRET}' found"})),
        log(result(message={"text": f"password = {SECRET}"})),
        log(result(message={"text": SECRET}, ruleId="hardcoded-password")),
        log(result(message={"text": f"token {SECRET} leaks"})),
        log(result(message={"text": "{0}", "arguments": [SECRET]})),
        log(
            result(
                partialFingerprints={"lineText": SECRET},
                locations=[{"physicalLocation": {"region": {"startLine": 1, "snippet": {"text": SECRET}}}}],
                properties={"match": SECRET},
            )
        ),
    ],
)
def test_no_value_is_handed_over(document: Any) -> None:
    assert read(document)
    assert SECRET not in repr(list(SARIF.parse(io.BytesIO(json.dumps(document).encode()), KEY)))


@pytest.mark.parametrize(
    ("rule", "title"),
    [
        ({"shortDescription": {"text": "Short."}, "fullDescription": {"text": "Full."}, "name": "N"}, "Short."),
        ({"fullDescription": {"text": "A rule\n of 1.5 words. And more."}, "name": "N"}, "A rule of 1.5 words."),
        ({"fullDescription": {"text": " "}, "name": "NoEval"}, "NoEval"),
        ({"fullDescription": {"text": "x" * 5000}}, "x" * 299 + "…"),
        ({"name": "R1"}, f"found {WORD}"),
        ({"name": 3, "shortDescription": 3}, f"found {WORD}"),
    ],
)
def test_a_message_is_the_title_only_where_the_rule_has_no_words(rule: dict[str, Any], title: str) -> None:
    tool = {"driver": {"name": "T", "rules": [{"id": "R1", **rule}]}}
    assert one(result(message={"text": f"found {WORD}"}), tool=tool).title == title


@pytest.mark.parametrize(
    "odd",
    [
        3, None, [], "x", {"ruleId": 4}, {"ruleId": "R", "locations": 3}, {"ruleId": "R", "locations": [3]},
        {"ruleId": "R", "message": "text"}, {"ruleId": "R", "level": 3}, {"ruleId": "R", "kind": []},
        {"ruleId": "R", "locations": [{"physicalLocation": {"region": {"startLine": "1"}}}]},
        {"ruleId": "R", "locations": [{"physicalLocation": {"region": {"startLine": 1e300}}}]},
        {"ruleId": "R", "locations": [{"physicalLocation": {"artifactLocation": {"uri": 5}}}]},
        {"ruleId": "R", "properties": json.loads("[" * 90 + "]" * 90)},
    ],
)  # fmt: skip
def test_an_odd_record_is_a_gap_with_its_place_and_the_others_are_kept(odd: Any) -> None:
    found = read(log(result(), odd, result(ruleId="R2")))
    assert [o.rule_id for o in found if isinstance(o, Observation)] == ["R1", "R2"]
    gaps = [(g.path, g.reason_code) for g in found if isinstance(g, Gap)]
    assert gaps == [("runs[0].results[1]", "record_invalid"), ("", "report_incomplete")]


def test_what_stands_before_a_fault_is_kept() -> None:
    text = json.dumps(log(result(), result(rank="NAN"))).replace('"NAN"', "NaN")
    found = read(text)
    assert [type(x) for x in found] == [Observation, Gap]
    assert isinstance(found[1], Gap)
    assert found[1].path == ""


@pytest.mark.parametrize(
    "run",
    [
        {"results": None},
        {"results": {}},
        {"invocations": [{"executionSuccessful": False}]},
        {"externalPropertyFileReferences": {"results": [{"location": {"uri": "x"}}]}},
    ],
)
def test_a_run_that_may_know_more_is_incomplete(run: dict[str, Any]) -> None:
    assert [x.reason_code for x in read(log(**run)) if isinstance(x, Gap)] == ["report_incomplete"]


def test_lone_surrogates_and_double_keys_do_no_harm() -> None:
    text = (
        json.dumps(log(result())).replace('"a flaw"', '"a \\ud800 flaw"').replace('"ruleId"', '"ruleId": 3, "ruleId"')
    )
    (found,) = read(text)
    assert isinstance(found, Observation)
    found.title.encode("utf-8")


def test_passes_and_what_a_baseline_had_are_no_findings() -> None:
    kinds = ["pass", "notApplicable", "informational", "open", "review", "fail"]
    found = [o for o in read(log(*[result(kind=k) for k in kinds])) if isinstance(o, Observation)]
    assert [is_finding(o) for o in found] == [False, False, False, True, True, True]
    assert not is_finding(one(result(baselineState="absent")))


@pytest.mark.parametrize("version", ["2.0.0", None, 2.1])
def test_other_versions_are_refused(version: Any) -> None:
    document = log(result())
    document["version"] = version
    with pytest.raises(ReportError):
        read(document)


@pytest.mark.parametrize(
    "message",
    [{"text": f"password = {WORD}"}, {"text": f"the api_key is {WORD}"}, {"text": "found {0}", "arguments": [WORD]}],
)
def test_a_value_that_looks_like_a_word_is_masked_where_it_is_named(message: dict[str, Any]) -> None:
    found = one(result(message=message))
    assert WORD not in found.title
    assert "[masked]" in found.title


def test_a_message_kept_by_id_loses_its_arguments() -> None:
    rules = [{"id": "R1", "messageStrings": {"m": {"text": "found {0} here"}}}]
    tool = {"driver": {"name": "T", "rules": rules}}
    found = one(result(message={"id": "m", "arguments": [WORD]}), tool=tool)
    assert found.title == "found [masked] here"


def notice(level: str | None = "error", *uris: str, **more: Any) -> dict[str, Any]:
    places = [{"physicalLocation": {"artifactLocation": {"uri": uri}}} for uri in uris]
    levels = {} if level is None else {"level": level}
    return {"message": {"text": f"could not parse: {SECRET}"}, **levels, "locations": places, **more}


def noticed(*notices: Any, part: str = "toolExecutionNotifications", **run: Any) -> list[str]:
    """The paths of the gaps."""
    invocations = [{"executionSuccessful": True, part: list(notices)}]
    found = read(log(invocations=invocations, **run))
    assert SECRET not in repr(found)
    assert {g.reason_code for g in found if isinstance(g, Gap)} <= {"report_incomplete"}
    return [g.path for g in found if isinstance(g, Gap)]


@pytest.mark.parametrize(
    ("given", "paths"),
    [
        (notice("error", "a.py"), ["a.py"]),
        (notice("warning", "a.py", "b%20c.py"), ["a.py", "b c.py"]),
        (notice(None, "a.py"), ["a.py"]),
        (notice("fatal", "a.py"), ["a.py"]),
        (notice("warning"), [""]),
        (notice("warning", "src/"), [""]),
        (notice("warning", "../../x"), [""]),
        (notice("error", "a.py", associatedRule={"id": "R1"}), ["", "a.py"]),
        (notice("warning", "a.py", associatedRule={"id": "R1"}), ["a.py"]),
        (notice("note", "a.py"), []),
        (notice("none"), []),
        (notice(None, descriptor={"id": "quiet"}), []),
        (3, [""]),
        (notice("error", locations=[{"physicalLocation": {"artifactLocation": {"uri": 3}}}]), [""]),
    ],
)
def test_what_a_tool_says_it_had_trouble_with_is_a_gap(given: Any, paths: list[str]) -> None:
    driver = {"name": "T", "notifications": [{"id": "quiet", "defaultConfiguration": {"level": "note"}}]}
    assert noticed(given, tool={"driver": driver}) == paths


def test_a_warning_about_the_configuration_counts_where_it_names_a_file() -> None:
    part = "toolConfigurationNotifications"
    assert noticed(notice("warning"), part=part) == []
    assert noticed(notice("warning", "a.py"), part=part) == ["a.py"]
    assert noticed(notice("error"), part=part) == [""]


def test_notices_are_told_by_name_and_number_once_a_path() -> None:
    named = [notice("warning", "a.py", descriptor={"id": "Syntax error"})] * 3
    quoting = notice("error", "a.py", descriptor={"id": f"password = {WORD}"})
    invocations = [{"executionSuccessful": True, "toolExecutionNotifications": [*named, quoting]}]
    (gap,) = read(log(invocations=invocations))
    assert isinstance(gap, Gap)
    assert gap.detail == "runs[0]: the tool says warning Syntax error, 3 times; error without a name"


def test_more_paths_than_a_table_should_hold_are_one_gap() -> None:
    found = noticed(*[notice("warning", f"{n}.py") for n in range(1100)])
    assert (len(found), found.count("")) == (1001, 1)
