"""Rules of a SARIF run and what they say of a result (SARIF 2.1.0, §3.49 reportingDescriptor, §3.52 its reference)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

_CWE = re.compile(r"(?i)\bcwe[-_/: ]{0,2}0*([1-9]\d{0,4})\b")
#: Rules about values that must not be read: of them only what the rule itself says is kept.
_SECRETIVE = re.compile(r"(?i)secret|passw|passphrase|credential|token|api.?key|private.?key|hard.?coded|\bleak")
_SENTENCE = re.compile(r"(?<=[.!?]) ")
_LONG = 2000
_SECRET_CWES = frozenset({"CWE-259", "CWE-321", "CWE-522", "CWE-798"})

JsonObject = Mapping[str, Any]


def as_object(value: Any) -> dict[str, Any]:
    """The object, or an empty one for what is absent or of another form: context is optional everywhere."""
    return value if isinstance(value, dict) else {}


def as_list(value: Any) -> list[Any]:
    """As ``as_object`` for arrays."""
    return value if isinstance(value, list) else []


def text_of(value: Any) -> str:
    """The text of a message or multiformatMessageString."""
    text = as_object(value).get("text")
    return text if isinstance(text, str) else ""


def words_of(rule: JsonObject, rule_id: str) -> str:
    """What a rule says of itself: its short description, else the first sentence of the full one, else a name that is
    not its id; "" when it has no words."""
    full = " ".join(text_of(rule.get("fullDescription"))[:_LONG].split())
    name = rule.get("name")
    said = (text_of(rule.get("shortDescription")), _SENTENCE.split(full, maxsplit=1)[0], name)
    return next((s for s in said if isinstance(s, str) and s.strip() and s != rule_id), "")


@dataclass(slots=True)
class Rules:
    """The descriptors of the driver and of its extensions."""

    tool: JsonObject
    components: list[JsonObject] = field(init=False)
    by_id: list[dict[str, JsonObject]] = field(init=False)

    def __post_init__(self) -> None:
        extensions = [as_object(e) for e in as_list(self.tool.get("extensions"))]
        self.components = [as_object(self.tool.get("driver")), *extensions]
        self.by_id = []
        for component in self.components:
            known: dict[str, JsonObject] = {}
            for rule in as_list(component.get("rules")):
                if isinstance(rule, dict) and isinstance(rule.get("id"), str):
                    known.setdefault(rule["id"], rule)
            self.by_id.append(known)

    def of(self, result: JsonObject) -> tuple[str, JsonObject]:
        """(rule id, its descriptor or an empty one). Raises TypeError when the result's own ids have another form."""
        ref = as_object(result.get("rule"))
        rule_id = result.get("ruleId", ref.get("id"))
        index = result.get("ruleIndex", ref.get("index"))
        if not isinstance(rule_id, str | None) or isinstance(index, bool) or not isinstance(index, int | None):
            raise TypeError("rule")
        number = self._component(as_object(ref.get("toolComponent")))
        found: JsonObject = {}
        rules = as_list(self.components[number].get("rules"))
        if index is not None and 0 <= index < len(rules):
            found = as_object(rules[index])
        elif isinstance(ref.get("guid"), str):
            found = next((r for r in map(as_object, rules) if r.get("guid") == ref["guid"]), {})
        if not found and rule_id is not None:
            found = self._named(rule_id, number)
        own = found.get("id")
        return rule_id or (own if isinstance(own, str) else "") or "unspecified", found

    def _named(self, rule_id: str, number: int) -> JsonObject:
        """By id, and for ``CA1000/1`` (§3.5.4, hierarchical) by what stands before the last slash."""
        for known in (self.by_id[number], *self.by_id):
            for name in (rule_id, rule_id.rpartition("/")[0]):
                if name in known:
                    return known[name]
        return {}

    def _component(self, ref: JsonObject) -> int:
        index, name, guid = ref.get("index"), ref.get("name"), ref.get("guid")
        if isinstance(index, int) and not isinstance(index, bool) and 0 <= index < len(self.components) - 1:
            return index + 1
        for number, component in enumerate(self.components):
            if (name is not None and component.get("name") == name) or (guid and component.get("guid") == guid):
                return number
        return 0


def cwes(result: JsonObject, rule: JsonObject) -> list[str]:
    """``CWE-79`` … of taxa, relationships and tags, in the order of the numbers."""
    found: set[str] = set()
    for text in _cwe_texts(result, rule):
        found.update(f"CWE-{m}" for m in _CWE.findall(text))
    return sorted(found, key=lambda c: int(c[4:]))


def _cwe_texts(result: JsonObject, rule: JsonObject) -> Iterator[str]:
    targets = [*as_list(result.get("taxa"))]
    targets += [as_object(r).get("target") for r in as_list(rule.get("relationships"))]
    for target in map(as_object, targets):
        taxonomy = str(as_object(target.get("toolComponent")).get("name", ""))
        taxon = str(target.get("id", ""))
        yield f"CWE-{taxon}" if taxonomy.upper().startswith("CWE") and taxon.isdigit() else taxon
    for holder in (result, rule):
        properties = as_object(holder.get("properties"))
        for name in ("tags", "cwe", "cwes", "CWE"):
            value = properties.get(name)
            for tag in value if isinstance(value, list) else [value]:
                if isinstance(tag, str | int) and not isinstance(tag, bool):
                    yield f"CWE-{tag}" if name != "tags" and str(tag).isdigit() else str(tag)


def level(result: JsonObject, rule: JsonObject) -> str:
    """§3.27.10: the result's own level, else none for what did not fail, else the rule's, else warning.

    Raises TypeError when it is no string.
    """
    own = result.get("level")
    if own is not None:
        if not isinstance(own, str):
            raise TypeError("level")
        return own
    if result.get("kind", "fail") != "fail":
        return "none"
    default = as_object(rule.get("defaultConfiguration")).get("level")
    return default if isinstance(default, str) else "warning"


def secretive(rule_id: str, rule: JsonObject, found: list[str]) -> bool:
    """Whether a rule is about secrets, so that no sentence about a result may be kept."""
    words = [rule_id, rule.get("name"), text_of(rule.get("shortDescription")), text_of(rule.get("fullDescription"))]
    tags = [t for t in as_list(as_object(rule.get("properties")).get("tags")) if isinstance(t, str)]
    return bool(_SECRET_CWES & set(found)) or any(_SECRETIVE.search(w) for w in (*words, *tags) if isinstance(w, str))
