"""Settings of a board, and the command line of ssh that they give."""

import pytest

from benchmarks.devices import parse_device
from benchmarks.ssh.client import command
from benchmarks.ssh.settings import SshSettings


def test_the_short_form_is_the_address():
    assert parse_device("ssh:pi@board") == SshSettings(address="pi@board")
    assert parse_device("{ssh: {address: pi@board, cpus: '4-7'}}") == SshSettings(
        address="pi@board", cpus="4-7"
    )


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("ssh", "address: Field required"),
        ("ssh:-oProxyCommand=x", "address: String should match"),
        ("ssh:pi@board reboot", "address: String should match"),
        ("{ssh: {address: b, cpus: all}}", "cpus: String should match"),
        (
            "{ssh: {address: b, cpus: 7-4}}",
            "cpus: Value error, the range 7-4 ends before it begins; write 4-7",
        ),
        ("{ssh: {address: b, port: 0}}", "port: Input should be greater than or equal to 1"),
        ("{ssh: {address: b, password: x}}", "password: Extra inputs are not permitted"),
    ],
)
def test_wrong_settings_are_refused(text, reason):
    with pytest.raises(ValueError, match=rf"device 'ssh': {reason}"):
        parse_device(text)


def test_ssh_never_asks_and_takes_known_keys_only(tmp_path):
    settings = SshSettings(
        address="pi@board", port=2222, identity_file=f"{tmp_path}/key", config=f"{tmp_path}/c"
    )
    line = command(settings, "true")
    assert line[:8] == ["ssh", "-T", "-F", str(tmp_path / "c"), "-p", "2222", "-i", str(tmp_path / "key")]
    assert line[-3:] == ["--", "pi@board", "true"]
    assert {"BatchMode=yes", "StrictHostKeyChecking=yes", "RemoteCommand=none"} <= set(line)
