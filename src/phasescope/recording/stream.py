"""The stream of a network: the values through which all information passes, from each input to the output."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from phasescope.recording.dataflow import Flow, Node

_NO_ENTRY = ("mask", "length", "position")  # words in the names of inputs that carry no signal


@dataclass(frozen=True)
class Point:
    """A cut point: one value, in all the forms that differ by its shape, a constant shift or factor."""

    nodes: tuple[Node, ...]  # in the order of the pass

    @property
    def node(self) -> Node:
        """The last form that is more than another shape of the one before: what is measured."""
        return self.nodes[-1].unchanged if self.nodes[-1].unchanged in self.nodes else self.nodes[-1]

    @property
    def step(self) -> bool:
        """Whether depth is counted here."""
        return self.nodes[0].same_as.is_step


@dataclass(frozen=True)
class Chain:
    """The cut points on the way from one input, or several that enter together, to the output."""

    inputs: tuple[str, ...]  # names
    entries: tuple[Node, ...]  # the floating-point values that the inputs enter with
    points: tuple[Point, ...]

    @property
    def steps(self) -> int:
        """Number of weight layers and meetings of signals along it."""
        return sum(point.step for point in self.points)


def chains(flow: Flow, output: Node) -> list[Chain]:
    """Return the chain of each input, the longest first; one for all where they meet at once.

    A value is a cut point if, in the order of the pass, no value made before it is used after it, of those
    between the input and the output.
    """
    entries = _entries(flow)
    if not entries:
        return []
    before = ancestors([output])
    together = [node for nodes in entries.values() for node in nodes]
    joint = _chain(flow, tuple(entries), together, output, before)
    alone = [_chain(flow, (name,), nodes, output, before) for name, nodes in entries.items()]
    longest = max(chain.steps for chain in alone)
    # Inputs that are added up at once are one signal: they cost the longest chain its entrance at most.
    if len(alone) == 1 or joint.steps >= longest - 1 > 0 or longest == 0:
        return [joint]
    own = _with_own_ends(alone)
    return [chain for chain in sorted(own, key=lambda chain: -chain.steps) if chain.steps]


def _with_own_ends(alone: list[Chain]) -> list[Chain]:
    """Return the chains, the points that they share left to the one that goes straight on into them."""
    times = Counter(id(point.node) for chain in alone for point in chain.points)
    starts = [next((i for i, p in enumerate(c.points) if times[id(p.node)] > 1), None) for c in alone]
    sharing = [(c, i) for c, i in zip(alone, starts, strict=True) if i is not None]
    if not sharing:
        return alone
    straight = [c for c, i in sharing if i > 0 and _goes_on(c.points[i - 1], c.points[i])]
    keeper = max(straight or [c for c, _ in sharing], key=lambda chain: chain.steps)
    return [
        c if i is None or c is keeper else replace(c, points=c.points[:i])
        for c, i in zip(alone, starts, strict=True)
    ]


def _goes_on(before: Point, point: Point) -> bool:
    """Return whether a point is a function of the one before, or a sum with it, and not with its branch."""
    forms = {id(node.same_as) for node in before.nodes}
    return any(id(source.same_as) in forms for source in point.nodes[0].same_as.sources)


def _entries(flow: Flow) -> dict[str, list[Node]]:
    """Return, by the name of the input, the first floating-point values that depend on it."""
    found: dict[str, list[Node]] = {}
    entered: set[int] = set()  # what depends on a floating-point value, if only by an index computed from it
    for node in flow.nodes:
        known = any(source.floating or id(source) in entered for source in node.sources)
        entered |= {id(node)} if known else set()
        first = node.kind == "input" or (node.sources and not known)
        names = [name for name in sorted(node.inputs) if not any(word in name.lower() for word in _NO_ENTRY)]
        if first and node.floating and names:
            found.setdefault(", ".join(names), []).append(node)
    # Where integers are looked up in a table, other floating-point numbers made of them, as masks are, carry
    # no signal.
    looked_up = {name: [node for node in nodes if node.matrix] for name, nodes in found.items()}
    return {name: looked_up[name] or nodes for name, nodes in found.items()}


def _chain(flow: Flow, names: tuple[str, ...], entries: list[Node], output: Node, before: set[int]) -> Chain:
    relevant: list[Node] = []
    reached: set[int] = set()
    starts = {id(node) for node in entries}
    for node in flow.nodes:
        if id(node) in before and (id(node) in starts or any(id(s) in reached for s in node.sources)):
            reached.add(id(node))
            relevant.append(node)
    place = {id(node): number for number, node in enumerate(relevant)}
    beyond = len(relevant)
    # Where each value is used last; what enters is used where it enters.
    last = [0] * (beyond + 1)
    for number, node in enumerate(relevant):
        for source in node.sources:
            if id(source) in place:
                last[place[id(source)] + 1] = number
        if id(node) in starts:
            last[0] = number
    if id(output) in place:
        last[place[id(output)] + 1] = beyond
    cut: list[Node] = []
    furthest = last[0]
    for number, node in enumerate(relevant):
        if furthest <= number:
            cut.append(node)
        furthest = max(furthest, last[number + 1])
    return Chain(names, tuple(entries), tuple(_grouped(cut)))


def _grouped(cut: list[Node]) -> Iterator[Point]:
    group: list[Node] = []
    for node in cut:
        if group and node.same_as is not group[0].same_as:
            yield Point(tuple(group))
            group = []
        group.append(node)
    if group:
        yield Point(tuple(group))


def ancestors(nodes: Iterable[Node]) -> set[int]:
    """Return the ids of what the nodes were made from, themselves included."""
    found: set[int] = set()
    waiting = list(nodes)
    while waiting:
        node = waiting.pop()
        if id(node) not in found:
            found.add(id(node))
            waiting += node.sources
    return found
