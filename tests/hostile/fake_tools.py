"""Programs in the place of bandit and checkov that misbehave as soon as a file of a checkout asks them to.

A file asks by a line ``# misbehave: <word>``. Both report every file that holds a trigger (see ``FLAW``), so both
find the flaw planted in their control checkouts.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from pathlib import Path

from tasks.scanners.rule_preparing import CONTROL_CALL, CONTROL_RULE, MARK

#: What a file must hold for the fake to report something in it, by tool; the control checkouts hold it too.
FLAW = {"bandit": b"shell=True", "checkov": b"0.0.0.0/0"}
RULE = {"bandit": "B602", "checkov": "CKV_AWS_24"}
SUFFIX = {"bandit": ".py", "checkov": ".tf"}
#: Holds 75 MB for as long as it is let: for a limit of 64 MB, the least that the settings take.
GROW = "(head -c 75000000 /dev/zero; sleep 600) | tail -c 80000000"

#: What the fake bandit does for each word, in the shell. ``report`` prints a whole report.
BANDIT: Mapping[str, str] = {
    "hang": "while :; do sleep 1; done",
    "crash": "kill -SEGV $$",
    "grow": GROW,
    "write half": "report | head -c 90",
    "pass over": "report -not -name b.py",
    "read nothing": "report -name nothing",
    "crash on two together": 'if [ "$(asking | wc -l)" -gt 1 ]; then kill -SEGV $$; else report; fi',
}
_BANDIT = """\
#!/bin/sh
# Started as: python -I -m bandit (options) /nightwarden/checkout
root=/nightwarden/checkout
asking() { grep -rlsx "# misbehave: $word" "$root"; }
report() {
  printf '{"results":['
  comma=
  for file in $(grep -rlsF 'shell=True' "$root" | sort); do
    line=$(grep -nF 'shell=True' "$file" | head -n 1 | cut -d: -f1)
    printf '%s{"test_id":"B602","test_name":"shell","issue_text":"a shell","issue_severity":"HIGH",' "$comma"
    printf '"issue_confidence":"HIGH","filename":"%s","line_number":%s,"line_range":[%s]}' "$file" "$line" "$line"
    comma=,
  done
  printf '],"errors":[],"metrics":{"_totals":{}'
  for file in $(find "$root" -type f "$@" | sort); do printf ',"%s":{"loc":1}' "$file"; done
  printf '}}\\n'
}
word=$(grep -rhs '^# misbehave: ' "$root" | sort | head -n 1 | cut -c 14-)
case $word in
CASES
*) report ;;
esac
"""

#: What the fake checkov does for each word when it is asked for a checkout. ``report`` answers properly.
CHECKOV: Mapping[str, str] = {
    "hang": "while :; do sleep 1; done",
    "crash": "kill -SEGV $$",
    "grow": GROW,
    "leave": "exit 7",
    "leave without an error": "exit 0",
    "write half": "report | head -c 40; exit 0",
    "give up": 'echo \'{"ok": false, "error": "ValueError"}\'',
    "crash on two together": 'if [ "$(asking | wc -l)" -gt 1 ]; then kill -SEGV $$; else report; fi',
}
_CHECKOV = """\
#!/bin/sh
# Started as: python -I checkov_server.py; a line of JSON asks for a checkout.
asking() { grep -rlsx "# misbehave: $word" "$root"; }
report() {
  printf '{"ok":true,"report":{"resources":1,"passed":0,"unparsed":[],"checks":['
  comma=
  for file in $(grep -rlsF '0.0.0.0/0' "$root" | sort); do
    printf '%s{"framework":"terraform","status":"failed","rule":"CKV_AWS_24","name":"a port","severity":null,' "$comma"
    printf '"path":"%s","lines":[1,2],"resource":"r.%s",' "${file#"$root"/}" "$(basename "$file")"
    printf '"module":null,"guideline":null,"keys":[]}'
    comma=,
  done
  printf ']}}\\n'
}
while read -r request; do
  root=${request#*'"root": "'}
  root=${root%%'"'*}
  word=$(grep -rhs '^# misbehave: ' "$root" | sort | head -n 1 | cut -c 14-)
  case $word in
CASES
  *) report ;;
  esac
done
"""
MISBEHAVIOUR = {"bandit": BANDIT, "checkov": CHECKOV}
#: Tools that a program of ours starts: what their fakes look for, and the rule they name. They never misbehave.
_FILEWISE = {
    "zizmor": ("github.event", "template-injection"),
    "hadolint": ("sudo", "DL3004"),
    "cfn-lint": ("NoSuchProperty", "E3002"),
}
#: Fake semgrep finds the flaw of the control alone, in the repositories too, and never misbehaves.
_SEMGREP = """\
#!/bin/sh
# Started as: python -I semgrep scan (options) --config rules.yaml folder; says of every file that it was scanned.
for root; do :; done
printf '{"results":['
comma=
for file in $(grep -rlsF 'CALL(' "$root" | sort); do
  line=$(grep -nF 'CALL(' "$file" | head -n 1 | cut -d: -f1)
  printf '%s{"check_id":"nightwarden.rules.RULE","path":"%s",' "$comma" "$file"
  printf '"start":{"line":%s,"col":1},"end":{"line":%s,"col":2},' "$line" "$line"
  printf '"extra":{"message":"a flaw","severity":"INFO","metadata":{}}}'
  comma=,
done
printf '],"errors":[],"paths":{"scanned":['
find "$root" -type f | sort | { comma=; while read -r file; do printf '%s"%s"' "$comma" "$file"; comma=,; done; }
printf ']}}\\n'
"""
#: A semgrep that obeys rules: finds the word before the bracket of each pattern in files of its language, python or
#: kotlin; a pattern with ``(((`` does not compile. It says of the files of its rules alone that it read them.
SEMGREP_WITH_RULES = """\
#!/bin/sh
# Started as: python -I semgrep scan (options) --config rules.yaml folder; the rules are JSON, a value a line.
for root; do :; done
while [ "$1" != --config ]; do shift; done
rules=$2
list() {
  inside=
  while IFS='"' read -r _ key _ value _; do
    case $inside$key in
    id) id=$value ;;
    languages) inside=of- ;;
    of-python) suffix=py inside= ;;
    of-kotlin) suffix=kt inside= ;;
    pattern) case $value in *'((('*) echo "broken $id" ;; *) echo "runs $id $suffix ${value%%(*}" ;; esac ;;
    esac
  done < "$rules"
}
found() {
  list | while read -r kind id suffix word; do
    [ $kind = runs ] || continue
    grep -rnF --include="*.$suffix" "$word(" "$root" | while IFS=: read -r file line _; do
      printf ',{"check_id":"nightwarden.rules.%s","path":"%s",' "$id" "$file"
      printf '"start":{"line":%s,"col":1},"end":{"line":%s,"col":2},' "$line" "$line"
      printf '"extra":{"message":"a flaw","severity":"ERROR","metadata":{}}}'
    done
  done
}
broken() {
  list | while read -r kind id _; do
    [ $kind = broken ] && printf ',{"rule_id":"rules.%s","type":["PatternParseError",[]]}' "$id"
  done
}
scanned() {
  list | while read -r kind _ suffix _; do [ $kind = runs ] && echo "$suffix"; done | sort -u |
    while read -r suffix; do find "$root" -name "*.$suffix"; done |
    while read -r file; do printf ',"%s"' "$file"; done
}
results=$(found) errors=$(broken) files=$(scanned)
printf '{"results":[%s],"errors":[%s],"paths":{"scanned":[%s]}}\\n' "${results#,}" "${errors#,}" "${files#,}"
"""
_PROGRAM = """\
#!/bin/sh
# Started as: python -I program.py [tool] folder; says of every file that it was read.
for root; do :; done
cd "$root" || exit 1
list() { comma=; while read -r file; do printf "%s$1" "$comma" "${file#./}"; comma=,; done; }
printf '{"others":[],"unparsed":[],"read":['
find . -type f | sort | list '"%s"'
printf '],"findings":['
place='"line":1,"end_line":1,"column":1'
grep -rlsF 'FLAW' . | sort | list '{"path":"%s","rule":"RULE","title":"t","severity":"s",'"$place}"
printf ']}\\n'
"""
#: The same, for one checkout after another.
_SERVED = (
    """\
#!/bin/sh
# Started as: python -I program.py folder; a line of JSON asks for a checkout.
answer() {
"""
    + _PROGRAM.partition("for root; do :; done\n")[2]
    + """\
}
while read -r request; do
  root=${request#*'"root": "'}
  root=${root%%'"'*}
  (answer)
done
"""
)
#: What each fake does, in the shell.
SCRIPT = {
    "bandit": _BANDIT,
    "checkov": _CHECKOV,
    "semgrep": _SEMGREP.replace("CALL", CONTROL_CALL).replace("RULE", MARK + CONTROL_RULE),
    **{
        tool: (_SERVED if tool == "cfn-lint" else _PROGRAM).replace("FLAW", flaw).replace("RULE", rule)
        for tool, (flaw, rule) in _FILEWISE.items()
    },
}


def fake_tool(place: Path, tool: str, script: str | None = None) -> Path:
    """Write the fake below ``place``; returns what the setting ``binary`` is to name.

    The adapters start the interpreter that lies beside the program: that is the fake, of another ``script`` if given.
    """
    place.mkdir(parents=True)
    cases = "\n".join(f"'{word}') {what} ;;" for word, what in MISBEHAVIOUR.get(tool, {}).items())
    python = script or SCRIPT[tool].replace("CASES", cases)
    # A tool of one's own is known by its version and its program: another script is another program.
    program = f"#!/bin/sh\n# {zlib.crc32(python.encode())}\necho '{tool} 9.9.9'\n"
    for name, text in ((tool, program), ("python", python)):
        (place / name).write_text(text)
        (place / name).chmod(0o755)
    return place / tool
