"""Weights a run begins with."""

import json

from darkrank_jax.training import initial_weights

IMAGENET, SPREAD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def test_images_unlike_those_of_the_settings_are_reported_once_in_a_line(tmp_path, caplog):
    content = {"image_mean": IMAGENET, "image_std": SPREAD, "size": 224, "resample": 3}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(content))
    for mean, std, size in ((0.5, 0.5, (96, 96)), (IMAGENET, SPREAD, (224, 224))):
        initial_weights._report_settings(str(tmp_path), mean, std, size)
    assert [record.getMessage() for record in caplog.records] == [
        f"{tmp_path} was trained on other images, as preprocessor_config.json beside it says, "
        f"resized by bicubic: data.mean is 0.5 and there {IMAGENET}; data.std is 0.5 and there "
        f"{SPREAD}; data.image_size is (96, 96) and there (224, 224)"
    ]
