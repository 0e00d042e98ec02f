"""From sums to the metrics of a round, by their names; what diverged is NaN, and the rest still has its score."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn.isotonic import IsotonicRegression

from fedray.federation.scores import nowcast, scores
from fedray.learning.metrics import Binary, Regression
from fedray.learning.scoring import day_sums, metric_sums
from fedray.sums import merged, to_limbs

OFFSETS = np.array([0, 2, 4])
TRAIN = (np.array([1.0, 2.0, 3.0, 4.0]), np.array([1.0, 2.0, 4.0, 5.0]))
TEST = (np.array([2.0, 2.0, 2.0, 2.0]), np.array([1.0, 2.0, 3.0, 6.0]))


class Largest:
    """A user's metric with several results."""

    name = "largest"

    def on_phone(self, prediction, target):
        return {"phones": 1, "error": np.abs(prediction - target).max()}

    def finish(self, sums):
        return {"mean": sums["error"] / sums["phones"], "phones": sums["phones"]}


class Count:
    name = "count"

    def on_phone(self, prediction, target):
        return {"rows": len(target)}

    def finish(self, sums):
        return float(sums["rows"])


def split(name: str, rows, metrics, loss=(6.0, 4.0), days: bool = False):
    prediction, target = rows
    sums = metric_sums(metrics, prediction, target, OFFSETS)
    sums |= {"loss.loss": to_limbs(np.array(loss[0])), "loss.rows": to_limbs(np.array(loss[1]))}
    if days:
        sums |= day_sums(prediction, target, np.array([0, 1, 2, 3]), 4)
    return {f"{name}.{part}": units for part, units in sums.items()}


def of(metrics, train=TRAIN, test=TEST, **more):
    return scores(split("train", train, metrics, **more) | split("test", test, metrics, **more), metrics)


def test_the_names_and_numbers_of_a_regression_by_hand():
    got = of({"": Regression()})
    assert dict(got.metrics) == {
        "train_mse": 0.5,
        "train_mae": 0.5,
        "train_r2": pytest.approx(1 - 0.5 / 2.5),
        "train_scored_loss": 1.5,
        "test_mse": pytest.approx((1 + 0 + 1 + 16) / 4),
        "test_mae": 1.5,
        "test_r2": pytest.approx(1 - 4.5 / 3.5),
        "test_loss": 1.5,
        # the training mean is 3
        "mean_predictor_mse": pytest.approx((4 + 1 + 0 + 9) / 4),
        "mean_predictor_r2": pytest.approx(0.0),
        "mse_ratio": pytest.approx(4.5 / 3.5),
    }
    assert got.nowcast == {}


def test_the_names_of_a_classification():
    train = (np.array([1.0, -1.0, 2.0, -2.0]), np.array([1.0, 0.0, 1.0, 0.0]))
    got = of({"": Binary()}, train, train).metrics
    assert {name.removeprefix("train_") for name in got if name.startswith("train_")} == {
        "log_loss",
        "accuracy",
        "auroc",
        "scored_loss",
    }
    assert got["test_accuracy"] == got["test_auroc"] == 1
    assert got["mean_predictor_log_loss"] == pytest.approx(math.log(2))
    assert "mse_ratio" not in got


def test_users_metrics_by_name():
    got = of({"": Regression(), "largest": Largest(), "count": Count()}).metrics
    assert got["train_largest_mean"] == 0.5 * (0 + 1)
    assert got["test_largest_phones"] == 2
    assert got["test_count"] == 4


def test_one_split_alone_has_its_scores():
    metrics = {"": Regression()}
    got = scores(split("test", TEST, metrics), metrics).metrics
    assert set(got) == {"test_mse", "test_mae", "test_r2", "test_loss"}


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_what_diverged_is_nan_and_the_other_split_is_not(value):
    spoilt = (np.array([1.0, value, 3.0, 4.0]), TEST[1])
    got = of({"": Regression(), "count": Count()}, test=spoilt).metrics
    assert math.isnan(got["test_mse"])
    assert math.isnan(got["test_mae"])
    assert math.isnan(got["test_r2"])
    assert math.isnan(got["mse_ratio"])
    assert got["train_mse"] == 0.5
    assert got["test_count"] == 4
    assert got["mean_predictor_mse"] == pytest.approx(3.5)


def test_a_loss_that_no_limb_holds_is_nan():
    metrics = {"": Regression()}
    sums = split("train", TRAIN, metrics) | split("test", TEST, metrics)
    got = scores(merged(sums, {"test.loss.loss!": to_limbs(np.array(1.0))}), metrics).metrics
    assert math.isnan(got["test_loss"])
    assert got["train_scored_loss"] == 1.5


class TestNowcast:
    def days(self, prediction, target, rows=(2, 2, 2, 2)):
        rows = np.array(rows, dtype=float)
        return {"rows": rows, "prediction": np.array(prediction) * rows, "target": np.array(target) * rows}

    def test_raw_by_hand_and_calibrated_by_the_training_days(self):
        # Predictions shrink towards the mean: half the distance. The curve of the training days undoes it.
        train = self.days([1.5, 2.0, 2.5, 3.0], [1.0, 2.0, 3.0, 4.0])
        test = self.days([1.5, 2.5, 3.0, 2.0], [1.0, 3.0, 4.0, 2.0])
        found, table = nowcast(train, test)
        assert found["nowcast_mse"] == pytest.approx((0.25 + 0.25 + 1 + 0) / 4)
        assert found["nowcast_r2"] == pytest.approx(1 - 0.375 / 1.25)
        assert found["nowcast_calibrated_mse"] == pytest.approx(0, abs=1e-30)
        assert found["nowcast_calibrated_r2"] == 1
        assert table["day"] == [0, 1, 2, 3]
        assert table["truth"] == [1, 3, 4, 2]
        assert table["raw"] == [1.5, 2.5, 3, 2]
        assert table["calibrated"] == [1, 3, 4, 2]

    def test_it_is_sklearns_isotonic_regression(self):
        random = np.random.default_rng(1)
        days = np.sort(random.normal(size=40))
        train, test = (self.days(days + random.normal(size=40), days, [3] * 40) for _ in range(2))
        raw, truth = (train[name] / 3 for name in ("prediction", "target"))
        curve = IsotonicRegression(out_of_bounds="clip", increasing="auto").fit(raw, truth)
        assert nowcast(train, test)[1]["calibrated"] == curve.predict(test["prediction"] / 3).tolist()

    def test_days_without_rows_do_not_count(self):
        train = self.days([1.0, 2.0, 3.0, 4.0], [1.0, 2.0, 3.0, 4.0])
        test = self.days([1.0, 9.0, 3.0, 9.0], [1.0, 2.0, 3.0, 4.0], rows=(2, 0, 2, 0))
        found, table = nowcast(train, test)
        assert table["day"] == [0, 2]
        assert found["nowcast_mse"] == 0

    def test_too_few_days_make_no_nowcast(self):
        enough, few = (self.days([1.0] * 4, [2.0] * 4, rows) for rows in ([1, 1, 1, 1], [1, 0, 0, 0]))
        assert nowcast(enough, few) == nowcast(few, enough) == ({}, {})

    def test_it_stands_beside_the_metrics_where_there_are_days(self):
        got = of({"": Regression()}, days=True)
        assert {"nowcast_mse", "nowcast_r2", "nowcast_calibrated_mse", "nowcast_calibrated_r2"} <= set(got.metrics)
        assert got.nowcast["truth"] == TEST[1].tolist()
        assert got.nowcast["raw"] == TEST[0].tolist()
