"""Register ``prefect.yaml`` with the API: the one place that turns the file into deployments."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.resources import files
from typing import Any

import yaml
from prefect import Flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.objects import ConcurrencyLimitConfig, ConcurrencyLimitStrategy
from prefect.deployments.runner import RunnerDeployment
from prefect.exceptions import ObjectNotFound
from prefect.schedules import Cron
from prefect.types.entrypoint import EntrypointType


def declared() -> dict[str, Any]:
    """The content of ``prefect.yaml``."""
    return dict(yaml.safe_load(files("deployments").joinpath("prefect.yaml").read_text("utf-8")))


def register(pool: str) -> Iterator[str]:
    """Make the process work pool if it is missing, and each declared deployment. Yields a line for each.

    A flow is referred to by its module (``flows.patrol.patrol``), because it is installed with the package:
    a worker pulls no code.
    """
    from flows.assess import assess
    from flows.patrol import patrol
    from flows.rotate import rotate

    known: dict[str, Flow[..., Any]] = {
        "flows.patrol.patrol": patrol,
        "flows.assess.assess": assess,
        "flows.rotate.rotate": rotate,
    }
    with get_client(sync_client=True) as client:
        try:
            client.read_work_pool(pool)
        except ObjectNotFound:
            client.create_work_pool(WorkPoolCreate(name=pool, type="process"))
            yield f"work pool {pool} (process): made"
        else:
            yield f"work pool {pool}: there"
    for entry in declared()["deployments"]:
        flow = known[entry["entrypoint"]]
        limit = entry["concurrency_limit"]
        deployment: RunnerDeployment = flow.to_deployment(  # type: ignore[assignment]
            name=entry["name"],
            description=entry["description"],
            tags=entry["tags"],
            parameters=entry["parameters"],
            enforce_parameter_schema=entry["enforce_parameter_schema"],
            schedules=[Cron(s["cron"], timezone=s["timezone"], active=s["active"]) for s in entry["schedules"]],
            concurrency_limit=ConcurrencyLimitConfig(
                limit=limit["limit"], collision_strategy=ConcurrencyLimitStrategy(limit["collision_strategy"])
            ),
            work_pool_name=pool,
            job_variables=entry["work_pool"]["job_variables"],
            entrypoint_type=EntrypointType.MODULE_PATH,
        )
        deployment.apply()
        yield f"deployment {flow.name}/{entry['name']}: registered"
