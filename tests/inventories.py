"""An organisation's inventories and advisories in a lake, one call a night."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from tasks.core.keys import HmacKey
from tasks.core.types import Kind, RawReport, ScanResult, Target, TreeEntry, digest
from tasks.deps.advisories.fetching import FolderPlace
from tasks.deps.advisories.snapshots import Snapshots
from tasks.deps.advisories.syncing import Feed, sync
from tasks.deps.catalogue import format_of
from tasks.deps.documents import to_document
from tasks.deps.manifest import MalformedError
from tasks.lake.lake import Lake
from tasks.lake.publish import publish
from tasks.lake.views import run_query
from tasks.patrol.advising import take_in
from tasks.patrol.assessing import Assessed, assess
from tasks.policy import POLICY
from tasks.scanners.inventory import INVENTORY
from tests.lake_rows import KEY_ID, NIGHT, change_of, night, result
from tests.osv_server import zipped

KEY = HmacKey(b"k" * 32)


def report_of(files: Mapping[str, str | bytes]) -> bytes:
    """What the program in the sandbox would say of some files."""
    told: dict[str, list[Any]] = {"manifests": [], "others": [], "unparsed": []}
    for path, text in files.items():
        form = format_of(path)
        if form is None:
            told["others"].append(path)
            continue
        try:
            body = text.encode() if isinstance(text, str) else text
            told["manifests"].append({"path": path, **to_document(form.parse(body, path.rpartition("/")[2]))})
        except MalformedError as e:
            told["unparsed"].append(
                {"path": path, "format": form.name, "why": str(e.why), "detail": str(e), "line": e.line}
            )
    return json.dumps(told).encode()


def target_of(files: Mapping[str, str | bytes]) -> Target:
    """The target that holds them."""
    return Target(
        repo_id="team/app", ref="refs/heads/main", commit="c" * 40, root=Path("/nowhere"),
        files={
            path: TreeEntry(path=path.encode(), mode="100644", blob=digest(text)[:40], size_bytes=len(text))
            for path, text in files.items()
        },
    )  # fmt: skip


def inventory_of(
    files: Mapping[str, str | bytes], repo_id: str = "team/app", ref: str = "refs/heads/main"
) -> ScanResult:
    """The result of the scanner over some files."""
    body = INVENTORY.mask(report_of(files), b"", KEY)
    parsed = INVENTORY.parse(
        RawReport(tool="inventory", tool_version="1", exit_code=0, body=body), target_of(files), KEY
    )
    return result(
        digest(repo_id, ref, *sorted(map(str, files.items()))), *parsed.observations, repo_id=repo_id, tool="inventory",
        ref=ref, kind=Kind.PACKAGE, gaps=parsed.gaps, outcome=parsed.outcome,
    )  # fmt: skip


class Org:
    """A lake, and a night for each call."""

    def __init__(self, place: Path, empty: Path | None = None, key_id: str = KEY_ID) -> None:
        """``empty`` is a new lake, to be copied: making one takes longer."""
        if empty is not None:
            shutil.copytree(empty, place / "lake")
        self.lake = Lake.open(place / "lake", key_id=key_id)
        self.place, self._night = place, 0
        self._store = Snapshots(place / "advisories")
        self._befores: dict[tuple[str, str], str] = {}

    def patrol(self, *, ref: str = "main", **repositories: Mapping[str, str | bytes]) -> None:
        """Inventories of a branch of repositories (``shop`` is team/shop); the others are left alone."""
        results = [inventory_of(files, f"team/{name}", f"refs/heads/{ref}") for name, files in repositories.items()]
        changes = [change_of(r, before=self._befores.get((r.repo_id, r.ref))) for r in results]
        self._befores |= {(r.repo_id, r.ref): r.result_name for r in results}
        self.night(*results, changes=changes)

    def night(self, *results: ScanResult, **more: Any) -> None:
        """A run of a patrol with these results, and else what is said."""
        self._night += 1
        with self.lake.lock():
            publish(self.lake, self.lake.snapshot(), night(self._night, *results, **more))

    def advise(
        self, *records: dict[str, Any], ecosystems: Sequence[str] = ("PyPI",), said: Mapping[str, bytes] | None = None,
        max_age_days: float = 36_500,
    ) -> None:  # fmt: skip
        """A sync of the export that holds these records, and of ``said``: files of kev, epss and ssvc."""
        osv = self.place / "osv"
        for ecosystem in ecosystems:
            mine = [r for r in records if r["affected"][0]["package"]["ecosystem"].partition(":")[0] == ecosystem]
            (osv / ecosystem).mkdir(parents=True, exist_ok=True)
            files = {f"{r['id']}.json": json.dumps(r).encode() for r in mine}
            (osv / ecosystem / "all.zip").write_bytes(zipped(files))
            lines = sorted((f"{r['modified']},{r['id']}" for r in mine), reverse=True)
            (osv / ecosystem / "modified_id.csv").write_text("".join(f"{line}\n" for line in lines))
        place = FolderPlace(osv)
        feeds = [Feed(name=f"osv/{e}", address=str(osv), place=place) for e in ecosystems]
        for name, content in (said or {}).items():
            (self.place / name).write_bytes(content)
            feeds.append(Feed(name=name, address=name, place=FolderPlace(self.place / name)))
        now = datetime.now(NIGHT.tzinfo) - timedelta(minutes=1)
        report = sync(self._store, tuple(feeds), now=now, whole=True)
        with self.lake.lock():
            take_in(
                self.lake, report.snapshot, self._store.state(), feeds=[f.name for f in feeds],
                max_age_days=max_age_days, began=now, now=now,
            )  # fmt: skip

    def assess(self, **more: Any) -> Assessed:
        """Match what is new."""
        with self.lake.lock():
            return assess(self.lake, **more)

    def ask(self, sql: str) -> list[tuple[Any, ...]]:
        """Rows of a query."""
        return [tuple(r) for r in run_query(self.lake.snapshot(), sql, POLICY)[1]]

    def vulnerable(self) -> list[str]:
        """What is vulnerable now, a line each."""
        rows = self.ask(
            "SELECT slug, manifest, package, version, advisory_id, fixed_version FROM vulnerable ORDER BY ALL"
        )
        return [" ".join(map(str, row)) for row in rows]

    def open(self) -> list[str]:
        """The open findings, a line each, with why they came."""
        sql = "SELECT slug, path, rule_id, origin FROM findings WHERE tool = 'assess' AND is_open ORDER BY ALL"
        return [" ".join(map(str, row)) for row in self.ask(sql)]
