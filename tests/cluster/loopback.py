"""A Slurm of two virtual nodes on this machine: installed, started, stopped without a trace.

The commands of a cluster look for its configuration in /etc/slurm (the executor plugin takes
SLURM_* out of a job's environment), so links are put there, and never over a file that is there.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

PACKAGES = ("slurmctld", "slurmd", "slurm-client", "munge")
PROGRAMS = ("slurmctld", "slurmd", "sbatch", "munged")
ETC = Path("/etc/slurm")
FILES = ("slurm.conf", "gres.conf", "cgroup.conf")
NODES = ("n1", "n2")
# Tests that kill and requeue must not wait minutes for what a real site waits minutes for.
CONFIGURATION = """\
ClusterName=loopback
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller_port}
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket
CredType=cred/munge
SlurmUser=root
SlurmdUser=root
MpiDefault=none
ProctrackType=proctrack/pgid
TaskPlugin=task/none
ReturnToService=0
SlurmctldPidFile={folder}/run/slurmctld.pid
SlurmdPidFile={folder}/run/slurmd.%n.pid
SlurmdSpoolDir={folder}/spool/%n
StateSaveLocation={folder}/state
SlurmctldLogFile={folder}/log/slurmctld.log
SlurmdLogFile={folder}/log/slurmd.%n.log
SlurmctldTimeout=60
SlurmdTimeout=30
MinJobAge={min_job_age}
KillWait=10
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=1,batch_sched_delay=0,bf_interval=2
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
GresTypes=gpu
JobAcctGatherType=jobacct_gather/none
JobCompType=jobcomp/none
AccountingStorageType=accounting_storage/none
SlurmdParameters=config_overrides
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
{extra}
NodeName=DEFAULT CPUs=16 RealMemory=32000 Gres=gpu:{gpus}
NodeName=n1 NodeHostname={host} NodeAddr=127.0.0.1 Port={port_1}
NodeName=n2 NodeHostname={host} NodeAddr=127.0.0.1 Port={port_2}
PartitionName=cpu Nodes=n[1-2] Default={default} MaxTime=600 State=UP
PartitionName=gpu Nodes=n[1-2] MaxTime=600 State=UP
PartitionName=urgent Nodes=n[1-2] PriorityTier=10 MaxTime=600 State=UP
"""
# A GPU needs a file of its own; no job opens it.
DEVICES = ("/dev/null", "/dev/zero")


class Unavailable(Exception):
    """No Slurm can be installed on this machine; the message says why."""


class Loopback:
    """A Slurm in one folder. Its daemons are children of this process, each ended by its own pid.

    Attributes:
        folder: configuration, state and logs; a short path, since a socket lies in it.
        pids: of the daemons that were started.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self.pids: list[int] = []
        self._daemons: list[subprocess.Popen[bytes]] = []
        self._links: list[Path] = []

    def start(self) -> None:
        """Link the configuration and start munged, slurmctld and two slurmd.

        Raises:
            RuntimeError: if they don't come up.
        """
        ETC.mkdir(exist_ok=True)
        for file in sorted((self.folder / "etc").iterdir()):
            link = ETC / file.name
            if link.is_symlink() and not link.exists():
                link.unlink()  # of a test that was killed: it leads nowhere
            link.symlink_to(file)
            self._links.append(link)
        munge = self.folder / "munge"
        paths = {"key-file": "key", "socket": "socket", "pid-file": "pid", "seed-file": "seed"}
        options = [f"--{option}={munge / name}" for option, name in paths.items()]
        # --force: as root, and in a folder that others may enter
        self._spawn("munged", "--foreground", "--force", f"--log-file={munge / 'log'}", *options)
        self._wait((munge / "socket").exists, "munge's socket")
        self._spawn("slurmctld", "-D")
        for node in NODES:
            self._spawn("slurmd", "-D", "-N", node)
        idle = ("sinfo", "-h", "-N", "-p", "cpu", "-t", "idle", "-o", "%N")
        self._wait(lambda: len(_output(*idle).split()) == len(NODES), "idle nodes")

    def stop(self) -> None:
        """End all jobs, then the daemons in the reverse order of their start; remove the links."""
        if self._daemons:
            _output("scancel", "--user=root")
            deadline = time.monotonic() + 20
            while time.monotonic() < deadline and _output("squeue", "--noheader").strip():
                time.sleep(0.2)
        while self._daemons:
            daemon = self._daemons.pop()
            daemon.send_signal(signal.SIGTERM)
            try:
                daemon.wait(20)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()
        while self._links:
            self._links.pop().unlink(missing_ok=True)

    def run(self, *command: str) -> str:
        """Run a command of Slurm and return what it prints."""
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, f"{' '.join(command)}: {done.stdout}{done.stderr}"
        return done.stdout

    def jobs(self) -> list[dict[str, str]]:
        """Return the jobs that the controller knows: id, state, partition, comment, requests."""
        lines = self.run("scontrol", "show", "jobs", "--oneliner").splitlines()
        rows = [dict(w.split("=", 1) for w in line.split() if "=" in w) for line in lines]
        return [row for row in rows if "JobId" in row]

    def active(self, rule: str, *states: str) -> list[dict[str, str]]:
        """Return a rule's jobs in these states."""
        return [j for j in self.jobs() if rule_of(j) == rule and j["JobState"] in states]

    def logs(self) -> str:
        """Return the ends of the daemons' logs, for the message of a failed test."""
        files = sorted(self.folder.glob("log/*"))
        return "\n".join(f"== {f.name}\n{f.read_text(errors='replace')[-3000:]}" for f in files)

    def _spawn(self, *command: str) -> None:
        with (self.folder / "log" / f"{command[0]}.out").open("ab") as output:
            daemon = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        self._daemons.append(daemon)
        self.pids.append(daemon.pid)

    def _wait(self, condition: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + 60
        while not condition():
            if time.monotonic() > deadline:
                raise RuntimeError(f"Slurm does not come up (no {what}):\n{self.logs()}")
            time.sleep(0.1)


def rule_of(job: dict[str, str]) -> str:
    """Return the rule of a job, which the plugin writes into its comment; empty for other jobs."""
    return job.get("Comment", "").removeprefix("rule_").partition("_wildcards_")[0]


def install() -> None:
    """Install Slurm's and munge's Debian packages where they are not there yet.

    Raises:
        Unavailable: if that needs other rights, or another system.
    """
    if os.geteuid() != 0:
        raise Unavailable("starting Slurm's daemons needs root")
    if all(shutil.which(program) for program in PROGRAMS):
        return
    if shutil.which("apt-get") is None:
        raise Unavailable("no Slurm is installed, and there are no Debian packages")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    install = ["apt-get", "install", "-y", "-q", "--no-install-recommends", *PACKAGES]
    for command in (install, ["apt-get", "update", "-q"], install):
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if command is install and done.returncode == 0:
            return
    raise Unavailable(f"the Debian packages cannot be installed: {done.stderr[-500:]}")


@contextlib.contextmanager
def started(
    folder: Path,
    min_job_age: int = 600,
    default: bool = True,
    extra: str = "",
    files: Mapping[str, str] | None = None,
    gpus: int = 1,
) -> Iterator[Loopback]:
    """Run a Slurm of two nodes, each with 16 CPUs, 32 GB and GPUs that are none.

    Args:
        folder: an empty folder.
        min_job_age: seconds for which the controller keeps a finished job.
        default: whether there is a default partition.
        extra: more lines of slurm.conf.
        files: more files beside slurm.conf, by name.
        gpus: of each node, 1 or 2.

    Raises:
        Unavailable: if none can be installed, or this machine has a Slurm of its own.
        RuntimeError: if it doesn't start.
    """
    install()
    existing = [ETC / name for name in FILES if (ETC / name).exists()]
    if existing:
        raise Unavailable(f"this machine has a Slurm of its own: {existing[0]}")
    write_configuration(folder, min_job_age, default, extra, files or {}, gpus)
    cluster = Loopback(folder)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()


def write_configuration(
    folder: Path,
    min_job_age: int,
    default: bool,
    extra: str,
    files: Mapping[str, str],
    gpus: int,
) -> None:
    """Write the files that Slurm reads, and munge's key."""
    for name in ("etc", "run", "state", "spool", "log", "munge"):
        (folder / name).mkdir(parents=True)
    controller_port, port_1, port_2 = free_ports(3)
    text = CONFIGURATION.format(
        host=socket.gethostname(),
        folder=folder,
        controller_port=controller_port,
        port_1=port_1,
        port_2=port_2,
        min_job_age=min_job_age,
        default="YES" if default else "NO",
        extra=extra,
        gpus=gpus,
    )
    devices = ",".join(DEVICES[:gpus])
    gres = "".join(f"NodeName={node} Name=gpu File={devices}\n" for node in NODES)
    written = {"slurm.conf": text, "gres.conf": gres, "cgroup.conf": "CgroupPlugin=disabled\n"}
    for name, content in {**written, **files}.items():
        (folder / "etc" / name).write_text(content)
    key = folder / "munge" / "key"
    key.write_bytes(secrets.token_bytes(128))
    key.chmod(0o400)
    (folder / "munge").chmod(0o711)


def free_ports(count: int) -> list[int]:
    """Return ports of the loopback interface that nothing listens on."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def _output(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    return done.stdout
