"""Range methods on histograms whose limits are known."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from export.quantize.observers import HistogramRange, LeastErrorWeight
from export.quantize.ranges import RANGES
from export.quantize.ranges.histogram import BINS, Histogram, added


def histogram(values: Tensor) -> Histogram:
    counts, width = added(torch.zeros(2 * BINS), 0.0, values)
    return Histogram(counts=counts, width=width, low=float(values.min()), high=float(values.max()))


def test_a_wider_batch_joins_pairs_of_bins_and_loses_no_value() -> None:
    values = torch.tensor([-1.0, -0.3, 0.2, 0.7])
    counts, width = added(torch.zeros(2 * BINS), 0.0, values)
    assert width == 1 / BINS and counts.sum() == 4
    counts, width = added(counts, width, torch.tensor([5.0]))
    assert width == 8 / BINS and counts.sum() == 5
    centres = Histogram(counts=counts, width=width, low=-1, high=5).centres[counts > 0]
    assert torch.allclose(centres, torch.tensor([-1.0, -0.3, 0.2, 0.7, 5.0]), atol=width)


def test_zeros_alone_leave_the_histogram_as_it_is() -> None:
    counts, width = added(torch.zeros(2 * BINS), 0.0, torch.zeros(3))
    assert width == 0 and not counts.any()


def test_minmax_clips_nothing() -> None:
    assert RANGES["minmax"].search(histogram(torch.tensor([-3.0, 1.0, 9.0]))) == (-3.0, 9.0)


@pytest.mark.parametrize(("percent", "expected"), [(99, (10, 990)), (90, (100, 900))])
def test_a_percentile_of_1000_equally_spaced_values(percent, expected) -> None:
    values = torch.arange(1000) + 0.5
    found = RANGES["percentile"].search(histogram(values), percentile=percent)
    assert found == pytest.approx(expected, abs=1)


def test_a_percentile_never_exceeds_the_extremes() -> None:
    assert RANGES["percentile"].search(histogram(torch.ones(10)), percentile=99.99) == (1.0, 1.0)


def test_mse_clips_nothing_of_a_uniform_distribution() -> None:
    assert RANGES["mse"].search(histogram(torch.linspace(-1, 1, 10_000))) == pytest.approx((-1, 1), rel=0.02)


def test_mse_clips_an_outlier_where_clipping_and_rounding_cost_the_least() -> None:
    values = torch.cat([torch.linspace(-1, 1, 1_000_000), torch.tensor([20.0])])
    low, high = RANGES["mse"].search(histogram(values))
    # (20 - h)^2 for the outlier and a million times (step^2 / 12) for the others: h = (20 - r) / (1 + r).
    rounding = 1e6 / 255**2 / 12
    assert high == pytest.approx((20 - rounding) / (1 + rounding), rel=0.1)
    assert low == pytest.approx(-1, abs=0.06)


def test_kl_picks_the_threshold_behind_the_bulk() -> None:
    # 256 values keep a uniform distribution below 1 exactly; 0.1 % of the values lie between 1 and 8.
    values = torch.cat(
        [torch.rand(200_000, generator=torch.Generator().manual_seed(0)), torch.linspace(1, 8, 200)]
    )
    low, high = RANGES["kl"].search(histogram(values))
    assert low >= 0 and 1 <= high < 1.5


def test_kl_does_not_clip_the_values_beside_many_zeros() -> None:
    values = torch.randn(200_000, generator=torch.Generator().manual_seed(0)).relu()
    low, high = RANGES["kl"].search(histogram(values))
    assert low == 0 and high > 2.5, "half of the values are zeros; 1 % of the others exceed 2.6"


def rounded(observer: HistogramRange) -> tuple[float, float]:
    scale, zero_point = observer.calculate_qparams()
    return float((-128 - zero_point) * scale), float((127 - zero_point) * scale)


@pytest.mark.parametrize("name", RANGES)
def test_the_observer_gives_the_limits_of_every_method(name) -> None:
    settings = {"percentile": 99.0} if RANGES[name].settings else {}
    observer = HistogramRange(
        search=lambda found: RANGES[name].search(found, **settings),
        dtype=torch.int8,
        qscheme=torch.per_tensor_affine,
        quant_min=-128,
        quant_max=127,
    )
    values = torch.randn(60_000, generator=torch.Generator().manual_seed(0))
    for part in values.chunk(3):
        observer(part)
    low, high = rounded(observer)
    seen = Histogram(
        counts=observer.counts, width=float(observer.width), low=float(values.min()), high=float(values.max())
    )
    assert observer.counts.sum() == len(values)
    assert (low, high) == pytest.approx(RANGES[name].search(seen, **settings), abs=0.03)
    assert (float(observer.min_val), float(observer.max_val)) == (float(values.min()), float(values.max()))


def test_a_constant_value_has_a_range() -> None:
    observer = HistogramRange(search=RANGES["kl"].search, dtype=torch.int8, quant_min=-128, quant_max=127)
    observer(torch.full((4,), 2.0))
    assert rounded(observer)[1] == pytest.approx(2.0, rel=0.01)


def test_the_least_error_of_a_weight_with_an_outlier_is_less_than_at_its_extreme() -> None:
    generator = torch.Generator().manual_seed(0)
    weight = torch.cat([torch.randn(2, 4000, generator=generator), torch.full((2, 1), 6.0)], 1)
    observer = LeastErrorWeight(
        dtype=torch.int8, qscheme=torch.per_channel_symmetric, quant_min=-127, quant_max=127
    )
    for _ in range(2):
        observer(weight)
    scale, _ = observer.calculate_qparams()
    assert bool((scale < weight.abs().amax(1) / 127).all())

    def error(scale: Tensor) -> Tensor:
        steps = (weight / scale[:, None]).round().clamp(-127, 127)
        return (steps * scale[:, None] - weight).square().sum(1)

    assert bool((error(scale) < error(weight.abs().amax(1) / 127)).all())
