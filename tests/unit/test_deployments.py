"""What is registered as deployments."""

from __future__ import annotations

from prefect import Flow

from deployments.register import declared, flow_of


def test_each_deployment_runs_a_flow_and_has_a_name_of_its_own() -> None:
    entries = declared()["deployments"]
    assert len({entry["name"] for entry in entries}) == len(entries)
    for entry in entries:
        flow = flow_of(entry)
        assert isinstance(flow, Flow), entry["entrypoint"]
        assert f"{flow.fn.__module__}.{flow.fn.__name__}" == entry["entrypoint"]
