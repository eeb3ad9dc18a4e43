"""Run inside the sandbox, by cfn-lint's own Python: one JSON line in for each checkout, one JSON line out.

``python cfn_lint_program.py FOLDER``, below which all checkouts lie. Request: ``{"root": "/nightwarden/checkouts/x"}``.
Answer: a report (see ``filewise``), which holds no text of a template, because what is said of a finding is the rule's
own description, or ``{"ok": false, "error": "<type>"}``. cfn-lint is loaded once, when the first template is met; each
checkout is judged by a child process, so that nothing is carried over.

cfn-lint is used as a library: a template's metadata can name checks to leave out, regions and parameter files, on the
command line ``-m`` overrules only the first, and ``regions: [nowhere]`` ends the whole call.
"""

import json
import os
import re
import sys

OPTIONS = ["--mandatory-checks", "E", "W", "--regions", "us-east-1"]
SUFFIXES = (".yaml", ".yml", ".json", ".template")
#: CloudFormation takes templates of up to one megabyte ("Template body size in an object" among its quotas).
LARGEST_BYTES = 5 * 1024 * 1024
#: In YAML and JSON "\u0041WS::S3::Bucket" is as good a type as without it, and a string may go on in the next line.
ESCAPE = re.compile(r"\\(?:U000000|u00|x)([0-7][0-9a-fA-F])|\\\r?\n[ \t]*")
TYPE = re.compile(r"[0-9A-Za-z]::[0-9A-Za-z]")
#: Nothing else was judged after these: cannot be read, cannot be transformed, a rule that crashed, bad configuration.
UNJUDGED = {"E0000", "E0001", "E0002", "E0003"}


def encoding_of(head):
    """By the byte order mark, or by the zero bytes of a first ASCII character."""
    if head[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return "utf-16"
    if b"\0" in head[:2]:
        return "utf-16-be" if head[:1] == b"\0" else "utf-16-le"
    return "utf-8"


def looks_like_template(path):
    """By words, without a parser: whether it is worth one. Most YAML and JSON is something else, which is no gap."""
    if os.path.getsize(path) > LARGEST_BYTES:
        return False
    with open(path, "rb") as f:
        body = f.read()
    text = body.decode(encoding_of(body), "replace")
    if "\\" in text:
        text = ESCAPE.sub(lambda m: chr(int(m.group(1), 16)) if m.group(1) else "", text)
    return "AWSTemplateFormatVersion" in text or ("Resources" in text and TYPE.search(text) is not None)


def is_template(document):
    """Whether the document as a whole is one; a text that only quotes one is not."""
    if not isinstance(document, dict):
        return False
    if "AWSTemplateFormatVersion" in document:
        return True
    resources = document.get("Resources")
    if not isinstance(resources, dict):
        return False
    return "Transform" in document or any(
        isinstance(r, dict) and "::" in str(r.get("Type", "")) for r in resources.values()
    )


def files_below(root):
    """Names of all regular files, relative to ``root``."""
    for folder, below, names in os.walk(root):
        below.sort()
        for name in sorted(names):
            path = os.path.join(folder, name)
            if os.path.isfile(path) and not os.path.islink(path):
                yield os.path.relpath(path, root)


class Linter:
    """cfn-lint, deaf to what templates say about it."""

    def __init__(self):
        from cfnlint.config import ConfigMixIn, TemplateArgs
        from cfnlint.decode import decode
        from cfnlint.runner import Runner
        from cfnlint.runner.template import run_template_by_file_path
        from cfnlint.template.template import Template

        for owner, name in ((TemplateArgs, "template_args"), (Template, "get_directives")):
            if not hasattr(owner, name):
                raise SystemExit("cfn-lint has changed: its templates cannot be kept from configuring it")
        TemplateArgs.set_template_args = lambda self, template: None
        TemplateArgs.get_template_args = lambda self: {}
        TemplateArgs.template_args = property(lambda self: {}, lambda self, template: None)
        Template.get_directives = lambda self: {}
        self.decode = decode
        self.config = ConfigMixIn(OPTIONS)
        self.rules = Runner(self.config).rules
        self.run = run_template_by_file_path

    def is_template(self, path):
        """What cannot be read is one, as far as anyone knows."""
        document, errors = self.decode(path)
        return bool(errors) or is_template(document)

    def judge(self, path):
        """(findings, reason why it could not be judged whole or None)."""
        found, reason = [], None
        for match in self.run(path, self.config, self.rules, False):
            if match.rule.id in UNJUDGED:
                reason = match.rule.id
                continue
            keys = [str(step) for step in (getattr(match, "path", None) or []) if not isinstance(step, int)]
            found.append(
                {
                    "rule": match.rule.id,
                    "title": match.rule.shortdesc,
                    "severity": match.rule.severity,
                    "line": match.linenumber,
                    "end_line": match.linenumberend,
                    "column": match.columnnumber,
                    "keys": keys,
                }
            )
        return found, reason


def report_of(linter, root, mine, others):
    """What there is to say of the files of a checkout; ``mine`` are those that look like templates."""
    report = {"findings": [], "read": [], "others": list(others), "unparsed": []}
    for name in mine:
        path = os.path.join(root, name)
        try:
            if not linter.is_template(path):
                report["others"].append(name)
                continue
            found, reason = linter.judge(path)
        except MemoryError:
            raise
        except Exception as e:
            found, reason = [], type(e).__name__
        report["findings"] += [{"path": name, **f} for f in found]
        if reason is None:
            report["read"].append(name)
        else:
            report["unparsed"].append({"path": name, "reason": reason})
    return report


def say(answers, answer):
    """One line."""
    answers.write(json.dumps(answer) + "\n")
    answers.flush()


def judged_by_a_child(answers, linter, root, mine, others):
    """The child's last act is its answer; if it does not come to it, its parent says so."""
    child = os.fork()
    if child == 0:
        try:
            say(answers, report_of(linter, root, mine, others))
        except BaseException as e:
            sys.stderr.write(type(e).__name__)
            sys.stderr.flush()
            os._exit(1)
        os._exit(0)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if code != 0:
        say(answers, {"ok": False, "error": "Killed" if code < 0 else "the child ended with an error"})


def main():
    """Serve until the input ends."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # libraries print
    linter = None
    for line in sys.stdin:
        root = json.loads(line)["root"]
        mine, others = [], []
        try:
            if not os.path.isdir(root):
                raise FileNotFoundError  # nothing would be found in it, and that would be the answer
            for name in files_below(root):
                wanted = name.lower().endswith(SUFFIXES) and looks_like_template(os.path.join(root, name))
                (mine if wanted else others).append(name)
            if mine and linter is None:
                linter = Linter()
        except Exception as e:
            say(answers, {"ok": False, "error": type(e).__name__})
            continue
        if mine:
            judged_by_a_child(answers, linter, root, mine, others)
        else:
            say(answers, report_of(None, root, [], others))


if __name__ == "__main__":
    main()
