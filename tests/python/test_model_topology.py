"""Spanning trees over PEs (SPEC 1.2)."""

import random

from c4py import Charm4PyError, charm

from model import check, start_checks


def walk(root, edges):
    """All PEs below a root, the root first; checks that children know their parent."""
    found = [root]
    for pe in found:
        for child in edges(pe)[1]:
            assert edges(child)[0] == pe
            found.append(child)
    return found


@check
def test_a_tree_reaches_every_pe_once():
    for root in range(charm.numPes()):
        for branches in (1, 2, 3, 4, 10):
            def edges(pe):
                return charm.getTopoTreeEdges(pe, root, bfactor=branches)

            assert edges(root)[0] is None
            assert sorted(walk(root, edges)) == list(range(charm.numPes()))
            assert all(len(edges(pe)[1]) <= branches for pe in range(charm.numPes()))


@check(pes=(1,))
def test_a_tree_over_given_pes_reaches_just_them():
    for count in (1, 2, 5, 40):
        pes = random.Random(count).sample(range(1000), count)
        for branches in (1, 2, 4):
            assert sorted(walk(pes[0], lambda pe: charm.getTopoTreeEdges(
                pe, pes[0], pes, branches))) == sorted(pes)


@check(pes=(1,))
def test_subtrees_are_those_of_the_tree():
    for count in (1, 2, 5, 40):
        pes = random.Random(count).sample(range(1000), count)
        for branches in (1, 2, 4):
            subtrees = charm.getTopoSubtrees(pes[0], pes, bfactor=branches)
            assert len(subtrees) <= branches
            assert sorted(sum(subtrees, [pes[0]])) == sorted(pes)
            for subtree in subtrees:
                assert sorted(walk(subtree[0], lambda pe: charm.getTopoTreeEdges(
                    pe, pes[0], pes, branches))) == sorted(subtree)


@check(pes=(1,))
def test_what_makes_no_tree_is_refused():
    for call in (lambda: charm.getTopoTreeEdges(3, 1, [1, 2]),
                 lambda: charm.getTopoTreeEdges(1, 1, [2, 1]),
                 lambda: charm.getTopoTreeEdges(1, 1, [1, 1]),
                 lambda: charm.getTopoTreeEdges(1, 1, [1, 2], 0),
                 lambda: charm.getTopoSubtrees(1, []), lambda: charm.getTopoSubtrees(1, [2, 1])):
        try:
            call()
        except Charm4PyError as error:
            assert 'tree' in error.message
        else:
            assert False, 'not raised'
    try:
        charm.getTopoTreeEdges(0, 5)
    except IndexError as error:
        assert 'PE 5' in str(error)
    else:
        assert False, 'not raised'


if __name__ == '__main__':
    start_checks()
