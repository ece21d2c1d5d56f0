"""Wrong answers to the exercises on order: the mistakes someone would make."""

SORT = """
from graphlib import CycleError


def toposort(root):
    waiting, stack = {root: 0}, [root]
    while stack:
        for parent in stack.pop().parents:
            if parent not in waiting:
                waiting[parent] = 0
                stack.append(parent)
            waiting[parent] += 1
    listed = []
    ready = [] if waiting[root] else [root]
    while ready:
        node = ready.pop()
        listed.append(node)
        for parent in node.parents:
            waiting[parent] -= 1
            if waiting[parent] == 0:
                ready.append(parent)
    if len(listed) < len(waiting):
        raise CycleError("the graph has a cycle")
    return listed
"""

MENDED = """
def mended(root):
    found, stack = 0, [root]
    root.waiting += 1
    while stack:
        node = stack.pop()
        found += 1
        for parent in node.parents:
            if parent.waiting == 0:
                stack.append(parent)
            parent.waiting += 1
    root.waiting -= 1
    listed, ready = [], [] if root.waiting else [root]
    while ready:
        node = ready.pop()
        listed.append(node)
        for parent in node.parents:
            parent.waiting -= 1
            if parent.waiting == 0:
                ready.append(parent)
    if len(listed) < found:
        for node in ancestors(root):
            node.waiting = 0
        raise CycleError("the graph has a cycle")
    return listed
"""

CLEAR = """\
        for node in ancestors(root):
            node.waiting = 0
"""

METER = """
def calls(walk, root):
    count = {node: 0 for node in ancestors(root) if node.parents}

    def counted(node, pullback):
        def call(g):
            count[node] += 1
            return pullback(g)

        return call

    for node in count:
        node.pullback = counted(node, node.pullback)
    walk(root)
    return count
"""

LARGEST = """
@primitive
def largest(*xs):
    top = max(xs)
    share = 1.0 / xs.count(top)
    return top, lambda g: [g * share if x == top else 0.0 for x in xs]


class Number(Value):
    __slots__ = ()

    def __abs__(self):
        return largest(self, -self)
"""

LEVELS = """
def steps(root):
    step, groups = {}, []
    for node in reversed(toposort(root)):
        step[node] = 1 + max((step[parent] for parent in node.parents), default=-1)
        if step[node] == len(groups):
            groups.append([])
        groups[step[node]].append(node)
    return groups


def tree_sum(nodes):
    nodes = list(nodes)
    while len(nodes) > 1:
        pairs = [ops.add(a, b) for a, b in zip(nodes[::2], nodes[1::2])]
        nodes = pairs + nodes[len(nodes) - len(nodes) % 2 :]
    return nodes[0]
"""


def slip(source, old, new):
    """A right answer with one slip in it."""
    assert source.count(old) == 1, (old, source.count(old))
    return source.replace(old, new)


PLANTED = {
    "users": [
        (
            "one list under every key",
            """
def users(root):
    found = dict.fromkeys(ancestors(root), [])
    for node in found:
        for parent in node.parents:
            found[parent].append(node)
    return found
""",
        ),
        (
            "a node that uses another twice is listed once",
            """
def users(root):
    found = {node: [] for node in ancestors(root)}
    for node in found:
        for parent in set(node.parents):
            found[parent].append(node)
    return found
""",
        ),
        (
            "gives the parents, not the users",
            """
def users(root):
    return {node: list(node.parents) for node in ancestors(root)}
""",
        ),
        (
            "leaves out the root, which nobody uses",
            """
def users(root):
    found = {}
    for node in ancestors(root):
        for parent in node.parents:
            found.setdefault(parent, []).append(node)
    return found
""",
        ),
    ],
    "trap": [
        (
            "the node with two users is the leaf",
            """
def trap(x):
    return ops.mul(x, ops.exp(x))
""",
        ),
        (
            "both users stand at the same distance",
            """
def trap(x):
    square = ops.mul(x, x)
    return ops.add(ops.neg(square), ops.exp(square))
""",
        ),
        (
            "the arguments stand in the order in which all goes well",
            """
def trap(x):
    square = ops.mul(x, x)
    return ops.add(ops.mul(square, x), square)
""",
        ),
        (
            "more nodes than it takes",
            """
def trap(x):
    square = ops.mul(x, x)
    return ops.add(square, ops.exp(ops.neg(square)))
""",
        ),
        (
            "a graph that does not hold x at all",
            """
def trap(x):
    y = ops.neg(Node(x.data))
    return ops.add(y, ops.mul(y, y))
""",
        ),
    ],
    "sort": [
        (
            "depth first, as nodes are met",
            """
from graphlib import CycleError


def toposort(root):
    listed, stack = [], [root]
    while stack:
        node = stack.pop()
        if node not in listed:
            listed.append(node)
            stack.extend(node.parents)
    return listed
""",
        ),
        (
            "recursive",
            """
from graphlib import CycleError


def toposort(root):
    done, open_, listed = set(), set(), []

    def visit(node):
        if node in open_:
            raise CycleError("the graph has a cycle")
        if node not in done:
            open_.add(node)
            for parent in node.parents:
                visit(parent)
            open_.discard(node)
            done.add(node)
            listed.append(node)

    visit(root)
    return listed[::-1]
""",
        ),
        (
            "a node used twice by one user is counted once and let go twice",
            slip(
                SORT,
                "for parent in stack.pop().parents:",
                "for parent in set(stack.pop().parents):",
            ),
        ),
        (
            "goes along every path",
            """
from graphlib import CycleError


def toposort(root):
    depth, stack = {}, [(root, 0)]
    while stack:
        node, d = stack.pop()
        depth[node] = max(d, depth.get(node, 0))
        for parent in node.parents:
            stack.append((parent, d + 1))
    return sorted(depth, key=depth.get)
""",
        ),
        (
            "a cycle is not refused",
            slip(SORT, 'raise CycleError("the graph has a cycle")', "pass"),
        ),
        (
            "parents come first",
            slip(SORT, "return listed", "return listed[::-1]"),
        ),
        (
            "looks at each edge three times",
            slip(
                SORT,
                """waiting, stack = {root: 0}, [root]
    while stack:
        for parent in stack.pop().parents:
            if parent not in waiting:
                waiting[parent] = 0
                stack.append(parent)
            waiting[parent] += 1""",
                """waiting = dict.fromkeys(ancestors(root), 0)
    for node in waiting:
        for parent in node.parents:
            waiting[parent] += 1""",
            ),
        ),
        (
            "leaves are left out",
            slip(SORT, "if waiting[parent] == 0:", "if waiting[parent] == 0 and parent.parents:"),
        ),
    ],
    "walk": [
        (
            "the second gradient takes the place of the first",
            """
def backward(root):
    root.grad = 1.0
    for node in toposort(root):
        for parent, g in zip(node.parents, node.pullback(node.grad)):
            if g is not None:
                parent.grad = g
""",
        ),
        (
            "None is added like any gradient",
            """
def backward(root):
    root.grad += 1.0
    for node in toposort(root):
        for parent, g in zip(node.parents, node.pullback(node.grad)):
            parent.grad += g
""",
        ),
        (
            "every gradient is cleared at the start",
            """
def backward(root):
    listed = toposort(root)
    for node in listed:
        node.grad = 0.0
    root.grad = 1.0
    for node in listed:
        for parent, g in zip(node.parents, node.pullback(node.grad)):
            if g is not None:
                parent.grad += g
""",
        ),
        (
            "the root forgets what it had",
            """
def backward(root):
    root.grad = 1.0
    for node in toposort(root):
        for parent, g in zip(node.parents, node.pullback(node.grad)):
            if g is not None:
                parent.grad += g
""",
        ),
        (
            "leaves first",
            """
def backward(root):
    root.grad += 1.0
    for node in reversed(toposort(root)):
        for parent, g in zip(node.parents, node.pullback(node.grad)):
            if g is not None:
                parent.grad += g
""",
        ),
        (
            "the gradients go to the parents in reverse",
            """
def backward(root):
    root.grad += 1.0
    for node in toposort(root):
        for parent, g in zip(node.parents[::-1], node.pullback(node.grad)):
            if g is not None:
                parent.grad += g
""",
        ),
        (
            "in the order in which nodes are met",
            """
def backward(root):
    root.grad += 1.0
    seen, queue = {root}, [root]
    for node in queue:
        for parent, g in zip(node.parents, node.pullback(node.grad)):
            if g is not None:
                parent.grad += g
            if parent not in seen:
                seen.add(parent)
                queue.append(parent)
""",
        ),
        (
            "visits a node once for each path, with all the gradient it has so far",
            """
def backward(root):
    root.grad += 1.0

    def visit(node):
        for parent, g in zip(node.parents, node.pullback(node.grad)):
            if g is not None:
                parent.grad += g
            visit(parent)

    visit(root)
""",
        ),
    ],
    "meter": [
        (
            "every counter calls the last pullback",
            """
def calls(walk, root):
    count = {node: 0 for node in ancestors(root) if node.parents}
    for node in count:
        pullback = node.pullback

        def call(g):
            count[node] += 1
            return pullback(g)

        node.pullback = call
    walk(root)
    return count
""",
        ),
        ("leaves count as well", slip(METER, " if node.parents", "")),
        (
            "counts nodes, however often each was visited",
            slip(METER, "count[node] += 1", "count[node] = 1"),
        ),
        (
            "a node that was never called is left out",
            slip(METER, "return count", "return {node: n for node, n in count.items() if n}"),
        ),
        (
            "one total for all nodes",
            slip(METER, "return count", "return sum(count.values())"),
        ),
        (
            "the counter does not hand back the gradients",
            slip(METER, "return pullback(g)", "pullback(g)"),
        ),
    ],
    "levels": [
        ("a node waits for the first of its parents only", slip(LEVELS, "1 + max(", "1 + min(")),
        (
            "distance from the root instead",
            LEVELS.replace(
                LEVELS[: LEVELS.index("def tree_sum")],
                """
def steps(root):
    depth = {root: 0}
    listed = toposort(root)
    for node in listed:
        for parent in node.parents:
            depth[parent] = max(depth.get(parent, 0), depth[node] + 1)
    groups = [[] for _ in range(1 + max(depth.values()))]
    for node in listed:
        groups[-1 - depth[node]].append(node)
    return groups


""",
            ),
        ),
        (
            "the sum is a chain",
            LEVELS[: LEVELS.index("def tree_sum")]
            + """def tree_sum(nodes):
    out = nodes[0]
    for node in nodes[1:]:
        out = ops.add(out, node)
    return out
""",
        ),
        (
            "the odd one out is lost",
            slip(LEVELS, "nodes = pairs + nodes[len(nodes) - len(nodes) % 2 :]", "nodes = pairs"),
        ),
        (
            "the sum is one node of all",
            LEVELS[: LEVELS.index("def tree_sum")]
            + "def tree_sum(nodes):\n    return ops.total(*nodes)\n",
        ),
        (
            "leaves are left out of the steps",
            slip(LEVELS, "return groups", "return groups[1:]"),
        ),
    ],
    "mend": [
        ("the fault is still there", slip(MENDED, CLEAR, "")),
        ("clears only the root", slip(MENDED, CLEAR, "        root.waiting = 0\n")),
        (
            "clears the nodes that were let go",
            slip(MENDED, "for node in ancestors(root):", "for node in listed:"),
        ),
        (
            "clears when a sort begins, not when it ends",
            slip(
                slip(MENDED, CLEAR, ""),
                "    found,",
                CLEAR.replace("    ", "", 1).replace("\n    ", "\n", 1) + "    found,",
            ),
        ),
        (
            "a cycle is no longer refused",
            slip(MENDED, '        raise CycleError("the graph has a cycle")\n', ""),
        ),
    ],
    "largest": [
        (
            "each of those that tie gets the whole gradient",
            slip(LARGEST, "g * share if", "g if"),
        ),
        (
            "the first of those that tie gets it all",
            slip(
                LARGEST,
                "[g * share if x == top else 0.0 for x in xs]",
                "[g * (i == xs.index(top)) for i in range(len(xs))]",
            ),
        ),
        ("the pullback forgets g", slip(LARGEST, "g * share if", "share if")),
        (
            "shared among all arguments",
            slip(LARGEST, "xs.count(top)", "len(xs)"),
        ),
        (
            "abs is x or -x, so its slope at 0 is 1",
            slip(
                LARGEST, "return largest(self, -self)", "return self if self.data >= 0 else -self"
            ),
        ),
        (
            "abs makes a leaf",
            slip(LARGEST, "return largest(self, -self)", "return Number(abs(self.data))"),
        ),
    ],
}
