import json
import signal
import subprocess
import sys

import pytest

from compress.store import content_key, one_at_a_time, stored, write_atomic


def _load(folder):
    return (folder / "value").read_text()


def _writer(text):
    return lambda work: (work / "value").write_text(text)


def test_made_once_then_found(tmp_path):
    first = stored(tmp_path / "a", key="k", make=_writer("one"), load=_load)
    second = stored(tmp_path / "a", key="k", make=_writer("two"), load=_load)
    assert (first.value, first.cached, second.value, second.cached) == ("one", False, "one", True)


def test_another_key_makes_it_anew(tmp_path):
    stored(tmp_path / "a", key="k", make=_writer("one"), load=_load)
    again = stored(tmp_path / "a", key="other", make=_writer("two"), load=_load)
    assert (again.value, again.cached) == ("two", False)


def test_unfinished_work_is_found_again_under_the_same_key_only(tmp_path):
    def fails(work):
        (work / "half").write_text("done")
        raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        stored(tmp_path / "a", key="k", make=fails, load=_load)
    assert not (tmp_path / "a").exists()
    seen = []

    def looks(work):
        seen.append((work / "half").exists())
        (work / "value").write_text("x")

    stored(tmp_path / "b", key="k", make=looks, load=_load)
    stored(tmp_path / "a", key="k", make=looks, load=_load)
    with pytest.raises(RuntimeError, match="stop"):
        stored(tmp_path / "c", key="k", make=fails, load=_load)
    stored(tmp_path / "c", key="other", make=looks, load=_load)
    assert seen == [False, True, False]


def test_of_two_processes_one_waits(tmp_path):
    script = (
        "import sys, pathlib; from compress.store import one_at_a_time\n"
        "with one_at_a_time(pathlib.Path(sys.argv[1]), waiting=print):\n"
        "    print('inside', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "a")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "inside\n"
        waited = []
        with one_at_a_time(tmp_path / "a", waiting=lambda who: waited.append((who, other.stdin.close()))):
            assert other.wait() == 0 and f"process {other.pid} on " in waited[0][0]
        with one_at_a_time(tmp_path / "a", waiting=lambda who: pytest.fail("nobody is inside")):
            pass


def test_keys_depend_on_every_part():
    keys = [content_key(code=(), a=1), content_key(code=(), a=2), content_key(code=(), b=2)]
    keys.append(content_key(code=["models.spec"], a=1))
    assert len(set(keys)) == 4 and keys[0] == content_key(code=(), a=1)


def test_a_killed_writer_leaves_the_old_file(tmp_path):
    target = tmp_path / "file.json"
    write_atomic(target, json.dumps({"old": True}))
    script = (
        "import os, signal, pathlib, sys; sys.path.insert(0, '.')\n"
        "from compress.folders import writing as store\n"
        "os.fsync = lambda _: os.kill(os.getpid(), signal.SIGKILL)\n"
        f"store.write_atomic(pathlib.Path({str(target)!r}), 'new')\n"
    )
    killed = subprocess.run([sys.executable, "-c", script], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert json.loads(target.read_text()) == {"old": True}
