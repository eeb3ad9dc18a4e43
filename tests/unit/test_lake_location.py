"""Which lake the settings name, and what of it is never told."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from flows.lake_location import lake_location
from flows.settings import load
from tasks.core.errors import UsageError
from tasks.core.secret_refs import Secret
from tasks.lake.lake import Lake
from tasks.lake.s3_location import S3Location, split_url
from tasks.lake.s3_place import S3Place


@pytest.fixture(autouse=True)
def _bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("NIGHTWARDEN_LAKE", "NIGHTWARDEN_CONFIG", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_REGION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NIGHTWARDEN_HOME", str(tmp_path / "home"))


def test_a_folder_stays_a_folder(tmp_path: Path) -> None:
    assert lake_location(load()) == tmp_path / "home" / "lake"
    assert lake_location(load(lake=str(tmp_path / "a"))) == tmp_path / "a"


def test_a_place_on_s3_comes_with_the_way_to_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("NIGHTWARDEN_LAKE", "s3://org-lake/nightwarden/prod/")
    monkeypatch.setenv("NIGHTWARDEN_S3_ENDPOINT", "https://s3.example.org")
    monkeypatch.setenv("NIGHTWARDEN_S3_REGION", "eu-1")
    monkeypatch.setenv("NIGHTWARDEN_S3_CACHE_MB", "70")
    settings = load()
    assert lake_location(settings) == S3Location(
        bucket="org-lake", prefix="nightwarden/prod", cache=tmp_path / "home" / "cache",
        endpoint="https://s3.example.org", region="eu-1", cache_bytes=70 * 1024**2,
    )  # fmt: skip
    assert str(lake_location(settings)) == "s3://org-lake/nightwarden/prod"
    assert settings.key_path == tmp_path / "home" / "keys" / "hmac.key"


@pytest.mark.parametrize("url", ["s3://", "s3://A/b", "s3://ab/", "s3://abc/../x", "s3://abc/a//b", "s3://abc/a?b"])
def test_an_address_that_names_no_place_is_refused(url: str) -> None:
    with pytest.raises(UsageError, match="names no place") as refused:
        split_url(url)
    assert "s3://BUCKET/PREFIX" in refused.value.advice


def test_an_endpoint_without_tls_must_be_allowed_and_keys_are_not_told(tmp_path: Path) -> None:
    canary = "canary-of-a-secret-key"
    place = S3Location(
        bucket="abc", prefix="", cache=tmp_path, endpoint="http://s3.example.org", access_key=Secret(canary),
        secret_key=Secret(canary),
    )  # fmt: skip
    assert canary not in repr(place) + str(place)
    with pytest.raises(UsageError, match="not encrypted"):
        Lake(place, "k")
    here = S3Place(replace(place, endpoint="http://127.0.0.1:9"))
    assert (here.delta_options() or {})["aws_allow_http"] == "true", "what stays on this machine nobody else hears"
