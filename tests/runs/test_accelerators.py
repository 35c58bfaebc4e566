"""Accelerators that are not there: how XLA's compilers are told of them."""

import jax
import pytest
from jax.experimental.topologies import TopologyDescription

from darkrank_jax.errors import UserError
from darkrank_jax.runs import accelerators
from darkrank_jax.runs.accelerators import ACCELERATORS, absent_devices, has_compiler, name_of


@pytest.fixture
def asked(monkeypatch):
    """What is asked of JAX, in place of its answer."""
    found = []

    def get_topology_desc(name, platform, **options):
        found.append((name, platform, options))
        return TopologyDescription([name])

    monkeypatch.setattr(accelerators.topologies, "get_topology_desc", get_topology_desc)
    monkeypatch.setattr(accelerators.os, "environ", {})
    return found


@pytest.mark.parametrize(
    ("name", "count", "expected", "host"),
    [
        ("tpu_v5e", 1, "v5e:1x1", [1, 1, 1]),
        ("tpu_v5e", 2, "v5e:2x1", [2, 1, 1]),
        ("tpu_v6e", 8, "v6e:4x2", [2, 2, 1]),
        ("tpu_v5e", 256, "v5e:16x16", [2, 2, 1]),
        ("tpu_v5p", 4, "v5p:2x2x1", [2, 2, 1]),
        ("tpu_v4", 8, "v4:2x2x2", [2, 2, 1]),
        ("tpu_v4", 32, "v4:4x4x2", [2, 2, 1]),
    ],
)
def test_a_slice_is_as_near_to_a_cube_as_it_can(name, count, expected, host, asked):
    assert absent_devices(ACCELERATORS[name], count) == [expected]
    ((_, platform, options),) = asked
    assert platform == "tpu"
    assert options.pop("chips_per_host_bounds") == host
    assert options == ({"chip_config_name": "megacore"} if name == "tpu_v4" else {})


def test_gpus_come_in_hosts_of_eight(asked):
    for count in (3, 8, 24):
        absent_devices(ACCELERATORS["l4"], count)
    assert [options["topology"] for _, _, options in asked] == ["1x1x3", "1x1x8", "1x3x8"]
    config = asked[0][2]["target_config"]
    assert "cuda_compute_capability { major: 8 minor: 9 }" in config
    assert 'device_description_str: "NVIDIA L4"' in config
    assert "device_memory_size: 24000000000" in config


@pytest.mark.parametrize(
    ("name", "count", "line"),
    [
        (
            "tpu_v5e",
            12,
            r"must be a power of two for a slice of TPU v5 lite \(got 12\); give 8 or 16",
        ),
        ("a100", 20, r"must be a multiple of 8, a host's NVIDIA A100-SXM4-80GB \(got 20\)"),
    ],
)
def test_numbers_that_they_do_not_come_in_are_refused(name, count, line, asked):
    with pytest.raises(UserError, match=f"^--devices: {line}$"):
        absent_devices(ACCELERATORS[name], count)
    assert not asked


def test_a_compiler_is_there_where_its_module_is_and_jax_is_new_enough(monkeypatch):
    h100 = ACCELERATORS["h100"]
    monkeypatch.setattr(accelerators, "is_installed", lambda module: module.endswith("cuda12"))
    monkeypatch.setattr(jax, "__version_info__", (0, 10, 0))
    assert has_compiler(h100)
    assert not has_compiler(ACCELERATORS["tpu_v4"])
    monkeypatch.setattr(jax, "__version_info__", (0, 9, 2))
    assert not has_compiler(h100)


def test_looks_for_modules_without_importing_them(tmp_path, monkeypatch):
    (tmp_path / "some_plugins" / "cuda").mkdir(parents=True)
    (tmp_path / "some_plugins" / "cuda" / "__init__.py").write_text("raise ImportError")
    monkeypatch.syspath_prepend(tmp_path)
    assert accelerators.is_installed("some_plugins.cuda")
    assert not accelerators.is_installed("some_plugins.rocm")
    assert not accelerators.is_installed("no_plugins.cuda")


def test_every_accelerator_is_known_by_what_jax_calls_it():
    for name, accelerator in ACCELERATORS.items():
        assert name_of(accelerator.kind) == name
        assert name_of(f"{accelerator.kind} and more") == name
    assert name_of("cpu") == name_of("TPU v50") == ""
