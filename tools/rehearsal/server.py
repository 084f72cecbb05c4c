"""Runs the workflow's own commands in forks of one process that has imported all they need.

Most of the time of a short job is its imports. A rehearsal has 2,500 short jobs, so their `wiseft`
is a shell function (`FUNCTION`) which hands its arguments, folder, environment and open files to a
server; that one forks and calls the command line's own `main`. Nothing of it is in the commands.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from wiseft.errors import WiseftError

# Libraries that build models are most of a short job. huggingface_hub and transformers, which read
# their variables when they are imported, find those of the rehearsal itself.
PRELOADED = (
    *("torch", "torchvision", "pandas", "pyarrow.parquet", "scipy.stats", "scipy.optimize"),
    *("open_clip.model", "timm", "transformers.models.align.modeling_align"),
    *("transformers.models.auto.tokenization_auto", "torch.utils.flop_counter"),
    *("matplotlib.figure", "matplotlib.backends.backend_agg", "matplotlib.backends.backend_pdf"),
    *("matplotlib.backends.backend_svg", "PIL.Image", "safetensors.torch", "wiseft.cli"),
    *("wiseft.evaluate.suite", "wiseft.study.finetune.finetune", "wiseft.study.finetune.search"),
    *("wiseft.models.towers.align_models", "wiseft.models.towers.open_clip_models"),
    *("wiseft.models.towers.timm_models", "wiseft.study.paper.figure", "wiseft.figures.page"),
    *("wiseft.tabulate.stage", "wiseft.study.targets", "wiseft.study.diversity.pairs"),
    "wiseft.zeroshot.theta_0",
)
FUNCTION = "BASH_FUNC_wiseft%%"
"""An exported function of bash, which goes before any program on the path."""
CLIENT = Path(__file__).with_name("client.py")
PATIENCE = 600.0


@contextlib.contextmanager
def serving(folder: Path) -> Iterator[dict[str, str]]:
    """Serve commands while the block runs; yields the variables by which shells find the server.

    Args:
        folder: for what the server says.

    Raises:
        WiseftError: if it does not start.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as private:  # the name of a socket has 107 bytes at most
        address = str(Path(private, "socket"))
        with (folder / "server.log").open("w") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "tools.rehearsal.server", address],
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, "OMP_NUM_THREADS": "1"},
            )
        try:
            _wait(process, address, folder / "server.log")
            client = f'{sys.executable} -I -S {CLIENT} {address} "$@"'
            yield {FUNCTION: f"() {{ {client}\n}}"}
        finally:
            process.terminate()
            process.wait()


def _wait(process: subprocess.Popen[bytes], address: str, log: Path) -> None:
    limit = time.monotonic() + PATIENCE
    while not Path(address).exists():
        if process.poll() is not None or time.monotonic() > limit:
            raise WiseftError(f"the server of commands did not start; see {log}")
        time.sleep(0.05)


class Server:
    """Forks for each connection; when a client goes, its command is told to end."""

    def __init__(self, address: str) -> None:
        self._selector = selectors.DefaultSelector()
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(address)
        self._listener.listen(64)
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._woken, self._waker = socket.socketpair()
        for end in (self._woken, self._waker):
            end.setblocking(False)
        self._selector.register(self._woken, selectors.EVENT_READ)
        signal.set_wakeup_fd(self._waker.fileno())
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGTERM, lambda *_: sys.exit())
        self._clients: dict[int, tuple[socket.socket, str]] = {}  # by process, with its command

    def serve(self) -> None:
        """Serve without end."""
        try:
            while True:
                for key, _ in self._selector.select():
                    if key.fileobj is self._listener:
                        self._start(self._listener.accept()[0])
                    elif key.fileobj is self._woken:
                        self._woken.recv(4096)
                        self._reap()
                    elif key.data in self._clients:  # a client has gone
                        self._selector.unregister(key.fileobj)
                        os.kill(key.data, signal.SIGTERM)
        finally:
            signal.set_wakeup_fd(-1)
            for pid in self._clients:
                os.kill(pid, signal.SIGTERM)

    def _start(self, client: socket.socket) -> None:
        request, files = _received(client)
        if not (pid := os.fork()):
            _run(request, files)
        for file in files:
            os.close(file)
        self._clients[pid] = client, " ".join(request["arguments"][:2])
        self._selector.register(client, selectors.EVENT_READ, pid)

    def _reap(self) -> None:
        with contextlib.suppress(ChildProcessError):
            while (ended := os.wait4(-1, os.WNOHANG))[0]:
                pid, status, used = ended
                client, command = self._clients.pop(pid)
                cpu = used.ru_utime + used.ru_stime
                print(f"{cpu:.2f} s of CPU, {used.ru_maxrss // 1024} MB: {command}", flush=True)
                with contextlib.suppress(KeyError):
                    self._selector.unregister(client)
                code = os.waitstatus_to_exitcode(status)
                with contextlib.suppress(OSError):
                    client.sendall(bytes([code if code >= 0 else 128 - code]))
                client.close()


def _received(client: socket.socket) -> tuple[dict[str, Any], list[int]]:
    """Return what a client asks for, and its standard input, output and error."""
    data, files, _, _ = socket.recv_fds(client, 8, 3)
    length = int.from_bytes(data, "big")
    text = b""
    while len(text) < length:
        text += client.recv(length - len(text))
    return json.loads(text), files


def _run(request: dict[str, Any], files: list[int]) -> None:
    """Be the command, in a fork; never returns."""
    code = 1
    try:
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGTERM, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        for standard, file in enumerate(files):
            os.dup2(file, standard)
        os.environ.clear()
        os.environ.update(request["environment"])
        os.chdir(request["folder"])
        tempfile.tempdir = None
        sys.argv = ["wiseft", *request["arguments"]]
        from wiseft.cli import main

        try:
            main(request["arguments"])
            code = 0
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    for _name in PRELOADED:
        with contextlib.suppress(ImportError):
            importlib.import_module(_name)
    gc.freeze()
    Server(sys.argv[1]).serve()
