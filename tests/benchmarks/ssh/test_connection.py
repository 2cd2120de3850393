"""Connections that are refused, lost or interrupted, and full disks: the reason and the remedy."""

import os
import shutil
import subprocess
import sys
import time

import numpy as np
import pytest

from benchmarks.device import Unavailable
from benchmarks.devices import parse_device
from benchmarks.exported import read_export
from benchmarks.measure import Effort, measure
from benchmarks.ssh.client import run
from benchmarks.ssh.link import Link
from benchmarks.ssh.uploads import of_array
from tests.benchmarks.small_exports import (
    VIDEO_ONLY,
    example,
    onnx_export,
    write_endless_onnx,
)
from tests.benchmarks.ssh.server import MISSING, SSHD, Server, make_key
from tests.benchmarks.test_host_process import video_file

MADE_AGAIN = "the connection was lost and made again; files that ran were loaded a second time"

pytestmark = pytest.mark.skipif(SSHD is None, reason=MISSING)


@pytest.fixture
def known_hosts(server):
    """The file of known hosts, restored after the test."""
    before = server.known_hosts.read_bytes()
    yield server.known_hosts
    server.known_hosts.write_bytes(before)


def connect(settings):
    with settings.connect("board"):
        pass


def test_a_changed_host_key_is_refused(server, known_hosts, tmp_path):
    make_key(tmp_path / "another")
    server.trust(tmp_path / "another.pub")
    with pytest.raises(
        Unavailable, match=r"differs from the one in line 1 of .*known_hosts: either the board was"
    ):
        connect(server.settings())


def test_a_changed_host_key_is_refused_whatever_the_configuration_says(server, known_hosts, tmp_path):
    make_key(tmp_path / "another")
    server.trust(tmp_path / "another.pub")
    config = tmp_path / "careless"
    config.write_text(server.client_config.read_text() + "  StrictHostKeyChecking no\n  LogLevel QUIET\n")
    with pytest.raises(Unavailable, match="its host key differs"):
        connect(server.settings(config=config))


def test_an_unknown_host_is_refused(server, known_hosts):
    known_hosts.write_text("")
    with pytest.raises(Unavailable, match=r"host key is not known yet\. Connect once by hand \(ssh board\)"):
        connect(server.settings())
    assert known_hosts.read_text() == ""


def test_a_board_that_is_refused_costs_its_own_rows(server, known_hosts, tmp_path):
    known_hosts.write_text("")
    devices = {"board": server.settings(), "host": parse_device("host")}
    board, host = measure(read_export(onnx_export(tmp_path)), devices=devices, effort=Effort(rounds=1))
    assert board.device is None and "its host key is not known yet" in board.latency[0].unavailable
    assert not board.latency[0].failed  # the file is not at fault
    assert host.latency[0].p50_ms > 0


def test_without_an_accepted_key_nothing_is_asked(server, tmp_path):
    make_key(tmp_path / "stranger")
    config = tmp_path / "config"
    config.write_text(
        server.client_config.read_text().replace(f"{server.folder}/user_key", f"{tmp_path}/stranger")
    )
    with pytest.raises(
        Unavailable, match=r"accepts none of the offered keys \(it takes: publickey\).*ssh-copy-id"
    ):
        connect(server.settings(config=config))
    connect(server.settings(config=config, identity_file=server.folder / "user_key"))


def test_the_agent_gives_the_key(server, tmp_path, monkeypatch):
    socket = tmp_path / "agent"
    agent = subprocess.Popen(["ssh-agent", "-D", "-a", socket], stdout=subprocess.DEVNULL)
    try:
        monkeypatch.setenv("SSH_AUTH_SOCK", str(socket))
        for _ in range(600):
            if socket.exists():
                break
            time.sleep(0.1)
        subprocess.run(["ssh-add", "-q", server.folder / "user_key"], check=True)
        config = tmp_path / "config"
        lines = server.client_config.read_text().splitlines()
        config.write_text("\n".join(line for line in lines if "Identit" not in line) + "\n")
        connect(server.settings(config=config))
    finally:
        agent.kill()
        agent.wait()


@pytest.fixture(scope="module")
def jump_host(tmp_path_factory):
    jump_host = Server(tmp_path_factory.mktemp("jump_host"))
    yield jump_host
    jump_host.stop()


@pytest.fixture
def through(server, jump_host, tmp_path):
    """A configuration that reaches the board through the jump host."""
    config = tmp_path / "through"
    config.write_text(
        f"{server.client_config.read_text()}  ProxyJump gate\n"
        + jump_host.client_config.read_text().replace("Host board", "Host gate")
    )
    return config


def test_the_board_is_reached_through_a_jump_host(server, jump_host, through):
    connect(server.settings(config=through))
    assert "gate" not in server.client_config.read_text()
    assert "Accepted publickey" in (jump_host.folder / "log").read_text()


def test_a_fault_of_the_jump_host_is_not_blamed_on_the_board(server, jump_host, through, tmp_path):
    key = jump_host.known_hosts.read_bytes()
    jump_host.known_hosts.write_text("")
    with pytest.raises(Unavailable, match=r"jump host .*at fault: its host key is not known .*ssh JUMP_HOST"):
        connect(server.settings(config=through))
    assert jump_host.known_hosts.read_text() == ""
    jump_host.known_hosts.write_bytes(key)
    make_key(tmp_path / "stranger")
    through.write_text(through.read_text().replace(f"{jump_host.folder}/user_key", f"{tmp_path}/stranger"))
    with pytest.raises(Unavailable, match=r"at fault: it accepts none .*ssh-copy-id JUMP_HOST"):
        connect(server.settings(config=through))


_IN_A_TERMINAL = """\
import pty, sys
sys.exit(pty.spawn(sys.argv[1:]) >> 8)
"""
_CONNECTS = """\
import sys
from benchmarks.device import Unavailable
from benchmarks.ssh.settings import SshSettings
try:
    with SshSettings(address="board", config=sys.argv[1]).connect("board"):
        pass
except Unavailable as error:
    print(error)
"""


def test_in_a_terminal_nothing_is_asked_for_a_jump_host_either(server, jump_host, through, tmp_path):
    locked = tmp_path / "locked"
    shutil.copy(jump_host.folder / "user_key", locked)
    subprocess.run(["ssh-keygen", "-q", "-p", "-P", "", "-N", "a passphrase", "-f", locked], check=True)
    through.write_text(through.read_text().replace(f"{jump_host.folder}/user_key", str(locked)))
    python = [sys.executable, "-c", _CONNECTS, str(through)]
    command = [sys.executable, "-c", _IN_A_TERMINAL, *python]
    # The input stays open, as that of a terminal at which nobody types.
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            process.wait(60)
        finally:
            process.kill()
        said = process.stdout.read()
    assert "is at fault: it accepts none of the offered keys" in said
    assert "passphrase for" not in said


def test_nothing_listens(server):
    with pytest.raises(Unavailable, match="nothing answers at its port: start the ssh server"):
        connect(server.settings(port=1))


def test_the_client_is_missing(server, monkeypatch):
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(Unavailable, match="the program ssh is missing: install an OpenSSH client"):
        connect(server.settings())


def test_what_startup_files_print_is_skipped(tmp_path):
    server = Server(
        tmp_path / "server", 'ForceCommand echo Welcome to the board; eval "$SSH_ORIGINAL_COMMAND"'
    )
    try:
        connect(server.settings())
    finally:
        server.stop()


def test_no_python_is_named(server):
    with pytest.raises(
        Unavailable, match=r"python9 is not found on the board: install Python 3\.11 or newer"
    ):
        connect(server.settings(python="python9"))


def test_cores_that_the_board_does_not_have_are_refused(server):
    with pytest.raises(Unavailable, match=r"`cpus` is 900-901, but the board has the cores 0"):
        connect(server.settings(cpus="900-901"))


@pytest.fixture
def drops(server, monkeypatch):
    """Drops the connections when a command has been sent for as many times as `drops[command]` says."""
    counts, send = {}, Link.send

    def dropping(link, channel, command, arguments, **more):
        send(link, channel, command, arguments, **more)
        if command in counts:
            counts[command] -= 1
            if counts[command] == 0:
                server.drop_connections()

    monkeypatch.setattr(Link, "send", dropping)
    return counts


def test_a_measurement_goes_on_after_a_dropped_connection(server, drops, tmp_path, capsys):
    exported = read_export(onnx_export(tmp_path))
    drops["time_runs"] = 5
    (found,) = measure(exported, devices={"board": server.settings()}, effort=Effort(rounds=2))
    assert drops["time_runs"] < 0
    (latency,) = found.latency
    assert latency.unavailable is None and (latency.rounds, latency.starts) == (2, 2)
    assert MADE_AGAIN in latency.notes
    assert "board: connecting again: board: the connection was lost" in capsys.readouterr().err


def test_every_file_resumes_after_a_dropped_connection(server, drops, tmp_path):
    (file,) = read_export(onnx_export(tmp_path)).files
    clips = example(VIDEO_ONLY, clips=2)
    with server.settings().connect("board") as board, board.open(file) as one, board.open(file) as other:
        for session in (one, other):
            session.load(threads=1)
            session.hold(example(VIDEO_ONLY, clips=1))
        one.begin_infer(clips)
        drops["infer"] = 1
        other.begin_infer(clips)
        np.testing.assert_array_equal(other.end_infer()[0], one.end_infer()[0])
        assert one.time_runs(3).shape == (3,)
        assert one.notes == (MADE_AGAIN,) and board.describe().notes == (MADE_AGAIN,)


def test_the_second_loss_ends_the_measurement(server, drops, tmp_path):
    exported = read_export(onnx_export(tmp_path))
    drops["load"] = 1
    with server.settings().connect("board") as board, board.open(exported.files[0]) as session:
        session.load(threads=1)
        server.drop_connections()
        for _ in range(2):
            with pytest.raises(
                Unavailable, match=r"the connection was lost.*; it had been made again once before"
            ):
                session.memory()


def test_a_board_that_is_switched_off_while_a_file_runs_costs_the_board_only(tmp_path):
    server = Server(tmp_path / "server")
    write_endless_onnx(tmp_path / "model.onnx")
    with (
        server.settings().connect("board") as board,
        board.open(video_file(tmp_path / "model.onnx")) as session,
    ):
        session.load(threads=1)
        session.begin_infer(example(VIDEO_ONLY, clips=1))
        server.stop()
        reason = (
            "board: the connection was lost.*; connecting again failed: board: nothing answers at its port"
        )
        with pytest.raises(Unavailable, match=reason):
            session.end_infer()
        with pytest.raises(Unavailable, match=reason):
            board.describe()
    wait_until(lambda: not server.board_processes())


def test_a_board_that_hangs_is_given_up(server):
    link = Link(server.settings(folder=server.folder / "board" / "hanging"), "board")
    (hub,) = (one for one in server.board_processes() if one.cmdline()[-1].endswith("hanging"))
    hub.suspend()
    try:
        for _ in range(2):  # the second command would otherwise get the answer to the first
            with pytest.raises(Unavailable, match="board: did not respond to 'describe' within 1 s"):
                link.ask("describe", limit_s=1.0, name="board", cpus=None)
    finally:
        hub.kill()
        link.close()


def test_a_copy_that_was_interrupted_continues(server, tmp_path, monkeypatch):
    array = np.random.default_rng(0).random(5 * 2**18, dtype=np.float32)
    _, upload = of_array(array)
    settings = server.settings(folder=tmp_path / "board")
    send, blocks = Link.send, []

    def dropping(link, channel, command, arguments, **more):
        if command == "put":
            blocks.append(arguments["begin"])
            if len(blocks) in (3, 5):
                server.drop_connections()
        send(link, channel, command, arguments, **more)

    monkeypatch.setattr(Link, "send", dropping)
    link = Link(settings, "board")
    with pytest.raises(Unavailable, match=r"the connection was lost; .*; it had been made again once before"):
        link.push([upload], what="clips")
    link.close()
    link = Link(settings, "board")
    link.push([upload], what="clips")
    link.close()
    assert blocks == [block * 2**20 for block in (0, 1, 2, 2, 3, 3, 4)]
    assert (tmp_path / "board" / upload.path).read_bytes() == array.tobytes()


@pytest.mark.skipif(os.getuid() != 0, reason="only root can mount a small file system")
def test_a_full_disk_is_reported(server):
    _, upload = of_array(np.zeros(2**17, np.float32))
    link = Link(server.settings(folder=server.small), "board")
    with pytest.raises(
        Unavailable, match=r"small on the board has no room: 0\.5 MB are needed and 0\.2 MB are free"
    ):
        link.push([upload], what="clips")
    path = "blobs/late"
    with pytest.raises(Unavailable, match="has no room"):  # another program took the room in the meantime
        link.ask(
            "put", path=path, size=upload.size, sha256=upload.sha256, begin=0, payload=upload.read(0, 2**19)
        )
    assert link.ask("present", files=[(path, 10)]) == [0]
    link.ask("clean")
    link.close()


@pytest.mark.skipif(os.getuid() != 0, reason="only root can mount a small file system")
def test_a_disk_that_is_full_before_the_runner_is_there_is_reported(server):
    settings = server.settings(folder=server.small / "board")
    filler = server.small / "filler"
    run(settings, f"head -c 1000000 /dev/zero > {filler} || true")
    try:
        with pytest.raises(Unavailable, match="board: its disk is full: free some space there"):
            connect(settings)
    finally:
        run(settings, f"rm {filler}")


def wait_until(condition):
    for _ in range(600):
        if condition():
            return
        time.sleep(0.1)
    pytest.fail("it did not happen within a minute")
