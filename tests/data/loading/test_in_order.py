"""Results come in the order of the items, however long each takes."""

import itertools
import threading
import time

import pytest

from darkrank_jax.data.loading.in_order import in_order


def names_of_threads():
    return {thread.name for thread in threading.enumerate() if thread.name.startswith("ahead")}


@pytest.mark.parametrize(("num_threads", "ahead"), [(1, 1), (3, 2), (4, 7)])
def test_results_are_in_order_where_later_items_are_faster(num_threads, ahead):
    def slow(number):
        time.sleep(0.01 * (5 - number % 6))
        return 3 * number

    assert list(in_order(slow, range(11), num_threads, ahead)) == [3 * n for n in range(11)]
    assert list(in_order(slow, [], num_threads, ahead)) == []


def test_no_more_items_are_read_than_are_asked_for_and_ahead():
    read = []

    def items():
        for number in itertools.count():
            read.append(number)
            yield number

    results = in_order(lambda number: number, items(), 2, 4)
    assert read == []
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    assert len(read) == 4 + 3
    results.close()
    assert not names_of_threads()


def test_an_error_comes_in_place_of_its_result_and_ends_the_threads():
    def divided(number):
        return 12 // (number - 2)

    results = in_order(divided, range(5), 2, 5)
    assert [next(results), next(results)] == [-6, -12]
    with pytest.raises(ZeroDivisionError):
        next(results)
    assert not names_of_threads()


def test_threads_work_at_the_same_time():
    meeting = threading.Barrier(3, timeout=20)
    assert len(list(in_order(lambda _: meeting.wait(), range(6), 3, 3))) == 6
