"""Latency over time, on a device with a deterministic clock that heats up."""

from dataclasses import replace

import pytest
from rich.console import Console

from benchmarks.device import Description, Unavailable
from benchmarks.files import FileId
from benchmarks.latency import FileLatency
from benchmarks.measure import Measurement
from benchmarks.summary import print_summary, to_dict
from benchmarks.sustained import Heat, measure_sustained, throttled
from tests.benchmarks.scripted_device import ScriptedDevice, file

WARM_UP_CALLS = 3
ROUNDS_OF_A_MINUTE = 4


class WarmDevice(ScriptedDevice):
    """`w8a8` is faster when cool; 10 degrees and a tenth of the clock are lost every minute."""

    def __init__(self, *, dies_in_round=None):
        super().__init__(self._latency_ms)
        self.dies_in_round, self.rounds = dies_in_round, 0

    def _latency_ms(self, scheme, start, call):
        if scheme == "fp32" and self.dies_in_round is not None and call >= WARM_UP_CALLS + self.dies_in_round:
            return -1.0
        self.rounds = max(self.rounds, call + 1 - WARM_UP_CALLS)
        hot = call >= WARM_UP_CALLS + ROUNDS_OF_A_MINUTE
        return {"fp32": 3.0, "w8a8": 4.0 if hot else 2.0}[scheme]

    def describe(self):
        minutes = self.rounds // ROUNDS_OF_A_MINUTE
        return replace(
            super().describe(), temperature_c=20.0 + 10 * minutes, clock_mhz=2000.0 - 200 * minutes
        )


def sustained(device, *, minutes=3):
    ticks = iter(range(10_000))
    return measure_sustained(
        [file("fp32"), file("w8a8")],
        {},
        device=device,
        minutes=minutes,
        now=lambda: 60 / ROUNDS_OF_A_MINUTE * max(0, next(ticks) - 1),
    )


def test_minutes_rankings_and_heat():
    found = sustained(WarmDevice())
    assert [one.minute for one in found.minutes] == [0, 1, 2]
    assert [one.p50_ms["onnx.w8a8"] for one in found.minutes] == [2.0, 4.0, 4.0]
    assert found.begin == Heat(temperature_c=20, clock_mhz=2000)
    assert [one.heat.temperature_c for one in found.minutes] == [30, 40, 50]
    assert found.throttled and not found.failed
    content = found.to_dict()
    assert content["first_ranking"] == ["onnx.w8a8", "onnx.fp32"]
    assert content["last_ranking"] == ["onnx.fp32", "onnx.w8a8"]


def test_a_device_that_reports_no_heat():
    found = sustained(ScriptedDevice(lambda *_: 1.0))
    assert (found.throttled, found.minutes[-1].heat) == (None, Heat(temperature_c=None, clock_mhz=None))


def test_a_file_that_dies_leaves_the_later_minutes_to_the_others():
    found = sustained(WarmDevice(dies_in_round=ROUNDS_OF_A_MINUTE))
    assert found.minutes[0].ranking == ["onnx.w8a8", "onnx.fp32"]
    assert found.minutes[-1].ranking == ["onnx.w8a8"]
    assert found.unavailable == {"onnx.fp32": "onnx/fp32/model.onnx: died"} and found.failed


class LostDevice(ScriptedDevice):
    """Is lost in the first round."""

    def __init__(self):
        super().__init__(lambda scheme, start, call: 1.0 if call < WARM_UP_CALLS else self._lose())
        self.lost = False

    def _lose(self):
        self.lost = True
        raise Unavailable("board: the connection was lost")

    def describe(self):
        if self.lost:
            raise Unavailable("board: the connection was lost")
        return super().describe()


def test_a_device_that_is_lost_says_so():
    found = sustained(LostDevice())
    assert found.minutes == () and not found.failed
    assert set(found.unavailable.values()) == {"board: the connection was lost"}
    lines = summary_of(LostDevice(), found)
    assert "sustained load: onnx.fp32 stopped: board: the connection was lost" in lines


def test_one_minute_has_no_first_and_last():
    with pytest.raises(
        ValueError, match="minutes is 1: at least 2 are needed to compare the first with the last"
    ):
        sustained(WarmDevice(), minutes=1)


@pytest.mark.parametrize(
    ("clocks", "expected"),
    [((2000, 1800), False), ((2000, 1600, 2000), True), ((2000, None), None), ((2000, 2500), False)],
)
def test_throttling_is_a_drop_of_more_than_15_percent(clocks, expected):
    assert throttled(clocks) is expected


def summary_of(device, found):
    """The lines of the summary of files that were not measured otherwise."""
    files = [file("fp32"), file("w8a8")]
    latency = [
        FileLatency(format=one.format, scheme=one.scheme, device="host", threads=1, unavailable="not now")
        for one in files
    ]
    measurement = Measurement(
        name="host", device=device.describe(), latency=latency, accuracy=[], sustained=found
    )
    assert isinstance(measurement.device, Description) and latency[0].id == FileId("onnx", "fp32")
    console = Console(record=True, width=120)
    print_summary(measurement, files, console=console, threads=1)
    assert to_dict([measurement], files)["devices"][0]["sustained"]["throttled"] is found.throttled
    return [line.rstrip() for line in console.export_text().splitlines()]


def test_the_summary_shows_both_rankings():
    device = WarmDevice()
    lines = summary_of(device, sustained(device))
    words = [line.split() for line in lines]
    assert ["onnx", "fp32", "3.00", "3.00", "+0.0%", "2", "to", "1"] in words
    assert ["onnx", "w8a8", "2.00", "4.00", "+100.0%", "1", "to", "2"] in words
    assert "sustained load: temperature 20 to 50 °C; clock 2000 to 1400 MHz; throttled" in lines
