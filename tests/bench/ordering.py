"""Do keys of versions order as each ecosystem's own implementation does, and what does a key cost?

For each ecosystem: pairs made by a grammar with its odd corners and by small changes, and pairs of real versions where
there are any. What is compared is smaller, equal, larger, or that one of the two is no version. Exit 1 when a pair
differs that the reference does not itself order in a circle (Maven's does).
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from tasks.deps.ordering import keys
from tests.bench import ordering_pairs, ordering_references

_EPILOG = """\
examples:
  python -m tests.bench.ordering --osv ~/osv
  python -m tests.bench.ordering --only Maven --clone maven=~/src/maven
clones: maven (apache/maven), nuget (NuGet/NuGet.Client), apk-tools, composer-semver (composer/semver),
node-semver (npm/node-semver, checked out)
"""


def main() -> int:
    """0 if every ecosystem agrees with its own implementation as far as it can."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench.ordering",
        description=__doc__,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--pairs", type=int, default=20_000, metavar="N", help="of each kind (default 20,000)")
    parser.add_argument("--seed", type=int, default=None, help="default: another one each time; it is printed")
    parser.add_argument("--only", action="append", metavar="ECOSYSTEM")
    parser.add_argument(
        "--osv", type=Path, default=Path("osv"), metavar="DIR", help="advisories: DIR/<ecosystem>/all.zip"
    )
    parser.add_argument("--clone", action="append", default=[], metavar="NAME=DIR", help="sources of a reference")
    parser.add_argument("--show", type=int, default=5, metavar="N", help="differing pairs to print (default 5)")
    given = parser.parse_args()
    seed = random.randrange(10**9) if given.seed is None else given.seed
    clones = {name: Path(path).expanduser().resolve() for name, _, path in (it.partition("=") for it in given.clone)}
    print(f"seed {seed}; {given.pairs} pairs of each kind")
    failed = False
    for reference in ordering_references.REFERENCES:
        if not given.only or reference.ecosystem in given.only:
            failed |= _judge(reference, given.pairs, random.Random(seed), given.osv, clones, given.show)
    return int(failed)


def _judge(
    reference: ordering_references.Reference,
    count: int,
    rng: random.Random,
    osv: Path,
    clones: dict[str, Path],
    show: int,
) -> bool:
    """One line for an ecosystem, and whether it differs by more than it may."""
    ecosystem = reference.ecosystem
    kinds = {
        "made": ordering_pairs.generated(ecosystem, count, rng),
        "real": ordering_pairs.real(ecosystem, osv, count, rng),
    }
    pairs = [pair for kind in kinds.values() for pair in kind]
    texts = list({text for pair in pairs for text in pair})
    key_of = dict(zip(texts, keys(ecosystem, texts), strict=True))
    cost_us = _cost_us(ecosystem, texts)
    real = list({text for pair in kinds["real"] for text in pair})
    real_us = f", {_cost_us(ecosystem, real):.1f} of real ones" if real else ""
    size = sum(len(key) for key in key_of.values() if key) / max(1, sum(key is not None for key in key_of.values()))
    head = f"{ecosystem}: {cost_us:.1f} µs a key{real_us}, {size:.0f} bytes;"
    with tempfile.TemporaryDirectory(prefix="ordering-") as folder:
        try:
            name, argv = reference.prepare(Path(folder), clones)
            theirs = ordering_references.compare(argv, pairs)
            ours = [_order(key_of[a], key_of[b]) for a, b in pairs]
            differing = [it for it in zip(pairs, ours, theirs, strict=True) if it[1] != it[2]]
            circles = _circles(argv, [pair for pair, _, _ in differing])
        except ordering_references.AbsentError as why:
            print(f"{head} no reference: {why}")
            return False
    said = Counter(theirs)
    print(
        f"{head} {name}; {len(kinds['made'])} made and {len(kinds['real'])} real pairs "
        f"(< {said['<']}, = {said['=']}, > {said['>']}, no version {said['?']}); {len(differing)} differ"
        + (f", {circles} of them in circles of the reference's own" if circles else "")
    )
    for (a, b), mine, other in differing[:show]:
        print(f"    {a!r} {other} {b!r} there, {mine} here")
    return len(differing) > circles


def _cost_us(ecosystem: str, texts: list[str]) -> float:
    """Of the processor, the best of five."""
    best = float("inf")
    for _ in range(5):
        started = time.process_time()
        keys(ecosystem, texts)
        best = min(best, time.process_time() - started)
    return best / len(texts) * 1e6


def _circles(argv: list[str], differing: list[tuple[str, str]]) -> int:
    """How many of these pairs the reference itself orders in a circle: a < b, but b ≤ c ≤ a for a beginning c of them
    (and never all three equal). No order can agree with that.
    """
    asked: list[tuple[str, str]] = []
    of: list[int] = []
    for at, pair in enumerate(differing):
        beginnings = {text[:end] for text in pair for end in range(1, len(text) + 1)} | {"0", "1"} - set(pair)
        for between in sorted(beginnings):
            asked += [(pair[0], pair[1]), (pair[1], between), (between, pair[0])]
            of.append(at)
    answers = ordering_references.compare(argv, asked) if asked else []
    circular = set()
    for at, said in zip(of, zip(answers[::3], answers[1::3], answers[2::3], strict=True), strict=True):
        if set(said) in ({"<"}, {"<", "="}, {">"}, {">", "="}):
            circular.add(at)
    return len(circular)


def _order(a: bytes | None, b: bytes | None) -> str:
    if a is None or b is None:
        return "?"
    return "<" if a < b else ">" if a > b else "="


if __name__ == "__main__":
    sys.exit(main())
