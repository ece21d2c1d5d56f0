"""Who goes first on the way back: Kahn's order, and the walk that follows it."""

from graphlib import CycleError

from grad.node import ancestors


def kahn(root):
    """Return (order, found): the computed nodes in order of release, and how many there are."""
    found, stack = 0, [root] if root.parents else []
    root.waiting += 1  # whoever asked is waiting for root
    while stack:
        found += 1
        for parent in stack.pop().parents:
            if parent.parents:
                if not parent.waiting:
                    stack.append(parent)
                parent.waiting += 1
    root.waiting -= 1
    order, ready = [], [root] if found and not root.waiting else []
    while ready:
        node = ready.pop()
        order.append(node)
        for parent in node.parents:
            if parent.parents:
                parent.waiting -= 1
                if not parent.waiting:
                    ready.append(parent)
    return order, found


def cycle(root):
    """Return the nodes of one cycle among those that still wait, the first repeated at the end."""
    user = {parent: node for node in ancestors(root) if node.waiting for parent in node.parents}
    seen, node = {}, next(node for node in user if node.waiting)
    while node not in seen:
        seen[node] = len(seen)
        node = user[node]
    return [*list(seen)[seen[node] :], node]


def toposort(root):
    """List root and its computed ancestors, each only after every node that uses it.

    Kahn's algorithm (1962): count the users of each node, then release a node when its last
    user has gone. It is iterative, so depth is no limit, and looks at each edge twice. Leaves
    are left out: they have nothing to pass on.
    Raises graphlib.CycleError, with the nodes of one cycle, if root depends on itself somewhere.
    """
    try:
        order, found = kahn(root)
        if len(order) < found:
            loop = cycle(root)
            names = " -> ".join(node.op for node in loop[:10]) + " -> ..." * (len(loop) > 10)
            raise CycleError(f"the graph has a cycle: {names}", loop)
    except BaseException:
        for node in ancestors(root):
            node.waiting = 0
        raise
    return order


def levels(root):
    """Group toposort(root) into lists: a node stands one level after the last node that uses it.

    Nodes of one level do not depend on each other.
    """
    depth = {root: 0}
    order = toposort(root)
    for node in order:
        below = depth[node] + 1
        for parent in node.parents:
            depth[parent] = max(depth.get(parent, 0), below)
    groups = [[] for _ in range(1 + max(map(depth.get, order), default=-1))]
    for node in order:
        groups[depth[node]].append(node)
    return groups


def spent(g):
    """Refuse: the pullback of a node that a backward pass has been through."""
    raise RuntimeError("this part of the graph has been used by an earlier backward()")


def backward(root, seed=1.0):
    """Add to `grad` of every node the derivative of root with respect to it, times seed.

    The graph is consumed: each pullback is used once and let go, with all it holds. Leaves keep
    their `grad` and collect more from the next graph.
    Raises RuntimeError where an earlier call has already been, CycleError where there is a cycle.
    """
    order = toposort(root)
    for node in order:
        if node.pullback is spent:
            raise RuntimeError(
                f"backward() has already been through {node.op!r} of this graph and let it go: "
                "build the graph again, or add the results and call backward() once"
            )
    root.grad = root.grad + seed
    try:
        for node in order:
            for parent, g in zip(node.parents, node.pullback(node.grad)):  # noqa: B905, slow
                if g is not None:
                    parent.grad = parent.grad + g
            node.pullback = spent
    except Exception as error:
        error.add_note(f"in the pullback of {node.op}")
        raise
