"""Properties of the machine, also of a board with two kinds of cores."""

import json
from dataclasses import asdict

import pytest

from benchmarks import machine
from benchmarks.device import CoreCluster


@pytest.fixture
def rock(tmp_path):
    """The files of an RK3588: cores 0-3 are Cortex-A55, 4-7 Cortex-A76."""
    for cpu in range(8):
        folder = tmp_path / f"sys/devices/system/cpu/cpu{cpu}/cpufreq"
        folder.mkdir(parents=True)
        (folder / "cpuinfo_max_freq").write_text("1800000\n" if cpu < 4 else "2400000\n")
        (folder / "scaling_cur_freq").write_text("1008000\n" if cpu < 4 else "2208000\n")
        (folder / "scaling_governor").write_text("ondemand\n")
    lines = [
        f"processor\t: {cpu}\nCPU implementer\t: 0x41\nCPU part\t: {'0xd05' if cpu < 4 else '0xd0b'}\n"
        for cpu in range(8)
    ]
    (tmp_path / "proc/device-tree").mkdir(parents=True)
    (tmp_path / "proc/cpuinfo").write_text("\n".join(lines))
    (tmp_path / "proc/device-tree/model").write_bytes(b"Radxa ROCK 5B\0")
    for zone, (kind, temperature) in enumerate(
        (("soc-thermal", 51846), ("battery", 90000), ("gpu-thermal", 1))
    ):
        folder = tmp_path / f"sys/class/thermal/thermal_zone{zone}"
        folder.mkdir(parents=True)
        (folder / "type").write_text(kind)
        (folder / "temp").write_text(f"{temperature}\n")
    return tmp_path


def test_a_board_with_two_kinds_of_cores(rock):
    assert machine.clusters(rock) == (
        CoreCluster(cpus="0-3", core="Cortex-A55", max_mhz=1800.0),
        CoreCluster(cpus="4-7", core="Cortex-A76", max_mhz=2400.0),
    )
    assert machine.processor(rock) == "Radxa ROCK 5B"
    assert machine.governor(range(8), rock) == "ondemand"
    assert machine.clock_mhz([0, 1], rock) == 1008.0
    assert machine.clock_mhz(range(8), rock) == 2208.0
    assert machine.temperature_c(rock) == pytest.approx(51.846)


def test_governors_that_differ_are_all_named(rock):
    (rock / "sys/devices/system/cpu/cpu7/cpufreq/scaling_governor").write_text("performance\n")
    assert machine.governor(range(8), rock) == "ondemand, performance"
    assert machine.governor([0], rock) == "ondemand"


def test_cores_of_other_makers_have_numbers(rock):
    (rock / "proc/cpuinfo").write_text("processor: 0\nCPU implementer: 0x51\nCPU part: 0x804\n")
    assert machine.clusters(rock)[0].core == "implementer 0x51, part 0x804"


def test_without_a_zone_of_the_processor_the_hottest_counts(rock):
    (rock / "sys/class/thermal/thermal_zone0/type").write_text("acpitz")
    assert machine.temperature_c(rock) == 90.0


def test_a_hardware_monitor_of_the_processor(tmp_path):
    for number, (driver, temperature) in enumerate((("nvme", 95000), ("k10temp", 61250))):
        folder = tmp_path / f"sys/class/hwmon/hwmon{number}"
        folder.mkdir(parents=True)
        (folder / "name").write_text(f"{driver}\n")
        (folder / "temp1_input").write_text(f"{temperature}\n")
    assert machine.temperature_c(tmp_path) == 61.25


def test_what_the_system_does_not_report_is_none(tmp_path):
    assert machine.clusters(tmp_path) == ()
    assert machine.governor([0], tmp_path) is None
    assert machine.clock_mhz([0], tmp_path) is None
    assert machine.temperature_c(tmp_path) is None


def test_this_machine():
    description = machine.describe("here")
    assert description.name == "here" and description.cpu and description.memory_bytes > 2**28
    assert description.cores == machine.usable_cores() and description.cpus is None
    json.dumps(asdict(description))


@pytest.mark.parametrize(("text", "numbers"), [("0", [0]), ("4-7", [4, 5, 6, 7]), ("0,2-3,9", [0, 2, 3, 9])])
def test_ranges_of_cores(text, numbers):
    assert machine.parse_ranges(text) == numbers
    assert machine.ranges(numbers) == text


def test_a_processor_without_vnni_is_noted(monkeypatch):
    monkeypatch.setattr(machine, "lacks_vnni", lambda: True)
    assert machine.describe("here").notes == (machine.WITHOUT_VNNI,)
    monkeypatch.setattr(machine, "lacks_vnni", lambda: False)
    assert machine.describe("here").notes == ()
