"""The stream of a network: the values through which all information passes, from each input to the output."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

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


def chains(flow: Flow, outputs: Sequence[Node]) -> list[Chain]:
    """Return the chain of each input, the longest first; one for all where they meet at once.

    `outputs` are what the model returns, the primary one first. A value is a cut point if, in the order of
    the pass, no value made before it is used after it, of those between the input and the output.
    """
    entries = _entries(flow)
    last = ends(outputs)
    if not entries or not last:
        return []
    before = ancestors(last)
    joint = _chain(flow, tuple(entries), [n for nodes in entries.values() for n in nodes], last, before)
    alone = [_chain(flow, (name,), nodes, last, before) for name, nodes in entries.items()]
    longest = max(chain.steps for chain in alone)
    # Inputs that are added up at once are one signal: they cost the longest chain its entrance at most.
    if len(alone) == 1 or joint.steps >= longest - 1 > 0 or longest == 0:
        return [joint]
    found = sorted(alone, key=lambda chain: -chain.steps)
    return [chain for chain in found if chain.steps]


def _entries(flow: Flow) -> dict[str, list[Node]]:
    """Return, by the name of the input, the first floating-point values that depend on it."""
    found: dict[str, list[Node]] = {}
    for node in flow.nodes:
        first = node.kind == "input" or (node.sources and not any(s.floating for s in node.sources))
        names = [name for name in sorted(node.inputs) if not any(word in name.lower() for word in _NO_ENTRY)]
        if first and node.floating and names:
            found.setdefault(", ".join(names), []).append(node)
    # Where integers are looked up in a table, other floating-point numbers made of them, as masks are, carry
    # no signal.
    looked_up = {name: [node for node in nodes if node.matrix] for name, nodes in found.items()}
    return {name: looked_up[name] or nodes for name, nodes in found.items()}


def ends(outputs: Sequence[Node]) -> list[Node]:
    """Return the primary output, and others that neither lead to another output nor come from it."""
    known = [node for node in dict.fromkeys(outputs) if node.inputs]
    if not known:
        return []
    above = {id(node): ancestors([node]) for node in known[:64]}
    primary = known[0]
    found = [primary]
    for node in known[1:64]:
        if node.address is not None and node.address[:4] == (primary.address or ())[:4]:
            continue  # another result of the same operation, such as the last state beside all of them
        passed = any(node is not other and id(node) in above[id(other)] for other in known[:64])
        if not passed and id(primary) not in above[id(node)]:
            found.append(node)
    return found


def _chain(
    flow: Flow, names: tuple[str, ...], entries: list[Node], ends: list[Node], before: set[int]
) -> Chain:
    relevant: list[Node] = []
    reached: set[int] = set()
    starts = {id(node) for node in entries}
    for node in flow.nodes:
        if id(node) in before and (id(node) in starts or any(id(s) in reached for s in node.sources)):
            reached.add(id(node))
            relevant.append(node)
    place = {id(node): number for number, node in enumerate(relevant)}
    beyond = len(relevant)
    # Where each value is used last; the entries are used by what they enter, the ends by the output.
    last = [0] * (beyond + 1)
    for number, node in enumerate(relevant):
        for source in node.sources:
            if id(source) in place:
                last[place[id(source)] + 1] = number
        if id(node) in starts:
            last[0] = number
    for end in ends:
        if id(end) in place:
            last[place[id(end)] + 1] = beyond
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
