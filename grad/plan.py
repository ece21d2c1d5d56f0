"""A list of calls made shorter, and a plan of the memory that it needs."""

import numpy as np

from grad.trace import View, mapped, redraw


def hoist(calls, buffers, loss):
    """Leave out the calls that give the same in every step: their results become constants.

    The constants are the arrays as the recording left them, so this goes before any other pass.
    """
    varying = {i for i, b in enumerate(buffers) if b.role not in ("own", "constant")}
    before = None
    while varying != before:
        before, used = set(varying), set()
        for call in calls:
            if call.f is redraw or varying & {view.buffer for view in call.views}:
                used |= {view.buffer for view in call.reads}
                varying |= {call.out.buffer} if call.out else set()
            elif call.out and call.out.buffer in used:
                varying.add(call.out.buffer)  # it holds first one thing, then another
    kept = [call for call in calls if call.out is None or call.out.buffer in varying]
    return kept, [b if i in varying else b._replace(role="constant") for i, b in enumerate(buffers)]


def drop_dead(calls, buffers, loss):
    """Leave out the calls whose results nobody reads."""
    needed, kept = {loss.buffer}, []
    for call in reversed(calls):
        out = call.out
        if out and out.buffer not in needed:
            if buffers[out.buffer].role == "own" and call.f is not redraw:
                continue
        needed.update(view.buffer for view in call.reads)
        kept.append(call)
    return kept[::-1], buffers


def write_through(calls, buffers, loss):
    """Leave out copies: what is computed to be copied is computed where the copy would go."""
    i = 0
    while i < len(calls):
        if can_move(calls, i, buffers, loss):
            source, out = calls[i].args[1], calls[i].out
            calls = [moved(call, source.buffer, out) for call in calls[:i] + calls[i + 1 :]]
        else:
            i += 1
    return calls, buffers


def can_move(calls, i, buffers, loss):
    """Whether call i copies a whole buffer to a place that nobody needs as long as it lives."""
    call = calls[i]
    if call.f is not np.copyto or call.keeps or type(call.args[1]) is not View:
        return False
    source, out = call.args[1], call.out
    if buffers[source.buffer].role != "own" or source.buffer == loss.buffer:
        return False
    if source._replace(buffer=out.buffer, offset=out.offset) != out:
        return False
    if not (source.dense and source.fills(buffers)):
        return False
    if any(later.out and later.out.buffer == source.buffer for later in calls[i + 1 :]):
        return False
    uses = [k for k, c in enumerate(calls) if any(v.buffer == source.buffer for v in c.views)]
    first, last = out.span
    return not any(
        v.buffer == out.buffer and v.span[0] < last and first < v.span[1]
        for k in range(uses[0], uses[-1] + 1)
        if k != i
        for v in calls[k].views
    )


def moved(call, buffer, to):
    """Let a call find a buffer in the place of the View `to`."""

    def move(x):
        if type(x) is View and x.buffer == buffer:
            return x._replace(buffer=to.buffer, offset=to.offset + x.offset)
        return x

    args, options = mapped(move, (call.args, call.options))
    return call._replace(args=args, options=options, out=move(call.out))


def lifetimes(calls, buffers, loss):
    """Return {buffer: [first call, last call]} for what the step computes, in order of birth."""
    lives = {}
    for i, call in enumerate(calls):
        for view in call.views:
            if buffers[view.buffer].role == "own":
                lives.setdefault(view.buffer, [i, i])[1] = i
    if loss.buffer in lives:
        lives[loss.buffer][1] = len(calls)
    return lives


def room(buffer):
    """How many bytes to set aside for a buffer, so that each begins a cache line."""
    return -(-buffer.nbytes // 64) * 64


def plan(calls, buffers, loss, reuse=True):
    """Give each buffer a place in one block of memory; return ({buffer: place}, size of the block).

    With reuse, a place is given away as soon as nobody needs what is there, and to the result of
    an entry by entry operation already where its argument is needed no more.
    """
    lives, places, size = lifetimes(calls, buffers, loss), {}, 0
    for number, (birth, _) in lives.items():
        need = room(buffers[number])
        at = reuse and heirloom(calls[birth], birth, lives, places, buffers)
        if at is False:
            at = 0
            for other in sorted(places, key=places.get):
                if not reuse or lives[other][1] >= birth:
                    if places[other] >= at + need:
                        break
                    at = max(at, places[other] + room(buffers[other]))
        places[number] = at
        size = max(size, at + need)
    return places, size


def heirloom(call, now, lives, places, buffers):
    """Return the place of an argument that dies in an entry by entry call, or False."""
    if isinstance(call.f, np.ufunc) and not call.f.signature and call.out.fills(buffers):
        for view in call.reads:
            same = buffers[view.buffer].nbytes == buffers[call.out.buffer].nbytes
            if same and view[1:4] == call.out[1:4] and view.buffer in places:
                if lives[view.buffer][1] == now:
                    return places[view.buffer]
    return False


PASSES = hoist, drop_dead, write_through
