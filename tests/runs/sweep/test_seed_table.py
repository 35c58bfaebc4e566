"""Tables of experiments: their figures, and files that are written whole or not at all."""

import numpy as np

from darkrank_jax.runs.sweep import seed_table as tables


def rows():
    for name, lead in (("a", 0.0), ("b", 0.1)):
        for seed, noise in ((0, 0.0), (1, 0.02)):
            for network, level in (("teacher", 0.8), ("student", 0.5 + lead)):
                yield {"name": name, "seed": seed, "network": network, "nmi": level + noise}


def test_the_table_has_the_spread_and_a_shared_teacher_once(tmp_path):
    lines = tables.table(list(rows()), ["nmi"]).splitlines()
    deviation = np.std([0.0, 0.02], ddof=1)
    assert lines[2:] == [
        f"| a | teacher | 2 | 0.810 ± {deviation:.3f} |",
        f"| a | student | 2 | 0.510 ± {deviation:.3f} |",
        f"| b | student | 2 | 0.610 ± {deviation:.3f} |",
    ]
    tables.write_rows(tmp_path / "rows.csv", list(rows()))
    written = (tmp_path / "rows.csv").read_text().splitlines()
    assert written[:2] == ["name,seed,network,nmi", "a,0,teacher,0.8"]
    assert len(written) == 9
