"""Files on a board over ssh, through the OpenSSH client and a real server on loopback."""

import os
import re
import signal
from pathlib import Path

import numpy as np
import pytest

from benchmarks.device import SessionFailed
from benchmarks.exported import read_export
from benchmarks.measure import Effort, measure
from benchmarks.ssh.link import Link
from tests.benchmarks.small_exports import (
    ALL_INPUTS,
    VIDEO_ONLY,
    example,
    expected_logits,
    file_row,
    onnx_export,
    write_endless_onnx,
    write_manifest,
    write_onnx,
)
from tests.benchmarks.ssh.server import MISSING, SSHD, Server
from tests.benchmarks.test_host_process import video_file

CPUS = Path("/sys/devices/system/cpu")

pytestmark = pytest.mark.skipif(SSHD is None, reason=MISSING)


@pytest.fixture(scope="module")
def board(server):
    with server.settings().connect("board") as board:
        yield board


@pytest.fixture
def puts(monkeypatch):
    """Paths of the blocks that are sent."""
    sent = []
    ask = Link.ask

    def counting(link, command, **arguments):
        if command == "put":
            sent.append(arguments["path"])
        return ask(link, command, **arguments)

    monkeypatch.setattr(Link, "ask", counting)
    return sent


def test_the_board_describes_itself(board):
    description = board.describe()
    assert description.name == "board" and description.cpu and description.system
    assert 1 <= description.cores <= os.cpu_count() and description.memory_bytes > 2**28


def test_logits_are_those_of_the_file(board, tmp_path):
    spec, layouts = ALL_INPUTS, {"clip": "NTWCH", "audio": "NBCM", "text": "LN"}
    inputs = write_onnx(tmp_path / "onnx/fp32/model.onnx", spec, layouts=layouts, text_dtype="int32")
    row = file_row(tmp_path, format="onnx", path="onnx/fp32/model.onnx", inputs=inputs, spec=spec)
    write_manifest(tmp_path, spec=spec, files=[row])
    clips = example(spec, clips=3)
    with board.open(read_export(tmp_path).files[0]) as session:
        assert session.load(threads=1).startswith("ONNX Runtime 1.")
        session.begin_infer(clips)
        given = session.end_infer()
    for logits, expected in zip(given, expected_logits(spec, clips).values(), strict=True):
        assert logits.dtype == np.float32
        np.testing.assert_allclose(logits, expected, rtol=1e-5, atol=1e-4)


def test_a_measurement_is_complete_and_files_are_sent_once(server, tmp_path, puts):
    exported = read_export(onnx_export(tmp_path))
    devices = {"board": server.settings(cpus=str(min(os.sched_getaffinity(0))))}
    (first,) = measure(exported, devices=devices, effort=Effort(rounds=6))
    assert first.device.cpus == devices["board"].cpus and first.device.cores == 1
    (latency,) = first.latency
    assert latency.unavailable is None and latency.rounds == 6 and latency.device == "board"
    assert latency.p50_ms > 0 and latency.model_rss_bytes < latency.peak_rss_bytes
    sent = [path.partition("/")[0] for path in puts]
    assert sent == ["files", "blobs"]
    puts.clear()
    (second,) = measure(exported, devices=devices, effort=Effort(rounds=1))
    assert second.latency[0].unavailable is None and puts == []


def test_sessions_run_side_by_side(board, tmp_path):
    (file,) = read_export(onnx_export(tmp_path)).files
    clips = example(VIDEO_ONLY, clips=2)
    with board.open(file) as one, board.open(file) as other:
        for session in (one, other):
            session.load(threads=1)
            session.begin_infer(clips)
        np.testing.assert_array_equal(other.end_infer()[0], one.end_infer()[0])


def test_a_damaged_file_is_refused_with_the_runtimes_words(board, tmp_path):
    (file,) = read_export(onnx_export(tmp_path)).files
    file.path.write_bytes(b"no network")
    with (
        board.open(file) as session,
        pytest.raises(
            SessionFailed, match=rf"{re.escape(file.title)}: ONNX Runtime on board failed in 'load': "
        ),
    ):
        session.load(threads=1)


def test_an_inference_that_never_ends_is_ended_and_the_board_goes_on(board, server, tmp_path):
    write_endless_onnx(tmp_path / "model.onnx")
    with board.open(video_file(tmp_path / "model.onnx")) as session:
        session.load(threads=1)
        session.hold(example(VIDEO_ONLY, clips=1))
        with pytest.raises(SessionFailed, match="did not respond to 'time_runs' within 1 s and was killed"):
            session.time_runs(1, limit_s=1.0)
    assert board.describe().cores


def test_a_process_that_dies_is_reported_with_its_signal(board, server, tmp_path):
    write_endless_onnx(tmp_path / "model.onnx")
    with board.open(video_file(tmp_path / "model.onnx")) as session:
        session.load(threads=1)
        session.begin_infer(example(VIDEO_ONLY, clips=1))
        (process,) = sessions_of(server)
        process.send_signal(signal.SIGKILL)
        with pytest.raises(SessionFailed, match=r"was killed by SIGKILL \(often: out of memory\) in 'infer'"):
            session.end_infer()


@pytest.mark.skipif(os.getuid() != 0, reason="only root can replace the files of the system")
def test_throttling_is_noted(tmp_path):
    clocks = [tmp_path / f"cpu/cpu{cpu}/cpufreq" for cpu in os.sched_getaffinity(0)]
    for clock in clocks:
        clock.mkdir(parents=True)
        (clock / "cpuinfo_max_freq").write_text("2400000")
        (clock / "scaling_cur_freq").write_text("2400000")
        (clock / "scaling_governor").write_text("ondemand")
    for name in ("online", "possible", "present"):
        (tmp_path / "cpu" / name).write_bytes((CPUS / name).read_bytes())
    server = Server(tmp_path / "server", also=f"mount --bind {tmp_path / 'cpu'} {CPUS}")
    (file,) = read_export(onnx_export(tmp_path / "export")).files
    try:
        with server.settings().connect("board") as board, board.open(file) as session:
            description = board.describe()
            assert (description.governor, description.clock_mhz) == ("ondemand", 2400.0)
            assert description.clusters[0].max_mhz == 2400.0
            session.load(threads=1)
            session.hold(example(VIDEO_ONLY, clips=1))
            for khz in (2400000, 2000000, 1500000):
                for clock in clocks:
                    (clock / "scaling_cur_freq").write_text(str(khz))
                session.time_runs(1)
            (note,) = session.notes
    finally:
        server.stop()
    assert note.startswith("throttled (cool the board and measure again): -38%, clock 2400 to 1500 MHz")


def test_the_board_is_cleaned_on_request(server, tmp_path):
    (file,) = read_export(onnx_export(tmp_path)).files
    folder = tmp_path / "of_the_user"
    (folder / "kept").mkdir(parents=True)
    with (
        server.settings(folder=folder, clean=True).connect("board") as board,
        board.open(file) as session,
    ):
        session.load(threads=1)
        assert len(list(folder.iterdir())) > 1
    assert [path.name for path in folder.iterdir()] == ["kept"]


def sessions_of(server):
    return [one for one in server.board_processes() if "session" in one.cmdline()]
