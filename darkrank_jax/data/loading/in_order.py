"""Work done ahead by threads, its results in order."""

import itertools
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_order(
    function: Callable[[Item], Result], items: Iterable[Item], num_threads: int, ahead: int
) -> Generator[Result]:
    """Results of a function, one for each item, in the order of the items.

    Args:
      function: of an item; called by the threads.
      items: read by the thread that reads the results, `ahead` of them before the first result.
      num_threads: at least 1.
      ahead: results that are computed, or being computed, before they are asked for; at least 1.

    Yields:
      The results; the threads end when the iterator is closed, exhausted, or meets an error.

    Raises:
      Exception: what `function` raised, in place of the result of its item.

    Example:
      >>> list(in_order(lambda number: number**2, range(5), num_threads=2, ahead=3))
      [0, 1, 4, 9, 16]
    """
    rest = iter(items)
    pool = ThreadPoolExecutor(num_threads, thread_name_prefix="ahead")
    try:
        queue = deque(pool.submit(function, item) for item in itertools.islice(rest, ahead))
        while queue:
            found = queue.popleft().result()
            queue.extend(pool.submit(function, item) for item in itertools.islice(rest, 1))
            yield found
    finally:
        pool.shutdown(cancel_futures=True)
