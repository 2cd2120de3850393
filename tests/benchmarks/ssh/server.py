"""A real OpenSSH server on loopback, with keys of its own.

As root it runs in a mount namespace with its own /run and /etc/passwd, so that it needs nothing of this machine and
the account on the "board" has a home of its own. CONTRIBUTING.md says where to get one.
"""

from __future__ import annotations

import getpass
import os
import shlex
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil

from benchmarks.ssh.settings import SshSettings

SSHD = os.environ.get("POCKETREEL_SSHD") or shutil.which("sshd", path="/usr/sbin:/usr/local/sbin")
MISSING = "no sshd: install openssh-server, or set POCKETREEL_SSHD (CONTRIBUTING.md)"

_NAMESPACE = """\
set -e
mount -t tmpfs -o mode=755 run /run
mkdir /run/sshd
sed 's#^\\({user}:.*\\):[^:]*:[^:]*$#\\1:{home}:/bin/sh#' /etc/passwd > /run/passwd
echo 'sshd:x:100:65534::/run/sshd:/usr/sbin/nologin' >> /run/passwd
mount --bind /run/passwd /etc/passwd
mount -t tmpfs -o size=256k small {small}
{also}
exec {sshd}
"""


class Server:
    """Listens from the start to `stop`; `settings` reach it through a client configuration of its own."""

    def __init__(self, folder: Path, *lines: str, also: str = "") -> None:
        """`lines` are further lines of sshd_config; `also` is a command in the mount namespace, for root."""
        self.folder = folder
        self.home = folder / "home"
        self.small = folder / "small"
        """A file system of 256 KiB, if the server runs as root."""
        self.known_hosts = folder / "known_hosts"
        self._config = folder / "sshd_config"
        self.small.mkdir(parents=True)
        self.home.mkdir()
        for name in ("host_key", "user_key"):
            make_key(folder / name)
        self.port = _free_port()
        self._config.write_text(
            f"Port {self.port}\nListenAddress 127.0.0.1\nHostKey {folder}/host_key\nPidFile none\nUsePAM no\n"
            f"AuthorizedKeysFile {folder}/user_key.pub\nPasswordAuthentication no\nStrictModes no\n"
            + "".join(f"{line}\n" for line in ("KbdInteractiveAuthentication no", *lines))
        )
        self.trust(folder / "host_key.pub")
        self.client_config = folder / "ssh_config"
        self.client_config.write_text(
            f"Host board\n  HostName 127.0.0.1\n  Port {self.port}\n  User {getpass.getuser()}\n"
            f"  IdentityFile {folder}/user_key\n  IdentitiesOnly yes\n  IdentityAgent none\n"
            f"  UserKnownHostsFile {self.known_hosts}\n  GlobalKnownHostsFile /dev/null\n"
        )
        self._process = self._start(also)

    def trust(self, public_key: Path) -> None:
        """Makes this the only known host key of the server."""
        kind, key, *_ = public_key.read_text().split()
        self.known_hosts.write_text(f"[127.0.0.1]:{self.port} {kind} {key}\n")

    def settings(self, **given: object) -> SshSettings:
        """Settings of a board at this server, whose Python is the one of the tests."""
        usual = {"config": self.client_config, "python": sys.executable, "folder": self.folder / "board"}
        paths = {name: str(one) if isinstance(one, Path) else one for name, one in {**usual, **given}.items()}
        return SshSettings(address="board", **paths)

    def drop_connections(self) -> None:
        """Kills the server's processes of all connections, as a lost network would."""
        for process in psutil.Process(self._process.pid).children():
            process.kill()

    def board_processes(self) -> list[psutil.Process]:
        """Processes that run our program for a connection, which may have outlived it."""
        board = str(self.folder / "board")
        found = []
        for process in psutil.process_iter(["cmdline", "status"]):
            line = " ".join(process.info["cmdline"] or ())
            if board in line and ".pyz" in line and process.info["status"] != psutil.STATUS_ZOMBIE:
                found.append(process)
        return found

    def stop(self) -> None:
        """Ends the server and its connections."""
        self.drop_connections()
        self._process.kill()
        self._process.wait()

    def _start(self, also: str) -> subprocess.Popen[bytes]:
        command = [SSHD, "-D", "-e", "-f", str(self._config)]
        if os.getuid() == 0:
            script = _NAMESPACE.format(
                user=getpass.getuser(), home=self.home, small=self.small, also=also, sshd=shlex.join(command)
            )
            command = ["unshare", "--mount", "sh", "-c", script]
        log = self.folder / "log"
        with log.open("wb") as stream:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=stream, stderr=stream)
        until_s = time.monotonic() + 60
        while b"Server listening" not in log.read_bytes():
            if process.poll() is not None or time.monotonic() > until_s:
                process.kill()
                raise RuntimeError(f"sshd did not start: {log.read_text()}")
            time.sleep(0.02)
        return process


def make_key(path: Path) -> None:
    """Writes a key pair."""
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", path], check=True)


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port
