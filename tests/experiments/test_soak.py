"""What counts as flat."""

from experiments.soak.run import Sample, is_flat, table


def samples(memory, threads=20, files=7):
    """Fifty looks; the memory, threads and files of the last ten are these, of the others 100."""
    early = [Sample(2.0 * look, 100.0, 20, 7) for look in range(1, 41)]
    return early + [Sample(2.0 * look, memory, threads, files) for look in range(41, 51)]


def test_memory_may_grow_a_little_and_handles_not_at_all():
    assert is_flat(samples(101.9))
    assert not is_flat(samples(102.1))
    assert not is_flat(samples(100.0, threads=21))
    assert not is_flat(samples(100.0, files=8))
    assert table(samples(150.0)).splitlines()[-1] == (
        "| 1.4 to 1.7 | 150 (150 to 150) | 20 (20 to 20) | 7 (7 to 7) |"
    )
