"""Settings of the whole test run; they must stand before JAX starts its first device."""

import jax
import pytest

# Four simulated devices: every test of training runs on a real mesh, also on a laptop.
jax.config.update("jax_num_cpu_devices", 4)
# (3,) + (4, 3) silently broadcasts in NumPy; here it is a fault.
jax.config.update("jax_numpy_rank_promotion", "raise")


@pytest.fixture
def x64():
    """Runs one test in float64, for comparisons with golden values."""
    with jax.enable_x64(True):
        yield
