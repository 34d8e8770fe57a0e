"""Spanning trees over PEs, for programs that forward messages along one."""

from .errors import Charm4PyError


def _check(root, pes, branches):
    if branches < 1:
        raise Charm4PyError(f'bfactor={branches}: a PE of a tree has 1 or more children')
    if not pes or pes[0] != root:
        raise Charm4PyError(f'the PEs of a tree begin with its root, PE {root}, not {pes[:1]}')
    if len(set(pes)) != len(pes):
        raise Charm4PyError('a PE is in a tree once only')


def _children(position, count, branches):
    """Positions of the children in a tree that is filled level by level."""
    first = position * branches + 1
    return range(min(first, count), min(first + branches, count))


def tree_edges(pe, root, pes, branches):
    """The parent of a PE (None for the root) and the list of its children."""
    _check(root, pes, branches)
    if pe not in pes:
        raise Charm4PyError(f'PE {pe} is not in the tree of {pes}')
    position = pes.index(pe)
    parent = pes[(position - 1) // branches] if position > 0 else None
    return parent, [pes[child] for child in _children(position, len(pes), branches)]


def subtrees(root, pes, branches):
    """For each child of the root the list of PEs of its subtree, the child first."""
    _check(root, pes, branches)
    found = []
    for child in _children(0, len(pes), branches):
        positions = [child]
        for position in positions:          # grows meanwhile: level by level
            positions.extend(_children(position, len(pes), branches))
        found.append([pes[position] for position in positions])
    return found
