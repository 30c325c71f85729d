"""Reading ahead: the next item is made while one is used, in order, errors where they belong, nothing left behind."""

import threading
import weakref

import pytest

from eigenhouse.ingest.stages.model_parts import ahead

PATIENCE = 5  # seconds that no passing test waits


class Matrix:
    """Something that can be seen to go."""


def test_items_come_in_their_order():
    assert list(ahead(range(5))) == [0, 1, 2, 3, 4]
    assert list(ahead([])) == []
    assert list(ahead([None, 0])) == [None, 0]


def test_the_next_one_is_made_while_one_is_used_and_no_further_one():
    made = [threading.Event() for _ in range(4)]

    def making():
        for n, event in enumerate(made):
            event.set()
            yield n

    items = ahead(making())
    for n, item in enumerate(items):
        assert item == n
        assert n == 3 or made[n + 1].wait(PATIENCE)
        assert not any(event.wait(0.02) for event in made[n + 2 :])


def test_two_exist_at_a_time():
    alive = weakref.WeakSet()
    most = []

    def making():
        for _ in range(5):
            matrix = Matrix()
            alive.add(matrix)
            most.append(len(alive))
            yield matrix
            del matrix

    for item in ahead(making()):
        del item
    assert max(most) <= 2


def test_an_error_comes_where_its_item_would():
    def making():
        yield 1
        raise ValueError("the second is damaged")

    items = ahead(making())
    assert next(items) == 1
    with pytest.raises(ValueError, match="the second is damaged"):
        next(items)
    assert list(items) == []


@pytest.mark.parametrize("how", ["closed", "error"])
def test_whoever_stops_early_leaves_nothing_behind(how):
    threads, closed = threading.active_count(), []

    def making():
        try:
            yield from range(100)
        finally:
            closed.append(True)

    items = ahead(making())
    assert next(items) == 0
    if how == "closed":
        items.close()
    else:
        with pytest.raises(KeyError):
            items.throw(KeyError())
    assert len(closed) == 1
    assert threading.active_count() == threads
