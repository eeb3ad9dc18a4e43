"""Runs inside checkov's own environment: one JSON line in for each checkout, one JSON line out.

Imports nothing of the project. Request: ``{"root": "/nightwarden/checkouts/x"}``. Answer: ``{"ok": true, "report":
{...}}`` or ``{"ok": false, "error": "<type>"}``. Answers hold no source text and no values, so that nothing of a
checkout's content passes but names, lines and addresses.
"""

import json
import logging
import os
import sys

# The answers' channel is set aside before anything can print to it.
ANSWERS = os.fdopen(os.dup(1), "w", encoding="utf-8")
os.dup2(2, 1)
os.environ.update(
    LOG_LEVEL="CRITICAL",
    CKV_IGNORE_HIDDEN_DIRECTORIES="false",
    CHECKOV_IGNORE_HIDDEN_DIRECTORIES="false",
    # Else node_modules, .terraform and .serverless are passed over without a word; no name holds a slash.
    CKV_IGNORED_DIRECTORIES="/",
    CHECKOV_RUN_SCA_PACKAGE_SCAN_V2="false",
    ENABLE_GRACEFUL_SHUTDOWN="false",
    CHECKOV_ENABLE_DATAS_FOREACH_HANDLING="true",
    CHECKOV_PARALLELIZATION_TYPE="none",
    PARALLELIZATION_TYPE="none",
    DOWNLOAD_EXTERNAL_MODULES="false",
)
logging.disable(logging.CRITICAL)

FRAMEWORKS = ["terraform", "cloudformation", "kubernetes", "dockerfile"]


def load():
    """Import checkov once."""
    from checkov.cloudformation.runner import Runner as CloudFormation
    from checkov.common.runners.runner_registry import RunnerRegistry
    from checkov.dockerfile.runner import Runner as Dockerfile
    from checkov.kubernetes.runner import Runner as Kubernetes
    from checkov.runner_filter import RunnerFilter
    from checkov.terraform.runner import Runner as Terraform

    def scan(root):
        """Reports of one checkout, by runners made anew: no state is carried over."""
        runners = (Terraform(), CloudFormation(), Kubernetes(), Dockerfile())
        chosen = RunnerFilter(framework=FRAMEWORKS, download_external_modules=False, external_modules_download_path="/")
        registry = RunnerRegistry("", chosen, *runners)
        return registry.run(root_folder=root, external_checks_dir=[], collect_skip_comments=True)

    return scan


def record(check, root, status):
    """What is kept of one check: names, lines, addresses."""
    path = check.file_abs_path or ""
    path = path.removeprefix(root) if path.startswith(root) else check.file_path or ""
    return {
        "status": status,
        "rule": check.check_id,
        "name": check.check_name,
        "path": path.lstrip("/"),
        "lines": list(check.file_line_range or []),
        "resource": check.resource,
        "module": check.resource_address if getattr(check, "resource_address", None) else None,
        "severity": check.severity.name if getattr(check, "severity", None) else None,
        "guideline": check.guideline,
        "keys": [k for k in (check.check_result.get("evaluated_keys") or []) if isinstance(k, str)],
    }


def torn(root):
    """Kubernetes and CloudFormation files that are neither YAML nor JSON: checkov leaves them out without a word."""
    import yaml

    class Loader(yaml.CSafeLoader):
        """Any tag is fine, such as !Ref; whatever stands below it is not looked at."""

    Loader.add_multi_constructor("!", lambda loader, suffix, node: None)
    for folder, _, names in os.walk(root):
        for name in names:
            if not name.endswith((".yaml", ".yml", ".json", ".template")):
                continue
            with open(os.path.join(folder, name), "rb") as file:
                text = file.read()
            if not (
                (b"apiVersion" in text and b"kind" in text) or b"AWSTemplateFormatVersion" in text or b"AWS::" in text
            ):
                continue
            try:
                for _document in yaml.load_all(text, Loader=Loader):
                    pass
            except (yaml.YAMLError, ValueError, RecursionError):
                yield os.path.join(folder, name)


def answer(scan, root):
    """Scan one checkout and describe what was seen."""
    if not os.path.isdir(root):
        raise FileNotFoundError  # checkov would find nothing in it and be content
    found, unparsed, resources, passed = [], [], 0, 0
    for report in scan(root):
        for check in report.failed_checks:
            found.append({"framework": report.check_type, **record(check, root, "failed")})
        # An inline `checkov:skip` is an opinion of the repository; it is reported, not obeyed.
        for check in report.skipped_checks:
            found.append({"framework": report.check_type, **record(check, root, "skipped")})
        passed += len(report.passed_checks)
        resources += len(report.resources)
        for path in report.parsing_errors:
            unparsed.append({"framework": report.check_type, "path": path.removeprefix(root).lstrip("/")})
    for path in torn(root):
        unparsed.append({"framework": "any", "path": path.removeprefix(root).lstrip("/")})
    return {"checks": found, "unparsed": unparsed, "resources": resources, "passed": passed}


def main():
    """Serve until the input ends."""
    try:
        scan = load()
    except Exception as error:
        ANSWERS.write(json.dumps({"ok": False, "error": f"import: {type(error).__name__}"}) + "\n")
        ANSWERS.flush()
        raise
    for line in sys.stdin:
        request = json.loads(line)
        try:
            result = {"ok": True, "report": answer(scan, request["root"])}
        except BaseException as error:  # SystemExit too: checkov calls sys.exit on some inputs
            if isinstance(error, KeyboardInterrupt):
                raise
            result = {"ok": False, "error": type(error).__name__}
        ANSWERS.write(json.dumps(result) + "\n")
        ANSWERS.flush()


main()
