"""A private PostgreSQL server on a loopback port, for the tests that need a real database."""

import contextlib
import glob
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path
from urllib.parse import quote

USER, PASSWORD = "nas", "p@ss/w%rd:1"


def find_binaries():
    """The folder with initdb and pg_ctl, also where Debian hides it; None if there is none."""
    path = os.pathsep.join([os.environ["PATH"], *sorted(glob.glob("/usr/lib/postgresql/*/bin"))])
    found = shutil.which("initdb", path=path)
    return found and Path(found).parent


class Server:
    """Runs as an unprivileged user, because PostgreSQL refuses root."""

    def __init__(self):
        self.folder = Path(tempfile.mkdtemp(prefix="postgres-"))
        self.as_user = {}
        if os.getuid() == 0:
            names = {entry.pw_name for entry in pwd.getpwall()}
            user = pwd.getpwnam("postgres" if "postgres" in names else "nobody")
            os.chown(self.folder, user.pw_uid, user.pw_gid)
            self.as_user = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        password = self.folder / "password"
        password.write_text(PASSWORD)
        password.chmod(0o644)
        options = ["--username", USER, "--pwfile", password, "--auth", "scram-sha-256"]
        self._run("initdb", "--no-sync", "--encoding", "UTF8", *options)

    def url(self, password=PASSWORD):
        secret = f":{quote(password, safe='')}" if password else ""
        return f"postgresql+psycopg://{USER}{secret}@127.0.0.1:{self.port}/postgres"

    def start(self):
        settings = {"listen_addresses": "127.0.0.1", "unix_socket_directories": "", "fsync": "off"}
        options = " ".join(f"-c {key}='{value}'" for key, value in settings.items())
        self._run("pg_ctl", "start", "-w", "-l", self.folder / "log", "-o", options)

    def stop(self, mode="fast"):
        self._run("pg_ctl", "stop", "-w", "-m", mode)

    def remove(self):
        with contextlib.suppress(subprocess.CalledProcessError):
            self.stop("immediate")
        shutil.rmtree(self.folder)

    def _run(self, program, *arguments):
        command = [find_binaries() / program, "-D", self.folder / "data", *arguments]
        # The server would inherit a pipe, and keep it open.
        subprocess.run(
            list(map(str, command)),
            **self.as_user,
            cwd=self.folder,
            env={"PATH": os.environ["PATH"], "PGPORT": str(self.port), "LC_ALL": "C"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            check=True,
            timeout=120,
        )
