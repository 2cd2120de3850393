"""Energy by the counters of RAPL: in folders like those of the kernel."""

import os

import pytest

from benchmarks.device import Unavailable
from benchmarks.energy import Rapl
from benchmarks.latency import measure_files
from tests.benchmarks.scripted_device import ScriptedDevice, file


@pytest.fixture
def zones(tmp_path):
    """Two packages of 1000 uJ range, and a part of the first, which must not count twice."""
    for name in ("intel-rapl:0", "intel-rapl:0:0", "intel-rapl:1"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "max_energy_range_uj").write_text("1000000\n")
        (tmp_path / name / "energy_uj").write_text("400000\n")
    return tmp_path


def test_packages_are_added_and_parts_are_not(zones):
    meter = Rapl(zones)
    (zones / "intel-rapl:0" / "energy_uj").write_text("500000\n")
    (zones / "intel-rapl:0:0" / "energy_uj").write_text("450000\n")
    (zones / "intel-rapl:1" / "energy_uj").write_text("400001\n")
    assert meter.joules() == pytest.approx(0.100001)
    assert meter.joules() == pytest.approx(0.100001)


def test_a_counter_that_overflows_goes_on(zones):
    meter = Rapl(zones)
    (zones / "intel-rapl:0" / "energy_uj").write_text("100000\n")
    assert meter.joules() == pytest.approx(0.7)


def test_a_machine_without_counters_says_so(tmp_path):
    with pytest.raises(Unavailable, match=r"energy: .* has no intel-rapl zones; Linux on x86-64 has them"):
        Rapl(tmp_path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_counters_that_may_not_be_read_say_how_to_allow_it(zones):
    path = zones / "intel-rapl:1" / "energy_uj"
    path.chmod(0)
    with pytest.raises(Unavailable, match=r"energy: .* cannot be read; allow it with: sudo chmod a\+r"):
        Rapl(zones)


class MeteredDevice(ScriptedDevice):
    """Every reading is `step` joules after the one before, or there is no meter."""

    def __init__(self, step):
        super().__init__(lambda *_: 1.0)
        self.step, self.read_j = step, 0.0

    def meter(self):
        if self.step is None:
            raise Unavailable("energy: no meter")
        return self

    def joules(self):
        self.read_j += self.step
        return self.read_j


def test_energy_is_that_of_one_inference():
    (found,) = measure_files([file("fp32")], {}, device=MeteredDevice(step=0.202), rounds=2)
    assert found.energy_mj == pytest.approx(2.0)  # 100 timed runs and an untimed one
    assert found.energy_absent is None


def test_missing_energy_has_its_reason():
    (found,) = measure_files([file("fp32")], {}, device=MeteredDevice(step=None), rounds=1)
    assert (found.energy_mj, found.energy_absent) == (None, "energy: no meter")
    (other,) = measure_files([file("fp32")], {}, device=ScriptedDevice(lambda *_: 1.0), rounds=1)
    assert (other.energy_mj, other.energy_absent) == (None, "energy: not metered on scripted")
