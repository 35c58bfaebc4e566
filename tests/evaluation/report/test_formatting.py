"""How numbers and names are written."""

import pytest

from darkrank_jax.evaluation.report import formatting


@pytest.mark.parametrize(
    ("function", "value", "text"),
    [
        ("metric_name", "tar_at_far_0.001", "TAR@FAR 0.001"),
        ("metric_name", "cmc_at_10", "CMC@10"),
        ("metric_name", "mean_inverse_negative_penalty", "mINP"),
        ("metric_name", "map_at_r_of_64", "MAP@R of 64 components"),
        ("metric_name", "share_of_all", "share of all"),
        ("metric_name", "some_new_metric", "some new metric"),
        ("percent", -0.0567, "\N{MINUS SIGN}5.7\xa0%"),
        ("percent", 1.0, "100.0\xa0%"),
        ("points", -0.12349, "\N{MINUS SIGN}12.3"),
        ("points", 0.0, "+0.0"),
        ("p_value", 0.001, "p = .001"),
        ("p_value", 0.00099, "p < .001"),
        ("p_value", 1.0, "p = 1.000"),
        ("count", 10.4, "10"),
        ("count", 9.96, "10.0"),
        ("count", 12345.0, "12,345"),
        ("duration", 59.94, "59.9\xa0s"),
        ("duration", 60, "1.0\xa0min"),
        ("duration", 3600, "1.0\xa0h"),
    ],
)
def test_a_number_or_name_is_written_as_the_field_does(function, value, text):
    assert getattr(formatting, function)(value) == text


def test_an_interval_with_signs_has_no_dash():
    assert formatting.span(0.1, 0.2, formatting.percent) == "10.0\xa0%–20.0\xa0%"
    assert formatting.span(0.1, 0.2, formatting.points) == "+10.0 to +20.0"
    assert formatting.span(-0.1, 0.2, formatting.percent).split(" to ")[1] == "20.0\xa0%"
