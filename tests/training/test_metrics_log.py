from darkrank_jax.training.metrics_log import open_log, read_log


def test_rows_past_the_resumed_step_are_dropped(tmp_path):
    with open_log(tmp_path, 0) as write:
        for step in (10, 20, 30):
            write(step, {"loss": step / 8})
    with open_log(tmp_path, 20) as write:
        write(30, {"loss": 7.5, "validation/recall_at_1": 0.25})
    assert read_log(tmp_path) == [
        {"step": 10, "loss": 1.25},
        {"step": 20, "loss": 2.5},
        {"step": 30, "loss": 7.5, "validation/recall_at_1": 0.25},
    ]


def test_a_half_written_last_row_is_dropped(tmp_path):
    with open_log(tmp_path, 0) as write:
        write(10, {"loss": 1.0})
    with (tmp_path / "metrics.jsonl").open("a") as rows:
        rows.write('{"step": 20, "lo')
    assert read_log(tmp_path) == [{"step": 10, "loss": 1.0}]


def test_nothing_trained_has_no_rows(tmp_path):
    assert read_log(tmp_path) == []


def test_tensorboard_gets_its_events(tmp_path):
    with open_log(tmp_path, 0) as write:
        write(10, {"loss": 1.0})
    (events,) = (tmp_path / "tensorboard").iterdir()
    assert b"loss" in events.read_bytes()
