"""Runs inside a tool's own environment: prints its rules as JSON, ``[{"rule_id": …, "title": …}, …]``.

Imports nothing of the project. Called with the tool's name. Ids are those that its reports give.
"""

import json
import logging
import os
import sys


def bandit():
    """Tests, and the black lists of calls and imports."""
    from bandit.core.extension_loader import MANAGER

    for number, plugin in MANAGER.plugins_by_id.items():
        about = (plugin.plugin.__doc__ or "").strip().splitlines()
        yield {"rule_id": number, "title": about[0].strip(" *") if about else plugin.name}
    for entries in MANAGER.blacklist.values():
        for entry in entries:
            yield _of_black_list(entry)


def _of_black_list(entry):
    cwe = f"CWE-{entry['cwe']}"
    return {"rule_id": entry["id"], "title": entry["name"], "severity_tool": entry["level"], "cwe": cwe}


def checkov():
    """Checks of the frameworks that are scanned."""
    os.environ["LOG_LEVEL"] = "CRITICAL"
    logging.disable(logging.CRITICAL)
    from checkov.docs_generator import get_checks

    for frameworks in (["terraform"], ["cloudformation"], ["kubernetes"], ["dockerfile"]):
        for number, _kind, _entity, title, *_ in get_checks(frameworks):
            yield {"rule_id": number, "title": title}


def cfn_lint():
    """All rules, those that are off by default included."""
    from pathlib import Path

    import cfnlint
    from cfnlint.rules import Rules

    # Made by the program itself, not by a file of rules: a template that cannot be read.
    for number in ("E0000", "E0001", "E0002", "E0003"):
        yield {"rule_id": number, "title": "the template cannot be read"}
    for number, rule in Rules.create_from_directory(Path(cfnlint.__file__).parent / "rules").items():
        yield {"rule_id": number, "title": rule.shortdesc, "severity_tool": rule.severity, "url": rule.source_url}


if __name__ == "__main__":
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    made = {"bandit": bandit, "checkov": checkov, "cfn-lint": cfn_lint}[sys.argv[1]]()
    json.dump(list({rule["rule_id"]: rule for rule in made}.values()), answers)
    answers.flush()
