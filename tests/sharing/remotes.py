"""Servers on loopback for tests of DVC remotes; run by the Python that has their packages.

`python remotes.py s3 PORT` and `python remotes.py ssh PORT FOLDER` serve until they are ended and
print `ready` when they listen. Nothing here is a test.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path


def serve_s3(port: int) -> None:
    """Serve the S3 protocol from memory, with one bucket `results`."""
    import boto3
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=port, verbose=False)
    server.start()
    client = boto3.client("s3", endpoint_url=f"http://127.0.0.1:{port}", region_name="us-east-1")
    client.create_bucket(Bucket="results")
    print("ready", flush=True)
    sys.stdin.read()  # until the test closes it
    server.stop()


def serve_ssh(port: int, folder: Path) -> None:
    """Serve files over SFTP to who has the key that is written to `folder`/key."""
    import asyncssh

    host, user = (asyncssh.generate_private_key("ssh-ed25519") for _ in range(2))
    user.write_private_key(str(folder / "key"))
    (folder / "key").chmod(0o600)
    known = asyncssh.import_authorized_keys(user.export_public_key().decode())

    async def serve() -> None:
        server = await asyncssh.listen(
            "127.0.0.1",
            port,
            server_host_keys=[host],
            authorized_client_keys=known,
            sftp_factory=True,
            allow_scp=False,
        )
        print("ready", flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
        server.close()

    asyncio.run(serve())


if __name__ == "__main__":
    if sys.argv[1] == "s3":
        serve_s3(int(sys.argv[2]))
    else:
        serve_ssh(int(sys.argv[2]), Path(sys.argv[3]))
