"""Processes that work on the same memory, and end together."""

import multiprocessing
import os
import pickle
import secrets
import signal
import sys
import threading
import time
import traceback
from contextlib import suppress
from math import prod
from multiprocessing.connection import wait
from multiprocessing.shared_memory import SharedMemory
from zlib import crc32

import numpy as np
from threadpoolctl import threadpool_limits

SPINS = 20_000  # looks at the mark of another worker before one that waits gives way
give_way = getattr(os, "sched_yield", lambda: time.sleep(0))  # Windows has none


class WorkerError(RuntimeError):
    """A worker raised, died, or was silent for too long; the others have been ended."""


class Block(SharedMemory):
    """Memory that several processes see, under a name, until nobody does.

    It is unmapped when the last array on it goes, so there is nothing to close.
    """

    def __init__(self, name, nbytes=None):
        create = nbytes is not None
        super().__init__(name, create, max(nbytes, 1) if create else 0)
        if getattr(self, "_fd", -1) >= 0:  # the mapping has a descriptor of its own
            os.close(self._fd)
            self._fd = -1

    def close(self):
        """Do nothing: arrays may be on it."""


def new_name():
    """Return a name for a block that nobody else has."""
    return f"grad_{secrets.token_hex(6)}"


LINE = 16  # words of 8 bytes: no cache line is longer, so no two workers write into the same one


class Board:
    """A small block where every worker notes how far it is, in a line of its own, and names stand.

    `marks` tell how many meetings each has come to, `kinds` what the last two were, by turns:
    nobody can be further ahead of another than that. `beats` count other signs of life.
    """

    def __init__(self, size, name=None):
        nbytes = None if name else 8 * LINE * (size + 1)
        self.block = Block(name or new_name(), nbytes)
        self.name_of_block = self.block.buf[: 8 * LINE]
        self.words = self.block.buf.cast("q")[LINE : LINE * (size + 1)]
        self.marks, self.beats, *self.kinds = (self.words[i::LINE] for i in range(4))

    def post(self, name):
        """Write up the name of a block for the others."""
        self.name_of_block[:] = name.encode().ljust(8 * LINE, b"\0")

    def read(self):
        """Return the name that was written up last."""
        return bytes(self.name_of_block).rstrip(b"\0").decode()


class Worker:
    """What a worker is told: its rank, 0 to size - 1, and the ways to meet the others.

    `locks` are as many as run() was asked for; `own_core`: whether none of the
    others has its core.
    """

    def __init__(self, rank, size, locks, board, fence, own_core):
        self.rank, self.size, self.locks, self.own_core = rank, size, locks, own_core
        self.board, self.fence = board, fence
        self.fence.acquire()
        self.meetings = 0

    def beat(self):
        """Tell who started this worker that its work goes on, where it comes to no meeting."""
        self.board.beats[self.rank] += 1

    def meet(self, what="meet"):
        """Wait until every worker has come here; what they wrote before is then to be seen.

        A worker looks at the marks of the others until they have come, which takes no call of the
        system. Some processors might show a mark before the numbers that were written ahead of it,
        or read the numbers before the mark; nothing passes a lock let go of and taken again.
        Raises RuntimeError where another worker has come to something else.
        """
        self.meetings += 1
        kinds, kind = self.board.kinds[self.meetings % 2], crc32(what.encode())
        kinds[self.rank] = kind
        self.fence.release()
        self.fence.acquire()
        marks = self.board.marks
        marks[self.rank] = self.meetings
        for other in range(self.size):
            looks = 0
            while marks[other] < self.meetings:
                looks += 1
                if looks > 2 * SPINS:
                    time.sleep(0.001)
                elif looks > SPINS or not self.own_core:
                    give_way()
        self.fence.release()
        self.fence.acquire()
        for other in range(self.size):
            if kinds[other] != kind:
                raise RuntimeError(
                    f"this worker has come to {what}, and worker {other} to something else: all "
                    "must call the same, in the same order"
                )

    def share(self, shape, dtype=np.float32):
        """Return an array of zeros that all workers see. All must call this, in the same order."""
        nbytes = prod(np.atleast_1d(shape).tolist()) * np.dtype(dtype).itemsize
        kind = f"share({shape}, {np.dtype(dtype)})"
        if self.rank == 0:
            self.board.post(new_name())  # who started the workers gives it up, should they fail
            block = Block(self.board.read(), nbytes)
        self.meet(kind)
        if self.rank != 0:
            block = Block(self.board.read())
        self.meet(kind)
        if self.rank == 0:
            block.unlink()  # the name; the memory stays while somebody has it, and no longer
        return np.ndarray(shape, dtype, block.buf)


def settle(rank, size):
    """Give this process a core of its own, where there are enough; return whether it has one.

    Left to itself, a system may put two that wait for each other on one core. macOS has no way.
    """
    if not hasattr(os, "sched_setaffinity"):
        return size <= os.cpu_count()
    cores = sorted(os.sched_getaffinity(0))
    if size > len(cores):
        return False
    os.sched_setaffinity(0, {cores[rank]})
    return True


def end_with(parent):
    """End this process when its parent has ended, however that happened."""
    parent.join()
    os._exit(1)


def serve(pipe, work, rank, size, locks, fence, name):
    """Do a worker's work, and send back (True, what it returned) or (False, error, traceback).

    What is not given as `work` comes through the pipe.
    """
    parent = multiprocessing.parent_process()
    threading.Thread(target=end_with, args=[parent], daemon=True).start()
    try:
        me = Worker(rank, size, locks, Board(size, name), fence, settle(rank, size))
        f, args = work or pickle.loads(pipe.recv_bytes())
        with threadpool_limits(1):
            result = f(me, *args)
        print(end="", flush=True)
        pipe.send((True, result))
    except BaseException as error:
        print(end="", flush=True)
        pipe.send((False, f"{type(error).__name__}: {error}", traceback.format_exc()))


def packed(f, args, method):
    """Return what a worker is to do, in a form that survives the way there."""
    me = multiprocessing.current_process()
    if multiprocessing.parent_process() or getattr(me, "_inheriting", False):
        raise RuntimeError(
            "a worker cannot start workers. In a script, everything that starts workers belongs "
            'under if __name__ == "__main__": each worker imports the script'
        )
    if method == "fork":
        return f, args
    in_notebook = f.__module__ == "__main__" and not hasattr(sys.modules["__main__"], "__file__")
    name = getattr(f, "__qualname__", f"<{type(f).__name__}>")
    if in_notebook or "<" in name:
        raise ValueError(
            f"a worker imports the function that it is to run, and finds {name} nowhere: put it at "
            "the top of a module"
        )
    return pickle.dumps((f, args))


def ended(process, rank, size):
    """Say how a worker has ended that sent nothing."""
    process.join()
    code = process.exitcode
    if code < 0:
        names = {s.value: s.name for s in signal.Signals}
        how = f"was killed by signal {-code} ({names.get(-code, 'without a name')})"
    else:
        how = f"ended with exit code {code} and returned nothing"
    return WorkerError(f"worker {rank} of {size} {how}")


def hand_over(pipe, work):
    """Send a worker its work, which may wait for the worker to read it."""
    with suppress(OSError):  # that the worker has died is found out by who listens
        pipe.send_bytes(work)


def run(f, size, *args, locks=0, method="spawn", timeout=60.0):
    """Call f(me, *args) in `size` processes; return what they returned, in the order of ranks.

    `me` is a Worker, with as many locks as are asked for. f is a function of a module, arguments
    and results go through pickle; only under method="fork", which Windows lacks and macOS advises
    against, may f be any function. BLAS computes with one thread in each worker, and where there
    are cores enough, each worker has one of them.
    Raises WorkerError as soon as a worker raises or dies, or when for `timeout` seconds none has
    come to a meeting, called beat() or ended; no process and no shared memory is left then.
    """
    if size < 1:
        raise ValueError(f"there must be at least one worker, not {size}")
    context = multiprocessing.get_context(method)
    work = packed(f, args, method)
    sent = isinstance(work, bytes)
    board = Board(size)
    locks, fences = [[context.Lock() for _ in range(n)] for n in (locks, size)]
    pipes, processes = {}, []
    try:
        for rank in range(size):
            mine, theirs = context.Pipe()
            told = None if sent else work, rank, size, locks, fences[rank], board.block.name
            process = context.Process(target=serve, args=(theirs, *told), daemon=True)
            process.start()
            theirs.close()
            processes.append(process)
            pipes[mine] = rank
        for pipe in pipes if sent else ():
            threading.Thread(target=hand_over, args=[pipe, work], daemon=True).start()
        results = gather(pipes, processes, board, timeout)
        until = time.monotonic() + min(timeout, 10.0)
        for process in processes:
            process.join(max(0.0, until - time.monotonic()))  # it may have something to write
        return results
    finally:
        for process in processes:
            process.kill()
        for process in processes:
            process.join()
        board.block.unlink()
        if left := board.read():
            with suppress(FileNotFoundError):
                Block(left).unlink()


def gather(pipes, processes, board, timeout):
    """Wait for what the workers return, and raise WorkerError where one will not."""
    size = len(processes)
    results, seen, since = [None] * size, [], time.monotonic()
    while pipes:
        for pipe in wait(pipes, timeout=min(timeout / 4, 1.0)):
            rank = pipes.pop(pipe)
            try:
                sent = pipe.recv_bytes()
            except (EOFError, OSError):
                raise ended(processes[rank], rank, size) from None
            fine, result, *more = pickle.loads(sent)
            if not fine:
                error = WorkerError(f"worker {rank} of {size} raised {result}")
                error.add_note(more[0])
                raise error
            results[rank], since = result, time.monotonic()
        now, marks = board.words.tolist(), board.marks.tolist()
        if now != seen:
            seen, since = now, time.monotonic()
        elif time.monotonic() - since > timeout:
            late = min(marks[rank] for rank in pipes.values())
            silent = [str(rank) for rank in pipes.values() if marks[rank] == late]
            gone = [str(r) for r in range(size) if r not in pipes.values() and marks[r] < late]
            raise WorkerError(
                f"worker {', '.join(silent)} of {size} has been silent for {timeout:g} seconds, "
                f"after {late} meetings"
                + (f"; worker {', '.join(gone)} returned before the last of them" if gone else "")
            )
    return results
