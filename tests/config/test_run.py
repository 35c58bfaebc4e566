"""A run states every field."""

from configs import default
from darkrank_jax.config.fields import field_types
from darkrank_jax.config.run import Data, Evaluation, Run


def test_default_states_every_field_and_no_other():
    config = default.get_config()
    assert set(config) == set(field_types(Run))
    assert set(config.data) == set(field_types(Data))
    assert set(config.evaluation) == set(field_types(Evaluation))
