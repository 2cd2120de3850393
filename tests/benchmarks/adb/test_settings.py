"""Settings of a phone."""

import pytest
from pydantic import ValidationError

from benchmarks.adb.kind import AdbSettings
from benchmarks.devices import HostSettings, device_of, parse_device
from compress.recipe.sections import BenchmarkConfig


def test_the_short_form_gives_the_serial_number_also_that_of_a_phone_in_the_network():
    assert device_of("adb") == AdbSettings()
    assert parse_device("adb:R5CT12345") == AdbSettings(serial="R5CT12345")
    assert parse_device("adb:192.0.2.7:5555") == AdbSettings(serial="192.0.2.7:5555")


def test_a_mapping_gives_runners_and_cores():
    settings = parse_device("{adb: {executor_runner: bin/executor_runner, cpus: '4-7', keep: false}}")
    assert settings == AdbSettings(executor_runner="bin/executor_runner", cpus="4-7", keep=False)


def test_a_recipe_takes_the_same_forms():
    entries = ["host", "adb:R5CT12345", {"adb": "192.0.2.7:5555"}, {"adb": {"cpus": "4-7", "name": "pixel"}}]
    named = BenchmarkConfig.model_validate({"devices": entries}).named_devices
    assert named == {
        "host": HostSettings(),
        "adb": AdbSettings(serial="R5CT12345"),
        "adb_2": AdbSettings(serial="192.0.2.7:5555"),
        "pixel": AdbSettings(cpus="4-7", name="pixel"),
    }


@pytest.mark.parametrize(("cpus", "mask"), [(None, 0), ("0", 1), ("4-7", 0xF0), ("0,2, 6-7", 0xC5)])
def test_cores_become_a_mask(cpus, mask):
    assert AdbSettings(cpus=cpus).mask == mask


@pytest.mark.parametrize("cpus", ["", "f0", "7-4", "1-", "-1"])
def test_what_is_not_a_list_of_cores_is_refused(cpus):
    with pytest.raises(ValidationError, match="is not a list of cores such as '4-7' or '0,2'"):
        AdbSettings(cpus=cpus)


@pytest.mark.parametrize(
    "folder", ["data", "/", "/data/../etc", "/data/my files", "/data/$(reboot)", "/sdcard/"]
)
def test_a_folder_that_a_shell_could_misread_is_refused(folder):
    with pytest.raises(ValidationError, match="folder"):
        AdbSettings(folder=folder)


def test_a_path_that_no_system_takes_is_refused():
    with pytest.raises(ValidationError, match="the path has 5000 characters; allowed are 4096"):
        AdbSettings(benchmark_model="x" * 5000)


def test_another_runner_is_another_identity(tmp_path):
    runner = tmp_path / "benchmark_model"
    runner.write_bytes(b"one")
    settings = AdbSettings(benchmark_model=runner)
    first = settings.identity()
    runner.write_bytes(b"two")
    assert settings.identity() != first != AdbSettings().identity()
