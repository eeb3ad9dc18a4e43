"""Kill -9 at random moments, and at each step of a publish; SIGTERM and SIGINT at random moments."""

from __future__ import annotations

import signal
from random import Random

from tasks.patrol import demo_org
from tests.chaos.bench import Bench, Day, Reference, Row, check, judge, moment, must_end, say
from tests.chaos.home import Home
from tests.lake_nights import STEPS

#: Kills a night at most: after so many little is left to be killed.
_A_NIGHT = 3


def process(bench: Bench) -> Row:
    """Kill -9 of the command's process, two thirds of all kills, over first and changed nights."""
    row = Row(scenario="kills")
    _killed(bench, row, bench.kills - bench.kills // 3, group=False)
    return row


def process_group(bench: Bench) -> Row:
    """Kill -9 of the command's process group, its own Prefect server beside it: a third of all kills."""
    row = Row(scenario="kills-group")
    _killed(bench, row, bench.kills // 3, group=True)
    return row


def all_tools(bench: Bench) -> Row:
    """Kill -9 with all tools on the demo's organisation."""
    row = Row(scenario="kills-all-tools")
    org = bench.work / "demo"
    demo_org.build(org, step=1)
    arguments = ["patrol", "--repos", str(org)]
    reference = Reference(bench.home("calm-demo", arguments), lambda _day: None, days=1)
    moments = bench.moments(row.scenario)
    home = bench.home(row.scenario, arguments)
    kills = _night(row, home, reference.day(1), moments, _A_NIGHT, group=False)
    check(row, home, reference.day(1), 0)
    row.injected, row.runs = f"{kills} kill -9 on the first night, all tools", home.runs
    return judge(row)


def _killed(bench: Bench, row: Row, wanted: int, *, group: bool) -> None:
    moments = bench.moments(row.scenario)
    done = {1: 0, 2: 0}
    while sum(done.values()) < wanted and not row.bad:
        home = bench.home(row.scenario, own_server=group)
        for day in (1, 2):
            calm = bench.reference.day(day)
            bench.org.turn(day)
            before = home.newest()
            home.begin_day()
            left = min(_A_NIGHT, wanted - sum(done.values()))
            done[day] += _night(row, home, calm, moments, left, group=group)
            check(row, home, calm, before)
        row.runs += home.runs
        say(f"{row.scenario}: {sum(done.values())} kills, {row.in_flight} in flight, {row.repeated} repeated")
    what = "process group" if group else "process"
    row.injected = (
        f"{sum(done.values())} kill -9 of the {what} ({done[1]} on the first night, {done[2]} on the changed one)"
    )
    judge(row)


def _night(row: Row, home: Home, calm: Day, moments: Random, wanted: int, *, group: bool) -> int:
    """Anywhere from the first import to the last step of the publish; then the same command once more."""
    kills = 0
    while kills < wanted:
        ended = home.run(**moment(moments, calm, kills), group=group)
        if ended.code != -signal.SIGKILL:
            if not ended.is_whole:
                row.bad.append(f"it ended with {ended.code}: {ended.said.strip()[-300:]}")
            return kills
        kills += 1
        row.in_flight += home.in_flight()
    must_end(row, home)
    return kills


def publish_steps(bench: Bench) -> Row:
    """Kill -9 just before each step of a publish: the next command is killed at the next step, and so on."""
    row = Row(scenario="publish-steps")
    home = bench.home(row.scenario)
    hit = 0
    for day, steps in ((1, STEPS), (2, STEPS[::4])):
        calm = bench.reference.day(day)
        bench.org.turn(day)
        before = home.newest()
        home.begin_day()
        for step in steps:
            ended = home.run(kill_at=step)
            hit += ended.code == -signal.SIGKILL
            if ended.code != -signal.SIGKILL:
                row.bad.append(f"step {step} was not reached: it ended with {ended.code}")
            row.in_flight += home.in_flight()
        must_end(row, home)
        check(row, home, calm, before)
    row.injected, row.runs = f"{hit} kill -9, one before each step, all {len(STEPS)} steps", home.runs
    return judge(row)


def signals(bench: Bench) -> Row:
    """SIGTERM and SIGINT at random moments: the command says so in one line, and the next one goes on."""
    row = Row(scenario="signals")
    moments = bench.moments(row.scenario)
    home = bench.home(row.scenario)
    sent = {signal.SIGTERM: 0, signal.SIGINT: 0}
    for day in (1, 2):
        calm = bench.reference.day(day)
        bench.org.turn(day)
        before = home.newest()
        home.begin_day()
        for number in (signal.SIGTERM, signal.SIGINT):
            # At a line of its journal: while it still imports, Python itself ends in another way.
            first = moments.randint(1, calm.noted // 2)
            ended = home.run(first_noted=first, signal_after_s=moments.uniform(0, 0.5), number=number)
            if ended.is_whole:
                continue
            sent[number] += 1
            row.in_flight += home.in_flight()
            if ended.fault or ended.code not in (128 + number, -number):
                row.bad.append(f"{number.name}: ended with {ended.code}; {ended.fault or ended.said.strip()[-200:]}")
        must_end(row, home)
        check(row, home, calm, before)
    row.injected = ", ".join(f"{n} {s.name}" for s, n in sent.items()) + " over both nights"
    row.runs = home.runs
    return judge(row)
