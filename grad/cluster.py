"""Ranks that take one step together: on one machine, on many under MPI, on GPUs under NCCL.

A script asks join() for its group, and runs unchanged as

    python train.py                             one process
    python -m grad.cluster -n 4 train.py        four processes of this machine
    mpiexec -n 4 python -m mpi4py train.py      four ranks, on any hosts that mpiexec is told
"""

import argparse
import os
import re
import runpy
import sys
import threading
import time
import traceback
from collections.abc import Callable
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from grad.workers import WorkerError, run

HERE = []  # the Worker that this process is, if it was launched as one
MPI_SIGNS = "PMI_SIZE", "OMPI_COMM_WORLD_SIZE"  # mpiexec leaves one of them


class Room(NamedTuple):
    """Arrays of one rank, and the ways in which they meet those of the others.

    `data` and `grad` have a length that the number of ranks divides; the rank's own part of it
    is as long as `total`.
    """

    data: Any
    grad: Any
    total: Any
    spread: Callable  # the data of rank 0 becomes everybody's
    reduce: Callable  # total becomes the sum of everybody's grad, in the rank's own part
    gather: Callable  # everybody's data becomes what each rank has in its own part


class Group:
    """`size` ranks, of which this process is one: `rank`. This one is alone."""

    rank, size = 0, 1

    def part(self, n):
        """Return this rank's slice of n things, dealt out as evenly as it goes, in order."""
        start, stop = (n * rank // self.size for rank in (self.rank, self.rank + 1))
        return slice(start, stop)

    def room(self, n, like):
        """Open a Room of n entries, on the kind of array that `like` is, and of its dtype.

        All ranks must call this, and each function of the room, in the same order.
        """
        if n % self.size:
            raise ValueError(f"{n} entries do not go evenly to {self.size} ranks")
        if self.size > 1 and not isinstance(like, np.ndarray):
            return nccl_room(self, n, like)
        return self.host_room(n, like.dtype)

    def host_room(self, n, dtype):
        """Open a Room in the memory of the host."""
        grad = np.zeros(n, dtype)
        return Room(np.zeros(n, dtype), grad, grad, *[lambda: None] * 3)

    def collect(self, part):
        """Return the parts of all ranks in one array; they are equally long."""
        return part.copy()


class Local(Group):
    """The processes that one launcher has started on this machine, with memory in common.

    The parameters are in it: what a rank writes there between steps, all have written.
    """

    def __init__(self, me):
        self.me, self.rank, self.size = me, me.rank, me.size

    def host_room(self, n, dtype):
        """Open a Room: `data` is one array for all, and everybody can read every gradient."""
        meet, mine = self.me.meet, self.part(n)
        data, grads = self.me.share(n, dtype), self.me.share((self.size, n), dtype)
        parts, total = grads[:, mine], np.zeros(n // self.size, dtype)

        def reduce():
            meet("reduce")
            np.add(parts[0], parts[1], out=total)
            for part in parts[2:]:
                np.add(total, part, out=total)

        spread, gather = partial(meet, "spread"), partial(meet, "gather")
        return Room(data, grads[self.rank], total, spread, reduce, gather)

    def collect(self, part):
        """Return the parts of all ranks in one array."""
        whole = self.me.share((self.size, *part.shape), part.dtype)
        whole[self.rank] = part
        self.me.meet("collect")
        return whole.reshape(-1)


class Mpi(Group):
    """The ranks of an MPI job. One that raises, or waits too long for the others, ends the job."""

    def __init__(self, mpi, timeout):
        self.comm = mpi.COMM_WORLD
        self.rank, self.size = self.comm.rank, self.comm.size
        self.timeout, self.since = timeout, None
        self.remove_names()
        sys.excepthook = self.abort
        threading.Thread(target=self.watch, daemon=True).start()

    def remove_names(self):
        """Remove the names of memory that MPICH shares: an aborted job would leave it behind.

        The memory stays while a rank has it, and no longer. Linux alone tells where it is.
        """
        self.comm.Barrier()  # all ranks of this machine have found it
        maps = Path("/proc/self/maps")
        for name in re.findall(r"/dev/shm/mpich_\S+", maps.read_text() if maps.exists() else ""):
            Path(name).unlink(missing_ok=True)

    def abort(self, *error):
        """End all ranks, for this one has raised an error."""
        print(f"rank {self.rank} of {self.size} raised", file=sys.stderr)
        traceback.print_exception(*error)
        self.end()

    def end(self):
        """End all ranks, once what this one has said may have reached the launcher."""
        sys.stdout.flush()
        sys.stderr.flush()
        time.sleep(0.2)
        self.comm.Abort(1)

    def watch(self):
        """End all ranks when this one has waited too long for another."""
        while True:
            time.sleep(min(1.0, self.timeout / 4))
            since = self.since
            if since is not None and time.monotonic() - since > self.timeout:
                print(
                    f"rank {self.rank} of {self.size} has waited {self.timeout:g} seconds for the "
                    "others: one of them is silent",
                    file=sys.stderr,
                )
                self.end()

    def together(self, call):
        """Return a function that makes a collective call, while watch() looks at the clock."""

        def timed():
            self.since = time.monotonic()
            try:
                call()
            finally:
                self.since = None

        return timed

    def host_room(self, n, dtype):
        """Open a Room in memory of this rank's own."""
        data, grad = np.zeros(n, dtype), np.zeros(n, dtype)
        mine, total, comm = self.part(n), np.zeros(n // self.size, dtype), self.comm
        calls = (
            lambda: comm.Bcast(data, 0),
            lambda: comm.Reduce_scatter_block(grad, total),
            lambda: comm.Allgather(data[mine].copy(), data),
        )
        return Room(data, grad, total, *map(self.together, calls))

    def collect(self, part):
        """Return the parts of all ranks in one array."""
        whole = np.empty(self.size * part.size, part.dtype)
        self.together(lambda: self.comm.Allgather(np.ascontiguousarray(part), whole))()
        return whole


def nccl_room(group, n, like):
    """Open a Room on the GPU that each rank has chosen, whose meetings NCCL arranges, unwatched."""
    cupy, distributed = import_module("cupy"), import_module("cupyx.distributed")
    nccl = distributed.NCCLBackend(group.size, group.rank, use_mpi=isinstance(group, Mpi))
    data, grad = cupy.zeros(n, like.dtype), cupy.zeros(n, like.dtype)
    mine, total = group.part(n), cupy.zeros(n // group.size, like.dtype)
    return Room(
        data,
        grad,
        total,
        lambda: nccl.broadcast(data),
        lambda: nccl.reduce_scatter(grad, total, total.size),
        lambda: nccl.all_gather(data[mine].copy(), data, total.size),
    )


def join(timeout=300.0):
    """Return the group that this process was started in; a process started by itself is alone.

    Under MPI, a rank that waits `timeout` seconds for the others ends the job; the launcher of
    this module has an option for that.
    """
    if HERE:
        return Local(HERE[0])
    size = max(int(os.environ.get(sign, 1)) for sign in MPI_SIGNS)
    if size == 1:
        return Group()
    try:
        mpi = import_module("mpi4py.MPI")
    except ModuleNotFoundError:
        raise ModuleNotFoundError(
            "this process was started by mpiexec, but mpi4py is not installed: pip install mpi4py"
        ) from None
    if mpi.COMM_WORLD.size == 1:
        raise RuntimeError(
            f"mpiexec started {size} ranks, and mpi4py sees one: this mpiexec belongs to another "
            "MPI than that of mpi4py"
        )
    return Mpi(mpi, timeout)


def play(me, path, args):
    """Run a script in a worker, as Python would."""
    HERE[:] = [me] if me.size > 1 else []
    sys.argv[:] = [path, *args]
    sys.path.insert(0, str(Path(path).parent.resolve()))
    try:
        runpy.run_path(path, run_name="__main__")
    except SystemExit as end:
        if end.code:
            raise


def main():
    """Launch a script in several processes of this machine."""
    parser = argparse.ArgumentParser("python -m grad.cluster", description=main.__doc__)
    parser.add_argument("-n", type=int, default=os.cpu_count(), help="how many (one a core)")
    parser.add_argument("--timeout", type=float, default=300.0, help="seconds of silence allowed")
    parser.add_argument("script")
    parser.add_argument("args", nargs=argparse.REMAINDER, help="what the script is given")
    told = parser.parse_args()
    if told.n < 1:
        parser.error(f"-n must be at least 1, not {told.n}")
    if not Path(told.script).is_file():
        parser.error(f"there is no script {told.script}")
    try:
        run(play, told.n, told.script, told.args, timeout=told.timeout)
    except WorkerError as error:
        sys.exit("\n".join([str(error), *getattr(error, "__notes__", [])]))


if __name__ == "__main__":
    import_module("grad.cluster").main()  # the module that scripts import, not a second one
