"""Operations of programs are read from their text, with what they move and how often they run."""

import jax
import jax.numpy as jnp
import pytest

from darkrank_jax.runs.program import operations

# As compilers for TPUs and GPUs write them.
PROGRAM = """HloModule jit_train_step
%fused (p: f32[4]) -> f32[4] {
  ROOT %x = f32[4] negate(%p), metadata={op_name="jit(train_step)/teacher/neg"}
}

%inner_end (p: (s32[])) -> pred[] {
  %seven = s32[]{:T(128)} constant(7)
  ROOT %less = pred[] compare(%p, %seven), direction=LT
}

%inner (p: (s32[], f32[4])) -> (s32[], f32[4]) {
  %p = f32[4] parameter(0)
  %d = f32[4] fusion(%p), metadata={op_name="jit(train_step)/transpose(jvp(rkd_angle))/while/dot"}, backend_config={"estimated_cycles":"10"}
}

%outer_end (p: (s32[])) -> pred[] {
  %three = s32[] constant(3)
}

%outer (p: (s32[], f32[4])) -> (s32[], f32[4]) {
  %p = f32[4]{0:T(128)} parameter(0)
  %w = (s32[], f32[4]) while(%t), condition=%inner_end, body=%inner, metadata={op_name="a"}
  %e = f32[4] add(%p, %p), metadata={op_name="jit(train_step)/jvp(EmbeddingModel)/head/add"}, backend_config={"estimated_cycles":"100"}
}

ENTRY %main.1 (a: f32[4]) -> (f32[4]) {
  %a = f32[4] parameter(0)
  %both = (f32[4]{0:T(128)}, f32[4]) tuple(%a, %a)
  %f = f32[4] fusion(%a), calls=%fused, metadata={op_name="jit(train_step)/teacher/EmbeddingModel/x"}, backend_config={"flags":[],"estimated_cycles":"5000"}
  %v = (s32[], f32[4]) while(%t), condition=%outer_end, body=%outer, metadata={op_name="jit(train_step)/b"}
  %g = f32[4] fusion(%a), metadata={op_name="jit(train_step)/transpose(jvp(EmbeddingModel))/y"}, backend_config={"estimated_cycles":"2000"}
  %o = f32[4] fusion(%a), metadata={op_name="jit(train_step)/optimizer/mul"}, backend_config={"estimated_cycles":"290"}
  ROOT %c = f32[4] all-reduce(%a), backend_config={"estimated_cycles":"200"}
}
"""  # noqa: E501


def test_operations_of_a_text_and_loops_in_loops():
    ran = {each.name: each[1:] for each in operations(PROGRAM) if each.bytes}
    # Four numbers in and four out; what a line does not define before counts nothing.
    assert ran == {
        "jit(train_step)/teacher/EmbeddingModel/x": (1, 32, 5000),
        "jit(train_step)/transpose(jvp(rkd_angle))/while/dot": (3 * 7, 32, 10),
        "jit(train_step)/jvp(EmbeddingModel)/head/add": (3, 48, 100),
        "jit(train_step)/transpose(jvp(EmbeddingModel))/y": (1, 32, 2000),
        "jit(train_step)/optimizer/mul": (1, 32, 290),
        "": (1, 32, 200),
    }


def test_bytes_are_those_that_xla_counts():
    def function(x, y):
        z = jnp.tanh(x @ y)
        return z, jnp.sort(z, axis=0)

    shapes = jnp.ones((50, 30)), jnp.ones((30, 20), jnp.bfloat16)
    program = jax.jit(function).lower(*shapes).compile()
    found = sum(each.times * each.bytes for each in operations(program.as_text()))
    assert found == pytest.approx(program.cost_analysis()["bytes accessed"], rel=0.1)


def test_a_loop_counts_as_often_as_it_runs():
    def function(x, times):
        return jax.lax.fori_loop(0, times, lambda _, x: jnp.sin(x) @ x, x)

    def bytes_of(times):
        text = jax.jit(function, static_argnums=1).lower(jnp.ones((40, 40)), times).compile()
        return sum(each.times * each.bytes for each in operations(text.as_text()))

    once = bytes_of(8) - bytes_of(7)
    # A sine, read and written, and a product of two.
    assert once >= 4 * 1600 * (2 + 3)
    assert bytes_of(17) - bytes_of(7) == 10 * once
