"""Register ``prefect.yaml`` with the API: the one place that turns the file into deployments."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
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


def flow_of(entry: dict[str, Any]) -> Flow[..., Any]:
    """The flow that a declared deployment runs."""
    module, _, name = str(entry["entrypoint"]).rpartition(".")
    found: Flow[..., Any] = getattr(import_module(module), name)
    return found


def register(pool: str) -> Iterator[str]:
    """Make the process work pool if it is missing, and each declared deployment. Yields a line for each.

    A flow is referred to by its module (``flows.patrol.patrol``), because it is installed with the package:
    a worker pulls no code.
    """
    with get_client(sync_client=True) as client:
        try:
            client.read_work_pool(pool)
        except ObjectNotFound:
            client.create_work_pool(WorkPoolCreate(name=pool, type="process"))
            yield f"work pool {pool} (process): made"
        else:
            yield f"work pool {pool}: there"
    for entry in declared()["deployments"]:
        flow = flow_of(entry)
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
