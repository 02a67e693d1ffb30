"""Settings of a cluster, and their sameness on all nodes."""

from __future__ import annotations

import pytest
from pydantic import SecretStr, ValidationError
from skipstep_service.ray_serve.options import RayOptions
from skipstep_service.ray_serve.sameness import check_same, check_shareable, prints_of
from skipstep_service.settings import Settings, settings_of

from skipstep.errors import OptionError

SHARED = {"store": "postgresql://me:secret@host/db", "results": "s3://bucket/results"}


def test_variables_reach_the_options(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SKIPSTEP_RAY__MAX_REPLICAS", "4")
    monkeypatch.setenv("SKIPSTEP_RAY__GPUS", "0.5")
    options = settings_of().ray
    assert (options.min_replicas, options.max_replicas, options.gpus) == (1, 4, 0.5)


def test_what_is_not_given_follows_the_batch() -> None:
    assert RayOptions().most(8) == 16
    assert RayOptions(max_ongoing=5).most(8) == 5


def test_fewer_replicas_at_most_than_at_least_are_refused() -> None:
    with pytest.raises(OptionError, match=r"max_replicas must be 3 \(min_replicas\) or more, got 2"):
        settings_of(ray={"min_replicas": 3, "max_replicas": 2})


@pytest.mark.parametrize("wrong", [{"min_replicas": 0}, {"factor": 0.9}, {"gpus": -1}, {"replicas": 2}])
def test_values_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        RayOptions.model_validate(wrong)


def test_a_node_with_other_settings_is_told_which() -> None:
    ours = Settings.model_validate({**SHARED, "webhook_secret": SecretStr("whsec_" + "a" * 32)})
    check_same(ours, prints_of(ours))
    other = ours.model_copy(update={"max_rows": 4, "webhook_secret": SecretStr("whsec_" + "b" * 32)})
    with pytest.raises(OptionError, match="SKIPSTEP_MAX_ROWS, SKIPSTEP_WEBHOOK_SECRET differ on this node"):
        check_same(other, prints_of(ours))


def test_addresses_are_of_each_process() -> None:
    ours = Settings.model_validate(SHARED)
    check_same(ours.model_copy(update={"port": 9000}), prints_of(ours))


def test_hashes_tell_no_secrets() -> None:
    told = repr(prints_of(Settings.model_validate(SHARED)))
    assert "secret" not in told.replace("webhook_secret", "")
    assert "bucket" not in told


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"store": "sqlite:///jobs.db"}, "on Ray the store must be postgresql://USER@HOST/DB, got sqlite"),
        ({"results": "results"}, "an absolute path that all nodes have, got 'results'"),
    ],
)
def test_what_machines_cannot_share_is_refused(settings: dict[str, str], message: str) -> None:
    check_shareable(Settings.model_validate(SHARED))
    with pytest.raises(OptionError, match=message):
        check_shareable(Settings.model_validate({**SHARED, **settings}))
