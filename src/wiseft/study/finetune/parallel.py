"""Several processes that train one model, each on its part of every batch.

They are started by torchrun, or by `launch`, which starts torchrun. Gradients are summed by hand,
not by DistributedDataParallel: parts of a batch may differ in size or be empty, and each is
weighted by its share of the whole batch, so that the sum is the gradient of one process.
"""

from __future__ import annotations

import contextlib
import datetime
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import FrameType
from typing import Any

import torch
from torch import Tensor, distributed, nn

from wiseft.errors import WiseftError

_BUCKET = 2**24  # numbers that are summed over the processes at once: 64 MB of fp32
_PATIENCE = datetime.timedelta(hours=3)  # torchrun ends a job whose process died much earlier
_GRACE = 60  # seconds for a step and a state, once the job is told to end


@dataclass(frozen=True)
class Team:
    """The processes of a training; by default one alone.

    Attributes:
        rank: of this process, from 0.
        size: number of processes.
    """

    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        """Whether this process writes files and log."""
        return self.rank == 0

    def part(self, n: int) -> slice:
        """Return which of the n samples of a batch are this process's: a contiguous part."""
        return slice(n * self.rank // self.size, n * (self.rank + 1) // self.size)

    def sum(self, *numbers: float) -> list[float]:
        """Return the sums of numbers over the processes, the same ones in each."""
        return self._reduce(numbers, distributed.ReduceOp.SUM)

    def largest(self, *numbers: float) -> list[float]:
        """Return the largest of each number over the processes."""
        return self._reduce(numbers, distributed.ReduceOp.MAX)

    def _reduce(self, numbers: Sequence[float], operation: Any) -> list[float]:
        reduced = torch.tensor(numbers, dtype=torch.float64)
        if self.size > 1:
            with _contact(self.rank):
                distributed.all_reduce(reduced, operation)
        return list(reduced.tolist())

    def sum_gradients(self, parameters: Sequence[nn.Parameter], *, some_idle: bool) -> None:
        """Replace the gradients by their sums over the processes.

        Args:
            parameters: the trained ones, in the same order everywhere.
            some_idle: some process has an empty part, hence no gradients. A parameter without a
                gradient anywhere keeps none: an optimiser leaves it alone.
        """
        if self.size == 1:
            return
        with _contact(self.rank):
            used = list(parameters)
            if some_idle:
                has = torch.tensor([p.grad is not None for p in parameters], dtype=torch.int32)
                distributed.all_reduce(has)
                used = [p for p, count in zip(parameters, has.tolist(), strict=True) if count]
                for parameter in used:
                    if parameter.grad is None:
                        parameter.grad = torch.zeros_like(parameter)
            for bucket in _buckets([p.grad for p in used if p.grad is not None]):
                flat = torch.cat([gradient.reshape(-1) for gradient in bucket])
                distributed.all_reduce(flat)
                summed = flat.split([gradient.numel() for gradient in bucket])
                for gradient, numbers in zip(bucket, summed, strict=True):
                    gradient.copy_(numbers.view(gradient.shape))

    def share(self, tensors: Mapping[str, Tensor] | None) -> dict[str, Tensor] | None:
        """Return the leader's tensors, on the CPU; None where the leader has None."""
        own = dict(tensors or {})
        if self.size == 1:
            return own if tensors is not None else None
        with _contact(self.rank):
            described: list[dict[str, Any] | None] = [None]
            if tensors is not None:
                described = [{name: (value.dtype, value.shape) for name, value in own.items()}]
            distributed.broadcast_object_list(described, src=0)
            if described[0] is None:
                return None
            received = {}
            for name, (dtype, shape) in described[0].items():
                value = (
                    own[name].cpu().contiguous() if self.leads else torch.empty(shape, dtype=dtype)
                )
                distributed.broadcast(value.reshape(-1).view(torch.uint8), src=0)
                received[name] = value
            return received

    @contextlib.contextmanager
    def leader_first(self) -> Iterator[None]:
        """Run the block in the leader, then in the others: what it keeps on disk is made once."""
        if not self.leads:
            self.sum(0)
        yield
        if self.leads:
            self.sum(0)


@contextlib.contextmanager
def _contact(rank: int) -> Iterator[None]:
    """Say in a sentence that another process is gone; torchrun tells of that one."""
    try:
        yield
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:
        raise WiseftError(
            f"process {rank} lost contact with the others: one of them died, and its error says "
            f"why ({str(error).splitlines()[0][:200]})"
        ) from None


def _buckets(gradients: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    bucket: list[Tensor] = []
    for gradient in gradients:
        if bucket and sum(g.numel() for g in bucket) + gradient.numel() > _BUCKET:
            yield bucket
            bucket = []
        bucket.append(gradient)
    if bucket:
        yield bucket


def under_torchrun() -> bool:
    """Return whether torchrun, or what sets the same variables, started this process."""
    return all(name in os.environ for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"))


@contextlib.contextmanager
def team(device: torch.device) -> Iterator[tuple[Team, torch.device]]:
    """Join the processes that torchrun started; yield the team and this process's device.

    Outside of torchrun the team is this process, and the device stays as it is.

    Raises:
        WiseftError: if there are more processes than GPUs on this machine.
    """
    if not under_torchrun() or int(os.environ["WORLD_SIZE"]) == 1:
        yield Team(), device
        return
    if device.type == "cuda":
        local, here = int(os.environ.get("LOCAL_RANK", 0)), torch.cuda.device_count()
        if local >= here:
            raise WiseftError(
                f"process {local} of this machine finds {here} GPUs; set training.how.gpus (or "
                f"--nproc-per-node) to {here} at most"
            )
        device = torch.device("cuda", local)
        torch.cuda.set_device(device)
    backend = "gloo" if device.type == "cpu" else "cpu:gloo,cuda:nccl"
    distributed.init_process_group(backend, timeout=_PATIENCE)
    yield Team(distributed.get_rank(), distributed.get_world_size()), device
    # Not after an error: with a process gone, this would wait for it.
    distributed.destroy_process_group()


def launch(arguments: Sequence[str], processes: int, threads: int) -> int:
    """Run `wiseft` with these arguments in several processes by torchrun; return the exit code.

    A process that dies ends the others. Signals that ask for an end are passed on.

    Raises:
        WiseftError: if torchrun cannot be started.
    """
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += [f"--nproc-per-node={processes}", "-m", "wiseft.cli", *arguments]
    environment = os.environ | {
        "OMP_NUM_THREADS": str(threads),
        "TORCH_ELASTIC_SHUTDOWN_TIMEOUT": str(_GRACE),
    }
    try:
        child = subprocess.Popen(command, env=environment)
    except OSError as error:
        raise WiseftError(f"cannot start torchrun ({error})") from None
    received: list[int] = []

    def pass_on(signum: int, frame: object) -> None:
        received.append(signum)
        child.send_signal(signal.SIGTERM)

    with handled(pass_on):
        code = child.wait()
    return 128 + received[0] if received and code else abs(code)


SIGNALS = (signal.SIGTERM, signal.SIGUSR1)
"""A batch system sends SIGTERM before it takes a machine away, or SIGUSR1 where it is asked to
(`sbatch --signal=USR1@60`)."""


@contextlib.contextmanager
def handled(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Have a handler called, within this context, for the signals that ask for an end.

    Outside of the main thread, where Python allows no handlers, it is not.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {signum: signal.signal(signum, handler) for signum in SIGNALS}
    try:
        yield
    finally:
        for signum, previous in before.items():
            signal.signal(signum, previous)
