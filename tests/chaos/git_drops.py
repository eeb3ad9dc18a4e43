"""A git server that drops connections: real git over HTTP whose answers are cut at a random byte, late, or a 503."""

from __future__ import annotations

from collections import Counter

from tests.chaos.bench import FAST_TOOLS, Bench, Reference, Row, check, judge, must_end
from tests.git_http import Fault, serving

#: Of ten answers about so many are spoilt.
_SPOILT = 0.5
_LATE_S = 3.0


def git_drops(bench: Bench) -> Row:
    """Half of a git server's answers are cut off at a random byte, late, or 503; then a night without that."""
    row = Row(scenario="git-drops")
    moments = bench.moments(row.scenario)
    tried: Counter[str] = Counter()
    ended_with = []

    def spoil(length: int) -> Fault | None:
        if moments.random() > _SPOILT:
            return None
        kind = moments.choice(("cut", "cut", "503", "late"))
        tried[kind] += 1
        if kind == "cut":
            return Fault(cut_at=moments.randrange(max(1, length)))
        return Fault(status=503) if kind == "503" else Fault(delay_s=_LATE_S * moments.random())

    with serving(bench.org.root) as git:
        arguments = ["patrol", *bench.org.addresses(git.url), *FAST_TOOLS]
        reference = Reference(bench.home("calm-http", arguments), bench.org.turn)
        calm = {day: reference.day(day) for day in (1, 2)}
        home = bench.home(row.scenario, arguments)
        for day in (1, 2):
            bench.org.turn(day)
            before = home.newest()
            home.begin_day()
            git.spoil = spoil
            ended = home.run()
            git.spoil = None
            ended_with.append(str(ended.code))
            row.in_flight += home.in_flight(failures_too=True)
            if ended.fault or not ended.is_whole:
                row.bad.append(f"night {day} ended with {ended.code}: {ended.fault or ended.said.strip()[-300:]}")
            must_end(row, home)
            check(row, home, calm[day], before, after_a_fault=True)
    what = ", ".join(f"{n} {kind}" for kind, n in sorted(tried.items()))
    row.injected = f"answers spoilt: {what} of {len(git.asked)}; the spoilt nights ended with {', '.join(ended_with)}"
    row.runs = home.runs
    return judge(row)
