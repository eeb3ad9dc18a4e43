"""Secrets are rotated again and again while runners are killed at every step, frozen, or two at once, and the servers
are killed, frozen or made to fail, too; consumers must not notice.

Each secret is a lane: one rotation after the other, of which every one must be finished by some runner, however many
died at it. ``chaos`` gives the lanes their faults, so that every step gets as many kills as are wanted.
"""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, replace
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from tasks.core.rotations import State
from tasks.patrol.rotation_log import RotationLog
from tests.chaos.bench import Bench, Row, say
from tests.chaos.rotation_aws import aws_servers
from tests.chaos.rotation_clients import Logins, Observer, consume, quoted, texts_of
from tests.chaos.rotation_outcome import Faults, Outcome, Size
from tests.chaos.rotation_runner import Stop, run, told
from tests.chaos.rotation_servers import servers
from tests.chaos.rotation_stage import DOWN, Shop, Stage

_STATES = (State.PREPARED, State.APPLIED, State.VERIFIED, State.PROMOTED, State.GRACE, State.RETIRED)
#: What a runner may end with beside having finished: it found no server for long. Others go on.
_HARMLESS = ("rotation_busy", "backend_unreachable", "backend_sealed", "backend_limited", "target_unreachable",
             "old_in_use")  # fmt: skip
#: How long the runners of one rotation may take until it is finished.
_MOST_S = 150.0
#: At least so many steps has each stage.
_STEPS = 16
_context = get_context("forkserver")
#: A stage in a folder, with so many secrets.
Setting = Callable[[Path, int], AbstractContextManager[Stage]]


@dataclass(slots=True)
class Runner:
    """A process and its pipe."""

    process: BaseProcess
    pipe: Connection

    def end(self, how: signal.Signals = signal.SIGKILL) -> None:
        """Kill it, and wait until it is gone."""
        assert self.process.pid is not None
        os.kill(self.process.pid, how)
        self.gone()

    def gone(self) -> None:
        """Wait until it is gone."""
        self.process.join(30)
        self.pipe.close()


class Lane:
    """One secret, rotated again and again."""

    def __init__(self, chaos: Chaos, shop: Shop) -> None:
        self._chaos, self.shop = chaos, shop
        self._faults, self._outcome = chaos.faults, chaos.outcome
        self._running: list[Runner] = []
        self._frozen: list[Runner] = []

    def go(self) -> None:
        """Until enough was done, or something is wrong."""
        number = 0
        try:
            while not self._faults.is_enough and not self._chaos.is_over and not self._outcome.bad:
                number += 1
                self._rotate(f"slot-{number:04}")
                self._faults.finished()
                if self._frozen and self._faults.chance(0.5):
                    self._thaw()
            self._thaw()
        except Exception as e:  # the lane is a thread: what ends it is told
            self._outcome.bad.append(f"{self.shop.name}: {type(e).__name__}: {e}")
            raise
        finally:
            for runner in (*self._running, *self._frozen):
                runner.end()

    def _rotate(self, slot: str) -> None:
        """One rotation: by one runner or two, and those that come after them."""
        self._start(slot, self._faults.stop(self.shop))
        if self._faults.chance(0.3):
            self._start(slot)
        end = time.monotonic() + _MOST_S
        moment = time.monotonic() + self._faults.seconds(20)
        while True:
            for pipe in wait([r.pipe for r in self._running], 0.1):
                self._hear(next(r for r in self._running if r.pipe is pipe), slot)
            if self._running and time.monotonic() > moment:
                self._kill(self._running[0], "a moment", slot)
                moment = end
            if not self._running:
                if self._is_finished():
                    return
                self._two(slot)
            if time.monotonic() > end:
                self._outcome.bad.append(f"{self.shop.name}: {slot} is not finished after {_MOST_S:.0f} s")
                return

    def _is_finished(self) -> bool:
        try:
            return self._chaos.stage.seen(self.shop).mark is None
        except DOWN:
            return False

    def _start(self, slot: str, stop: Stop | None = None) -> None:
        ours, theirs = _context.Pipe()
        process = _context.Process(target=run, args=(self._chaos.site, self.shop, slot, stop, theirs), daemon=True)
        process.start()
        theirs.close()
        self._running.append(Runner(process, ours))
        with self._chaos.lock:
            self._outcome.runners += 1
            self._outcome.two_at_once += len(self._running) == 2

    def _hear(self, runner: Runner, slot: str) -> None:
        word = told(runner.pipe)
        if word is not None and word[0] == "at":
            if self._faults.freezes():
                self._freeze(runner, word[1], slot)
            else:
                self._kill(runner, word[1], slot)
            return
        self._running.remove(runner)
        self._judge(runner, word)

    def _judge(self, runner: Runner, word: tuple[Any, ...] | None) -> None:
        """What a runner ended as."""
        runner.gone()
        if word is None:
            self._outcome.bad.append(f"{self.shop.name}: a runner ended by itself ({runner.process.exitcode})")
            return
        _, state, reason, detail = word
        self._faults.count(self._outcome.ended, " ".join(filter(None, (state, reason))) or "done by others")
        if reason is not None and reason not in _HARMLESS:
            self._outcome.bad.append(f"{self.shop.name}: a runner ended with {reason}: {detail}")

    def _kill(self, runner: Runner, step: str, slot: str) -> None:
        """Kill it where it is; two go on at once, one of which may be stopped again."""
        assert runner.process.pid is not None
        self._chaos.observer.show(runner.process.pid)
        self._running.remove(runner)
        runner.end()
        self._faults.count(self._outcome.kills, step)
        self._two(slot)

    def _two(self, slot: str) -> None:
        stop = self._faults.stop(self.shop) if self._faults.chance(0.4) else None
        while len(self._running) < 2:
            self._start(slot, stop)
            stop = None

    def _freeze(self, runner: Runner, step: str, slot: str) -> None:
        """Freeze it where it is, until others have finished what it was at; who waits for its lock is helped."""
        assert runner.process.pid is not None
        os.kill(runner.process.pid, signal.SIGSTOP)
        runner.pipe.send("go")
        self._running.remove(runner)
        self._frozen.append(runner)
        self._faults.count(self._outcome.freezes, step)
        self._two(slot)
        try:
            ended = self._chaos.stage.end_locks()
        except DOWN:
            return  # they went with the server
        with self._chaos.lock:
            self._outcome.locks_ended += ended

    def _thaw(self) -> None:
        """Let the frozen ones go on, after all that they missed; then nothing may be left of it."""
        thawed, self._frozen = self._frozen, []
        for runner in thawed:
            assert runner.process.pid is not None
            os.kill(runner.process.pid, signal.SIGCONT)
        for runner in thawed:
            word = told(runner.pipe) if runner.pipe.poll(_MOST_S) else None
            if word is None and runner.process.is_alive():
                runner.end()
            self._judge(runner, word)


class Chaos:
    """The servers, who consumes, who looks on, and the lanes."""

    def __init__(self, place: Path, size: Size, seed: int, at: Stage) -> None:
        self.size, self.seed, self.stage = size, seed, at
        self.site = at.site(place, size.grace_s)
        steps = tuple(dict.fromkeys(s for shop in at.shops for s in shop.steps if s in (size.steps or shop.steps)))
        self.outcome = Outcome(size, steps, at.store, at.target)
        self.faults = Faults(size, random.Random(f"{seed} rotation"), self.outcome)
        self.observer = Observer(at, size.grace_s)
        self.lock = threading.Lock()
        self._end = time.monotonic() + size.most_s

    @property
    def is_over(self) -> bool:
        """Whether it took too long."""
        return time.monotonic() > self._end

    def run(self) -> Outcome:
        """All of it."""
        began = time.monotonic()
        with ExitStack() as running:
            consumers = [self._consumer(i) for i in range(self.size.clients)]
            running.callback(self._stop, consumers)
            running.enter_context(self.observer)
            self.observer.show(*self.stage.shown, *(p.process.pid for p in consumers if p.process.pid))
            lanes = [threading.Thread(target=Lane(self, s).go, name=s.name) for s in self.stage.shops]
            for lane in lanes:
                lane.start()
            self._disturb(lanes)
            for lane in lanes:
                lane.join()
            for shop in self.stage.shops:
                self.outcome.bad += self.observer.converged(shop)
        self.outcome.took_s = time.monotonic() - began
        self._judge()
        return self.outcome

    def _consumer(self, number: int) -> Runner:
        ours, theirs = _context.Pipe()
        cache_s = self.size.cache_s if number % 2 else 0.0
        asked = (self.site, self.stage.shops, cache_s, f"{self.seed} {number}", theirs)
        process = _context.Process(target=consume, args=asked, daemon=True)
        process.start()
        theirs.close()
        return Runner(process, ours)

    def _stop(self, consumers: Sequence[Runner]) -> None:
        for one in consumers:
            one.pipe.send("stop")
        for one in consumers:
            word = told(one.pipe) if one.pipe.poll(60) else None
            if isinstance(word, Logins):
                self.outcome.logins.add(word)
            else:
                self.outcome.bad.append("a consumer ended by itself")
            one.gone()

    def _disturb(self, lanes: Sequence[threading.Thread]) -> None:
        """Disturb the servers in turn, evenly over all rotations."""
        kinds = self.stage.disturbances() * self.size.server_kills
        last_said = 0
        while any(lane.is_alive() for lane in lanes):
            time.sleep(0.2)
            there, done = self.outcome.disturbed.total(), self.faults.done
            if there < len(kinds) and done >= (there + 1) * self.size.rotations / (len(kinds) + 1):
                name, disturb = kinds[there]
                say(f"rotation: {name}")
                disturb()
                self.outcome.disturbed[name] += 1
            if done >= last_said + 20:
                last_said = done
                say(f"rotation: {done} rotations, {self.outcome.kills.total()} kills")

    def _judge(self) -> None:
        out, size = self.outcome, self.size
        out.looks, out.most_live = self.observer.looks, self.observer.most_live
        out.faults = self.stage.faults()
        out.bad += self.observer.bad + out.logins.failed
        steps: dict[str, set[State]] = {}
        for step in RotationLog(self.site.steps).kept()[0]:
            steps.setdefault(step.rotation_id, set()).add(step.state)
        out.rotations = sum(State.RETIRED in states for states in steps.values())
        out.withdrawn = sum(State.WITHDRAWN in states for states in steps.values())
        for rid, states in steps.items():
            missing = [s for s in _STATES if s not in states]
            if missing and State.WITHDRAWN not in states:
                out.bad.append(f"rotation {rid}: nobody told {', '.join(missing)}")
        if out.rotations < size.rotations:
            out.bad.append(f"{out.rotations} rotations, {size.rotations} were wanted")
        out.bad += [f"{out.kills[s]} kills {s}" for s in out.steps if out.kills[s] < size.a_step]
        if out.logins.accepted < size.rotations:
            out.bad.append("next to no logins")
        self._search()

    def _search(self) -> None:
        """No value lies anywhere but in the store."""
        logs = self.stage.logs()
        texts = texts_of([*logs, *sorted(self.site.said.iterdir()), *sorted(self.site.steps.glob("*.jsonl"))])
        texts["the process list"] = b"\0\0".join(self.observer.shown)
        made = {*self.site.book.read_text().split(), *self.stage.first_values}
        self.outcome.bad += [f"a value stands in {name}" for name in quoted(made, texts)]
        self.outcome.bad += [
            f"{path.name} was not written" for path, what in logs.items() if what not in texts[path.name]
        ]


def chaos(place: Path, size: Size, seed: int, setting: Setting = servers) -> Outcome:
    """Run it in a folder of its own."""
    # Runners and consumers are forked from a process that has imported all they need, and knows nothing.
    _context.set_forkserver_preload([
        "tests.chaos.rotation_runner", "tests.chaos.rotation_clients", "tests.chaos.rotation_servers",
        "tests.chaos.rotation_aws", "boto3",
    ])  # fmt: skip
    with setting(place, size.shops) as at:
        return Chaos(place, size, seed, at).run()


def rotation(bench: Bench) -> Row:
    """Secrets rotated without an end, kill -9 of runners at every step, two at once, frozen ones, servers killed."""
    return _row(bench, "rotation", Size(), servers)


def rotation_aws(bench: Bench) -> Row:
    """The same with an emulator of Secrets Manager and IAM that fails, loses answers and is frozen, and PostgreSQL."""
    return _row(bench, "rotation-aws", Size(shops=8), aws_servers)


def _row(bench: Bench, name: str, size: Size, setting: Setting) -> Row:
    place = bench.work / name
    place.mkdir()
    done = chaos(place, replace(size, a_step=max(size.a_step, -(-bench.kills // _STEPS))), bench.seed, setting)
    row = Row(scenario=name, runs=done.runners, bad=done.bad, report=done.report, last=done.line)
    row.injected = f"{done.kills.total()} kill -9 of runners, {done.freezes.total()} frozen"
    return row
