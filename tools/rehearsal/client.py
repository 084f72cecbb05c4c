"""Hands a command to the server of commands: run for every job, so it imports little."""

import array
import json
import os
import signal
import socket
import sys


def main() -> int:
    """Return the exit code of the command."""
    request = {"arguments": sys.argv[2:], "folder": os.getcwd(), "environment": dict(os.environ)}  # noqa: PTH109
    text = json.dumps(request).encode()
    # A signal ends this process, and by the connection's end the command.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    with socket.socket(socket.AF_UNIX) as server:
        server.connect(sys.argv[1])
        files = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [0, 1, 2]))]
        server.sendmsg([len(text).to_bytes(8, "big")], files)
        server.sendall(text)
        code = server.recv(1)
    return code[0] if code else 1


if __name__ == "__main__":
    sys.exit(main())
