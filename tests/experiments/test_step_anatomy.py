"""The steps of both libraries have the same losses, and the table says what was measured."""

import jax.numpy as jnp
import numpy as np
import pytest

from darkrank_jax.losses import combine
from experiments.step_anatomy import batch, compiled, run


@pytest.mark.slow
def test_the_losses_of_both_libraries_are_the_same():
    torch = pytest.importorskip("torch")
    pytest.importorskip("pytorch_metric_learning")
    from experiments.step_anatomy import others

    sizes = batch.Sizes(12, 32, "float32")
    student, teacher = batch.embeddings(sizes)
    labels = batch.images(sizes)[1][:12]
    theirs = others._losses(12, torch.as_tensor(labels).long())
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


PROGRAM = """HloModule jit_train_step
%fused (p: f32[4]) -> f32[4] {
  ROOT %x = f32[4] negate(%p), metadata={op_name="jit(train_step)/teacher/neg"}
}

%inner_end (p: (s32[])) -> pred[] {
  %seven = s32[]{:T(128)} constant(7)
  ROOT %less = pred[] compare(%p, %seven), direction=LT
}

%inner (p: (s32[], f32[4])) -> (s32[], f32[4]) {
  %d = f32[4] fusion(%p), metadata={op_name="jit(train_step)/transpose(jvp(rkd_angle))/while/dot"}, backend_config={"estimated_cycles":"10"}
}

%outer_end (p: (s32[])) -> pred[] {
  %three = s32[] constant(3)
}

%outer (p: (s32[], f32[4])) -> (s32[], f32[4]) {
  %one = s32[] constant(1)
  %w = (s32[], f32[4]) while(%t), condition=%inner_end, body=%inner, metadata={op_name="a"}
  %e = f32[4] add(%p, %p), metadata={op_name="jit(train_step)/jvp(EmbeddingModel)/head/add"}, backend_config={"estimated_cycles":"100"}
}

ENTRY %main.1 (a: f32[4]) -> (f32[4]) {
  %f = f32[4] fusion(%a), calls=%fused, metadata={op_name="jit(train_step)/teacher/EmbeddingModel/x"}, backend_config={"flags":[],"estimated_cycles":"5000"}
  %v = (s32[], f32[4]) while(%t), condition=%outer_end, body=%outer, metadata={op_name="jit(train_step)/b"}
  %g = f32[4] fusion(%a), metadata={op_name="jit(train_step)/transpose(jvp(EmbeddingModel))/y"}, backend_config={"estimated_cycles":"2000"}
  %o = f32[4] fusion(%a), metadata={op_name="jit(train_step)/optimizer/mul"}, backend_config={"estimated_cycles":"290"}
  ROOT %c = f32[4] all-reduce(%a), backend_config={"estimated_cycles":"200"}
}
"""  # noqa: E501


def test_cycles_of_a_program_are_those_of_its_parts_and_loops_count_as_often_as_they_run():
    found = compiled.cycles(PROGRAM)
    assert found == {
        "teacher": 5000, "rkd_angle": 3 * 7 * 10, "student forward": 3 * 100,
        "student backward": 2000, "optimizer": 290, "": 200,
    }  # fmt: skip
    lines = compiled.table(found).splitlines()
    assert "| teacher | 5.0 | 62.5% |" in lines
    assert "| rkd_angle | 0.2 | 2.6% |" in lines
    assert "| all losses | 0.2 | 2.6% |" in lines
    assert lines[-2:] == ["| rest | 0.2 | 2.5% |", "| step | 8.0 | 100.0% |"]
