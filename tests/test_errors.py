from darkrank_jax.errors import nearest


def test_lists_all_names_when_none_is_near():
    assert nearest("zzz", ["b", "a"]) == "valid: a, b"


def test_names_the_nearest():
    assert nearest("embeding_dim", ["embedding_dim", "width"]) == "did you mean 'embedding_dim'?"
