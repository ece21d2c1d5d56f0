"""Wrong answers to the exercises on nodes: the mistakes someone would make."""

PLANTED = {
    "minus": [
        (
            "parents the wrong way round",
            """
def minus(a, b):
    return Node(a.data - b.data, (b, a), op="-")
""",
        ),
        (
            "keeps the numbers instead of the nodes",
            """
def minus(a, b):
    return Node(a.data - b.data, (a.data, b.data), op="-")
""",
        ),
        (
            "copies its parents",
            """
def minus(a, b):
    return Node(a.data - b.data, (Node(a.data), Node(b.data)), op="-")
""",
        ),
        (
            "a parent that comes twice is kept once",
            """
def minus(a, b):
    return Node(a.data - b.data, tuple(dict.fromkeys((a, b))), op="-")
""",
        ),
        (
            "is a sum with a negative leaf",
            """
def minus(a, b):
    return plus(a, Node(-b.data))
""",
        ),
    ],
    "growth": [
        (
            "takes the graph of no sample for what is there once",
            """
def growth(build):
    none, one = len(ancestors(build(0))), len(ancestors(build(1)))
    return none, one - none


def predicted(n):
    return n + 2, 3 * n + 1
""",
        ),
        (
            "counts a shared node once for each way to it",
            """
def growth(build):
    def count(node):
        return 1 + sum(count(parent) for parent in node.parents)

    one, two = count(build(1)), count(build(2))
    return one - (two - one), two - one


def predicted(n):
    return n + 2, 3 * n + 1
""",
        ),
        (
            "the formula forgets the leaf the sum starts from",
            """
def growth(build):
    one, two = len(ancestors(build(1))), len(ancestors(build(2)))
    return one - (two - one), two - one


def predicted(n):
    return n + 1, 3 * n + 1
""",
        ),
        (
            "the formula counts the weights for every sample",
            """
def growth(build):
    one, two = len(ancestors(build(1))), len(ancestors(build(2)))
    return one - (two - one), two - one


def predicted(n):
    return 2, 4 * n + 1
""",
        ),
        (
            "returns the nodes of one sample as those of each",
            """
def growth(build):
    one, two = len(ancestors(build(1))), len(ancestors(build(2)))
    return two - one, one


def predicted(n):
    return n + 2, 3 * n + 1
""",
        ),
    ],
    "copy_graph": [
        (
            "the mistake as it was: nodes with equal data are one",
            """
def copy_graph(root):
    return copied(root)
""",
        ),
        (
            "nodes with the same op and data are one",
            """
def copy_graph(root):
    copies = {}

    def copy(node):
        key = (node.op, node.data)
        if key not in copies:
            parents = tuple(copy(parent) for parent in node.parents)
            copies[key] = Node(node.data, parents, node.pullback, node.op)
        return copies[key]

    return copy(root)
""",
        ),
        (
            "no memory: what is shared is copied for each way to it",
            """
def copy_graph(root):
    parents = tuple(copy_graph(parent) for parent in root.parents)
    return Node(root.data, parents, root.pullback, root.op)
""",
        ),
        (
            "remembers the leaves and nothing else",
            """
def copy_graph(root):
    copies = {}

    def copy(node):
        if node in copies:
            return copies[node]
        new = Node(node.data, tuple(map(copy, node.parents)), node.pullback, node.op)
        if not node.parents:
            copies[node] = new
        return new

    return copy(root)
""",
        ),
        (
            "takes the leaves over instead of copying them",
            """
def copy_graph(root):
    copies = {}

    def copy(node):
        if not node.parents:
            return node
        if node not in copies:
            parents = tuple(copy(parent) for parent in node.parents)
            copies[node] = Node(node.data, parents, node.pullback, node.op)
        return copies[node]

    return copy(root)
""",
        ),
        (
            "loses the pullback",
            """
def copy_graph(root):
    copies = {}

    def copy(node):
        if node not in copies:
            parents = tuple(copy(parent) for parent in node.parents)
            copies[node] = Node(node.data, parents, op=node.op)
        return copies[node]

    return copy(root)
""",
        ),
    ],
    "as_table": [
        (
            "equal leaves share a row",
            """
def as_table(root):
    rows = []

    def enter(node):
        row = (node.op, node.data, tuple(enter(parent) for parent in node.parents))
        if row not in rows:
            rows.append(row)
        return rows.index(row)

    enter(root)
    return rows


def from_table(rows):
    nodes = []
    for op, data, parents in rows:
        nodes.append(Node(data, tuple(nodes[i] for i in parents), op=op))
    return nodes[-1]
""",
        ),
        (
            "a shared node has a row for each way to it",
            """
def as_table(root):
    rows = []

    def enter(node):
        parents = tuple(enter(parent) for parent in node.parents)
        rows.append((node.op, node.data, parents))
        return len(rows) - 1

    enter(root)
    return rows


def from_table(rows):
    nodes = []
    for op, data, parents in rows:
        nodes.append(Node(data, tuple(nodes[i] for i in parents), op=op))
    return nodes[-1]
""",
        ),
        (
            "the root comes first",
            """
def as_table(root):
    nodes = ancestors(root)
    number = {node: i for i, node in enumerate(nodes)}
    return [(n.op, n.data, tuple(number[p] for p in n.parents)) for n in nodes]


def from_table(rows):
    nodes = []
    for op, data, parents in rows:
        nodes.append(Node(data, tuple(nodes[i] for i in parents), op=op))
    return nodes[-1]
""",
        ),
        (
            "the way back makes a shared node once for each use",
            """
def as_table(root):
    rows, number = [], {}

    def enter(node):
        if node not in number:
            parents = tuple(enter(parent) for parent in node.parents)
            number[node] = len(rows)
            rows.append((node.op, node.data, parents))
        return number[node]

    enter(root)
    return rows


def from_table(rows):
    op, data, parents = rows[-1]
    return Node(data, tuple(from_table(rows[: i + 1]) for i in parents), op=op)
""",
        ),
        (
            "the way back leaves numbers where nodes are due",
            """
def as_table(root):
    rows, number = [], {}

    def enter(node):
        if node not in number:
            parents = tuple(enter(parent) for parent in node.parents)
            number[node] = len(rows)
            rows.append((node.op, node.data, parents))
        return number[node]

    enter(root)
    return rows


def from_table(rows):
    return [Node(data, parents, op=op) for op, data, parents in rows][-1]
""",
        ),
    ],
    "replay": [
        (
            "computes from the data in the rows",
            """
def replay(rows, leaves, ops):
    values, fresh = [], iter(leaves)
    for op, _, parents in rows:
        if parents:
            values.append(ops[op](*[rows[i][1] for i in parents]))
        else:
            values.append(next(fresh))
    return values
""",
        ),
        (
            "takes the number of a row for the number of a leaf",
            """
def replay(rows, leaves, ops):
    values = []
    for i, (op, _, parents) in enumerate(rows):
        values.append(ops[op](*[values[p] for p in parents]) if parents else leaves[i])
    return values
""",
        ),
        (
            "every op has two arguments",
            """
def replay(rows, leaves, ops):
    values, fresh = [], iter(leaves)
    for op, _, parents in rows:
        if parents:
            values.append(ops[op](values[parents[0]], values[parents[1]]))
        else:
            values.append(next(fresh))
    return values
""",
        ),
        (
            "computes what is shared again for each use",
            """
def replay(rows, leaves, ops):
    fresh = iter(leaves)
    given = {i: next(fresh) for i, row in enumerate(rows) if not row[2]}

    def value(i):
        op, _, parents = rows[i]
        return ops[op](*[value(p) for p in parents]) if parents else given[i]

    return [value(i) for i in range(len(rows))]
""",
        ),
        (
            "knows two ops and no table",
            """
def replay(rows, leaves, ops):
    values, fresh = [], iter(leaves)
    for op, _, parents in rows:
        if not parents:
            values.append(next(fresh))
        elif op == "+":
            values.append(sum(values[i] for i in parents))
        else:
            values.append(values[parents[0]] * values[parents[1]])
    return values
""",
        ),
        (
            "returns the last value alone",
            """
def replay(rows, leaves, ops):
    values, fresh = [], iter(leaves)
    for op, _, parents in rows:
        if parents:
            values.append(ops[op](*[values[i] for i in parents]))
        else:
            values.append(next(fresh))
    return values[-1]
""",
        ),
        (
            "takes the leaves out of the caller's list",
            """
def replay(rows, leaves, ops):
    values = []
    for op, _, parents in rows:
        if parents:
            values.append(ops[op](*[values[i] for i in parents]))
        else:
            values.append(leaves.pop(0))
    return values
""",
        ),
        (
            "writes the new data into the rows",
            """
def replay(rows, leaves, ops):
    values, fresh = [], iter(leaves)
    for i, (op, _, parents) in enumerate(rows):
        value = ops[op](*[values[p] for p in parents]) if parents else next(fresh)
        values.append(value)
        rows[i] = (op, value, parents)
    return values
""",
        ),
    ],
    "paths": [
        (
            "walks every way",
            """
def paths(root, x):
    if root is x:
        return 1
    return sum(paths(parent, x) for parent in root.parents)
""",
        ),
        (
            "counts each node once, so each way but the first is lost",
            """
def paths(root, x):
    seen = set()

    def ways(node):
        if node is x:
            return 1
        if node in seen:
            return 0
        seen.add(node)
        return sum(ways(parent) for parent in node.parents)

    return ways(root)
""",
        ),
        (
            "a node with x twice among its parents has one way",
            """
def paths(root, x):
    known = {x: 1}

    def ways(node):
        if node not in known:
            known[node] = sum(ways(parent) for parent in set(node.parents))
        return known[node]

    return ways(root)
""",
        ),
        (
            "finds x by its data",
            """
def paths(root, x):
    known = {}

    def ways(node):
        if node not in known:
            here = node.data == x.data and not node.parents
            known[node] = here or sum(ways(parent) for parent in node.parents)
        return int(known[node])

    return ways(root)
""",
        ),
        (
            "counts the nodes that have x as a parent",
            """
def paths(root, x):
    return int(root is x) + sum(node.parents.count(x) for node in ancestors(root))
""",
        ),
    ],
    "depth": [
        (
            "calls itself, with a memory",
            """
def depth(root):
    depths = {}

    def deep(node):
        if node not in depths:
            depths[node] = max((deep(parent) + 1 for parent in node.parents), default=0)
        return depths[node]

    return deep(root)
""",
        ),
        (
            "calls itself, without a memory",
            """
def depth(root):
    return max((depth(parent) + 1 for parent in root.parents), default=0)
""",
        ),
        (
            "takes the first step at which a node is met for the longest",
            """
def depth(root):
    steps, stack = {root: 0}, [root]
    for node in stack:
        for parent in node.parents:
            if parent not in steps:
                steps[parent] = steps[node] + 1
                stack.append(parent)
    return max(steps.values())
""",
        ),
        (
            "follows the first parent alone",
            """
def depth(root):
    steps = 0
    while root.parents:
        root, steps = root.parents[0], steps + 1
    return steps
""",
        ),
        (
            "goes back one step at a time and opens nodes again at each",
            """
def depth(root):
    front, steps = {root}, -1
    while front:
        front = {parent for node in front for parent in node.parents}
        steps += 1
    return steps
""",
        ),
        (
            "counts the nodes",
            """
def depth(root):
    return len(ancestors(root)) - 1
""",
        ),
    ],
}
