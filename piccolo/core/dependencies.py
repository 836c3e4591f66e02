"""In which order things may start that depend on each other, and where they cannot."""

from __future__ import annotations

from collections.abc import Iterable, Mapping


def find_cycles(graph: Mapping[str, Iterable[str]], limit: int = 10) -> list[tuple[str, ...]]:
    """Cycles that a walk along the dependencies finds, each as `(a, b, c)`: c depends on a.

    None are returned only if there are none. Names that are no keys depend on nothing. Takes time
    in proportion to the graph, and no recursion.
    """
    found: list[tuple[str, ...]] = []
    done: set[str] = set()
    for root in graph:
        if root in done:
            continue
        way = {root: iter(graph[root])}  # the names on the way here, in order
        while way:
            name = next(reversed(way))
            following = next(way[name], None)
            if following is None:
                done.add(name)
                del way[name]
            elif following in way:
                names = list(way)
                found.append(tuple(names[names.index(following) :]))
                if len(found) == limit:
                    return found
            elif following not in done and following in graph:
                way[following] = iter(graph[following])
    return found
