"""The steps of both libraries have the same losses, and the table says what was measured."""

import jax.numpy as jnp
import numpy as np
import pytest

from darkrank_jax.losses import combine
from darkrank_jax.runs.program import Operation
from experiments.step_anatomy import batch, compiled, run


@pytest.mark.slow
def test_the_losses_of_both_libraries_are_the_same():
    torch = pytest.importorskip("torch")
    pytest.importorskip("pytorch_metric_learning")
    from experiments.step_anatomy import others

    sizes = batch.Sizes(12, 32, "float32")
    student, teacher = batch.embeddings(sizes)
    labels = batch.images(sizes)[1][:12]
    theirs = others._losses(12, torch.as_tensor(labels).long(), "cpu")
    for name, options in batch.LOSSES.items():
        arrays = {"embeddings": student, "teacher_embeddings": teacher, "labels": labels}
        total, _ = combine({name: options | {"weight": 1.0}})(
            {key: jnp.asarray(value) for key, value in arrays.items()}, step=0, key=None
        )
        expected = theirs[name](torch.as_tensor(student), torch.as_tensor(teacher))
        np.testing.assert_allclose(total, float(expected), rtol=1e-4, err_msg=name)


def test_the_table_has_shares_of_our_step():
    parts = {"data": 0.02, "teacher": 0.1, "student forward": 0.06, "student backward": 0.14}
    parts |= dict.fromkeys(batch.LOSSES, 0.001) | {"all losses": 0.004, "optimizer": 0.01}
    steps = {"step": 0.4, "step, teacher stored": 0.21, "step, student alone": 0.2}
    times = {"ours": parts | steps, "eager": {"teacher": 0.05} | dict.fromkeys(steps, 0.5)}
    lines = run.table(times, 32).splitlines()
    assert lines[0] == "| part, ms | ours | PyTorch eager | share of ours |"
    assert "| data | 20.00 |  | 5.0% |" in lines
    assert "| teacher | 100.00 | 50.00 | 25.0% |" in lines
    assert "| all losses | 4.00 |  | 1.0% |" in lines
    assert lines[-2:] == [
        "| images/s | 80.0 | 64.0 | |",
        "| teacher stored / student alone | 1.050 | 1.000 | |",
    ]


def test_what_operations_take_is_summed_by_parts():
    names = {
        "jit(train_step)/teacher/EmbeddingModel/x": (1, 5000),
        "jit(train_step)/transpose(jvp(rkd_angle))/while/dot": (21, 10),
        "jit(train_step)/jvp(EmbeddingModel)/head/add": (3, 100),
        "jit(train_step)/transpose(jvp(EmbeddingModel))/y": (1, 2000),
        "jit(train_step)/optimizer/mul": (1, 290),
        "": (1, 200),
    }
    ran = [Operation(name, times, 7, cycles) for name, (times, cycles) in names.items()]
    found = compiled.by_part(ran, "cycles")
    assert found == {
        "teacher": 5000, "rkd_angle": 210, "student forward": 300, "student backward": 2000,
        "optimizer": 290, "": 200,
    }  # fmt: skip
    assert compiled.by_part(ran, "bytes")["rkd_angle"] == 21 * 7
    lines = compiled.table(found, "thousand cycles", 1e3).splitlines()
    assert lines[0] == "| part | thousand cycles | share |"
    assert "| teacher | 5.0 | 62.5% |" in lines
    assert "| rkd_angle | 0.2 | 2.6% |" in lines
    assert "| all losses | 0.2 | 2.6% |" in lines
    assert lines[-2:] == ["| rest | 0.2 | 2.5% |", "| step | 8.0 | 100.0% |"]
