"""Run inside the sandbox, by cfn-lint's own Python: lint every CloudFormation template of a folder.

``python cfn_lint_program.py FOLDER`` prints one JSON object (see ``filewise``), which holds no text of a template: what
is said of a finding is the rule's own description, because messages quote values. cfn-lint is used as a library: a
template's metadata can name checks to leave out, regions and parameter files, on the command line ``-m`` overrules only
the first, and ``regions: [nowhere]`` ends the whole call.
"""

import json
import os
import re
import sys

OPTIONS = ["--mandatory-checks", "E", "W", "--regions", "us-east-1"]
SUFFIXES = (".yaml", ".yml", ".json", ".template")
#: No template is larger: CloudFormation takes one megabyte.
HEAD_BYTES = 5 * 1024 * 1024
ESCAPE = re.compile(r"\\(?:u00|x)([0-7][0-9a-fA-F])")
VERSION = re.compile(r"""AWSTemplateFormatVersion["']?\s*:""")
RESOURCES = re.compile(r"""\bResources["']?\s*:""")
TYPE = re.compile(r"""\bType["']?\s*:\s*["']?(?:AWS|Custom|Alexa)::""")
#: Nothing else was judged after these: cannot be read, cannot be transformed, a rule that crashed, bad configuration.
UNJUDGED = {"E0000", "E0001", "E0002", "E0003"}


def looks_like_template(path):
    """By content, without a parser. Most YAML and JSON is something else, which is no gap but no template."""
    with open(path, "rb") as f:
        head = f.read(HEAD_BYTES)
    encoding = "utf-16" if head[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8"
    text = head.decode(encoding, "replace")
    if "\\" in text:  # "\u0041WS::S3::Bucket" is as good a type
        text = ESCAPE.sub(lambda m: chr(int(m.group(1), 16)), text)
    return bool(VERSION.search(text) or (RESOURCES.search(text) and TYPE.search(text)))


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
        """Whether the document as a whole is one; a text that only quotes one is not."""
        document, errors = self.decode(path)
        return bool(errors) or (
            isinstance(document, dict) and ("Resources" in document or "AWSTemplateFormatVersion" in document)
        )

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


def main():
    """Everything below the folder."""
    root = sys.argv[1]
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # libraries print
    report = {"findings": [], "read": [], "others": [], "unparsed": []}
    mine = []
    for name in files_below(root):
        wanted = name.lower().endswith(SUFFIXES) and looks_like_template(os.path.join(root, name))
        (mine if wanted else report["others"]).append(name)
    linter = Linter() if mine else None
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
    answers.write(json.dumps(report))
    answers.flush()


if __name__ == "__main__":
    main()
