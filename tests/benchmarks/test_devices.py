"""Devices as given by users: short forms, mappings, names."""

import re
from typing import ClassVar, Self

import pytest
from pydantic import Field

from benchmarks.device import Unavailable
from benchmarks.devices import (
    DEVICES,
    DeviceSettings,
    HostSettings,
    device_of,
    named_devices,
    parse_device,
)
from benchmarks.exported import read_export
from benchmarks.measure import Effort, measure
from tests.benchmarks.small_exports import onnx_export


class BoardSettings(DeviceSettings):
    """A board that is never there."""

    kind: ClassVar[str] = "board"
    shorthand: ClassVar[str | None] = "address"

    address: str
    port: int = Field(default=22, ge=1)

    def connect(self, name: str) -> "Board":
        return Board(name)


class Board:
    def __init__(self, name: str) -> None:
        self.name = name

    def __enter__(self) -> Self:
        raise Unavailable("the board does not answer: switch it on")

    def __exit__(self, *_: object) -> None:
        pass


@pytest.fixture(autouse=True)
def _with_board(monkeypatch):
    monkeypatch.setitem(DEVICES, "board", BoardSettings)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("host", HostSettings()),
        ("{host: {}}", HostSettings()),
        ("{host: {name: here}}", HostSettings(name="here")),
        ("board:me@192.0.2.7", BoardSettings(address="me@192.0.2.7")),
        ("board:[::1]:22", BoardSettings(address="[::1]:22")),
        ("{board: me@there}", BoardSettings(address="me@there")),
        (" {board: {address: me@there, port: 2222}}", BoardSettings(address="me@there", port=2222)),
    ],
)
def test_a_device_is_a_text_or_a_mapping(text, expected):
    assert parse_device(text) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("phone", "device 'phone' is unknown; allowed: host, "),
        ("host:here", "device 'host' takes nothing after the colon; given: 'here'"),
        ("board", "device 'board': address: Field required"),
        ("{board: {address: x, port: 0}}", "device 'board': port: Input should be greater than"),
        ("{board: {address: x, prot: 1}}", "device 'board': prot: Extra inputs are not permitted"),
        ("{board: [x]}", "the settings of device 'board' are a mapping; given: ['x']"),
        ("{board: x, host: {}}", "a device is a text such as host, or a mapping with one key"),
        ("{board: ", "is not a YAML mapping"),
        ("{host: {name: a.b}}", "device 'host': name: String should match"),
    ],
)
def test_a_wrong_device_is_refused(text, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        parse_device(text)


def test_devices_are_named_by_kind_and_number():
    one, two = BoardSettings(address="one"), BoardSettings(address="two")
    named = BoardSettings(address="three", name="kitchen")
    assert named_devices([HostSettings(), one, two, named]) == {
        "host": HostSettings(),
        "board": one,
        "board_2": two,
        "kitchen": named,
    }


@pytest.mark.parametrize(
    ("devices", "message"),
    [
        (["host", "host"], "the device 'host' is given twice"),
        ([{"host": {"name": "board"}}, "board:x"], "two devices are named 'board'; give each its own `name`"),
    ],
)
def test_two_devices_with_one_name_are_refused(devices, message):
    with pytest.raises(ValueError, match=message):
        named_devices(map(device_of, devices))


def test_a_missing_device_costs_its_own_rows(tmp_path):
    devices = {"gone": BoardSettings(address="x"), "host": HostSettings()}
    gone, here = measure(read_export(onnx_export(tmp_path)), devices=devices, effort=Effort(rounds=1))
    assert (gone.name, gone.device, gone.latency[0].device) == ("gone", None, "gone")
    assert gone.latency[0].unavailable == "the board does not answer: switch it on"
    assert not gone.latency[0].failed
    assert here.latency[0].p50_ms is not None
