import json
import re
import struct
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from safetensors import flax, safe_open
from safetensors.numpy import load_file, save_file

from darkrank_jax.errors import UserError
from darkrank_jax.models import weight_files
from darkrank_jax.models.pretrained import detect_resnet, load_linear, load_resnet, load_weights
from darkrank_jax.models.resnet import ResNet
from darkrank_jax.models.vit import ViT

GOLDEN = Path(__file__).parent.parent / "golden"
BASIC = ResNet((2, 2, 2, 2), False, width=8)
BOTTLENECK = ResNet((3, 4, 2, 2), True, width=8)


@pytest.fixture
def tensors():
    return load_file(GOLDEN / "resnet_basic.safetensors")


def hugging_face(name):
    """A name of torchvision's as transformers' ResNetModel has it."""
    for pattern, other in (
        (r"^(conv|bn)1\.", r"embedder.embedder.\1."),
        (
            r"^layer(\d)\.(\d+)\.downsample\.([01])\.",
            lambda m: f"encoder.stages.{int(m[1]) - 1}.layers.{m[2]}.shortcut.{'cb'[int(m[3])]}.",
        ),
        (
            r"^layer(\d)\.(\d+)\.(conv|bn)(\d)\.",
            lambda m: f"encoder.stages.{int(m[1]) - 1}.layers.{m[2]}.layer.{int(m[4]) - 1}.{m[3]}.",
        ),
        (r"\.(conv|c)\.", ".convolution."),
        (r"\.(bn|b)\.", ".normalization."),
        (r"^fc\.", "classifier.1."),
    ):
        name = re.sub(pattern, other, name)
    return name


def same(left, right):
    jax.tree.map(np.testing.assert_array_equal, left, right)


def refusal(function, *arguments, **options):
    with pytest.raises(UserError) as error:
        function(*arguments, **options)
    assert "\n" not in str(error.value)
    return str(error.value)


def outcome(function, *arguments):
    """The line of a refusal, or nothing."""
    try:
        function(*arguments)
    except UserError as error:
        return str(error)
    return ""


@pytest.mark.parametrize(
    ("name", "backbone"), [("resnet_basic", BASIC), ("resnet_bottleneck", BOTTLENECK)]
)
def test_every_stage_agrees_with_another_implementation(name, backbone):
    golden, path = np.load(GOLDEN / f"{name}.npz"), GOLDEN / f"{name}.safetensors"
    variables = load_resnet(path)
    assert detect_resnet(path) == backbone
    same(variables, load_resnet(path, backbone))
    maps = jax.jit(lambda v, x: backbone.apply(v, x, train=False))(
        variables, jnp.asarray(golden["images_nhwc"])
    )
    assert len(maps) == 5
    for stage, found in enumerate(maps):
        expected = golden[f"stage_{stage}"]
        np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max())
    np.testing.assert_allclose(maps[-1].mean(axis=(1, 2)), golden["pooled"], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "rename",
    [
        lambda name: f"module.{name}",
        hugging_face,
        lambda name: f"resnet.{hugging_face(name)}".replace("resnet.classifier", "classifier"),
    ],
    ids=["DataParallel", "ResNetModel", "ResNetForImageClassification"],
)
@pytest.mark.parametrize("name", ["resnet_basic", "resnet_bottleneck"])
def test_other_names_of_the_same_network_are_told_by_the_file(name, rename, tmp_path):
    tensors = load_file(GOLDEN / f"{name}.safetensors")
    tensors |= {"fc.weight": np.ones((5, 4)), "fc.bias": np.ones(5)}
    tensors["bn1.num_batches_tracked"] = np.asarray(3)
    path = tmp_path / "renamed.safetensors"
    save_file({rename(key): tensor for key, tensor in tensors.items()}, path)
    original = GOLDEN / f"{name}.safetensors"
    same(load_resnet(path), load_resnet(original))
    assert detect_resnet(path) == detect_resnet(original)


def test_of_several_networks_the_prefix_names_one(tensors, tmp_path):
    path = tmp_path / "several.safetensors"
    student = {f"student.{name}": tensor for name, tensor in tensors.items()}
    teacher = {f"teacher.{name}": np.asarray(tensor + 1) for name, tensor in tensors.items()}
    save_file({**student, **teacher, "loss.margin": np.ones(1)}, path)
    line = refusal(load_resnet, path)
    assert line.startswith(
        f"{path}: is ambiguous, since it holds several networks: 'student.' with"
    )
    assert "and 'teacher.' with torchvision's or timm's names; give the prefix of one" in line
    same(load_resnet(path, prefix="student."), load_resnet(GOLDEN / "resnet_basic.safetensors"))
    line = refusal(load_resnet, path, prefix="tutor.")
    assert f"{path}: holds no ResNet: no tensor that begins with 'tutor.' has torchvis" in line


def test_names_of_two_kinds_in_one_file_are_ambiguous(tensors, tmp_path):
    path = tmp_path / "both.safetensors"
    save_file({**tensors, **{hugging_face(name): t for name, t in tensors.items()}}, path)
    line = refusal(load_resnet, path, BASIC)
    assert "'' with Hugging Face's names and '' with torchvision's or timm's names" in line


@pytest.mark.parametrize("stem", ["strided", "small"])
def test_a_3x3_stem_may_be_either_and_is_asked_for(tensors, tmp_path, stem):
    path = tmp_path / "small.safetensors"
    save_file({**tensors, "conv1.weight": tensors["conv1.weight"][:, :, 2:5, 2:5].copy()}, path)
    backbone = detect_resnet(path, stem=stem)
    assert backbone == ResNet((2, 2, 2, 2), False, width=8, stem=stem)
    same(load_resnet(path), load_resnet(path, backbone))
    line = refusal(detect_resnet, path)
    assert f"{path}: is ambiguous, since its 3x3 stem may be 'strided' or 'small'" in line


def test_a_stem_of_several_convolutions_is_refused(tensors, tmp_path):
    path = tmp_path / "deep.safetensors"
    save_file({"conv1.0.weight": tensors.pop("conv1.weight"), **tensors}, path)
    assert f"{path}: has no conv1.weight; give a ResNet whose stem is" in refusal(load_resnet, path)


@pytest.mark.parametrize("suffix", ["pth", "pt", "bin", "ckpt", "pkl"])
def test_pickles_are_refused_unopened(tmp_path, suffix):
    path = tmp_path / f"weights.{suffix}"
    line = refusal(load_resnet, path, BASIC)
    assert line == (
        f"{path}: is a pickle, which can run any code and is not opened; docs/pretrained.md turns "
        "it into safetensors"
    )


def test_a_file_without_a_resnet_says_what_it_has(tmp_path):
    path = tmp_path / "other.safetensors"
    save_file({"encoder.weight": np.ones((2, 3)), "encoder.bias": np.ones(2)}, path)
    assert refusal(load_resnet, path) == (
        f"{path}: holds no ResNet: no tensor has torchvision's or timm's or Hugging Face's names; "
        "it has encoder.bias, encoder.weight"
    )


@pytest.mark.parametrize("shape", [(16, 16, 3), (64, 64, 3), (48, 24, 3)])
def test_position_embeddings_are_resized_to_the_image(tmp_path, shape):
    """As Pillow resizes floats, which filters as timm does."""
    rng, path = np.random.default_rng(6), tmp_path / "vit.safetensors"
    small = ViT(width=64, depth=0, patch=8)
    like = jax.eval_shape(lambda: small.init(jax.random.key(0), jnp.zeros((1, 32, 32, 3)), False))
    tensors = {
        "cls_token": rng.normal(size=(1, 1, 64)),
        "pos_embed": rng.normal(size=(1, 17, 64)),
        "patch_embed.proj.weight": rng.normal(size=(64, 3, 8, 8)),
        "patch_embed.proj.bias": rng.normal(size=64),
        "norm.weight": rng.normal(size=64),
        "norm.bias": rng.normal(size=64),
    }
    assert len(tensors) == len(jax.tree.leaves(like))
    save_file({name: tensor.astype(np.float32) for name, tensor in tensors.items()}, path)
    found = load_weights(path, small, image_shape=shape)["params"]["pos_embed"]
    np.testing.assert_array_equal(found[:, 0], tensors["pos_embed"][:, 0].astype(np.float32))
    high, wide = shape[0] // 8, shape[1] // 8
    for channel in range(0, 64, 21):
        grid = tensors["pos_embed"][0, 1:, channel].astype(np.float32).reshape(4, 4)
        expected = Image.fromarray(grid).resize((wide, high), Image.Resampling.BICUBIC)
        resized = found[0, 1:, channel].reshape(high, wide)
        np.testing.assert_allclose(resized, np.asarray(expected), atol=1e-5)


def test_a_linear_layer_is_read_by_its_name(tmp_path):
    path = tmp_path / "head.safetensors"
    weight, bias = np.arange(6.0).reshape(2, 3), np.array([7.0, 8.0])
    save_file(
        {"fc.weight": weight, "fc.bias": bias, "embed.weight": weight, "n.weight": bias}, path
    )
    layer = load_linear(path, "fc")
    np.testing.assert_array_equal(layer["kernel"], weight.T)
    np.testing.assert_array_equal(layer["bias"], bias)
    np.testing.assert_array_equal(load_linear(path, "embed")["bias"], [0, 0])
    for name in ("head", "n"):
        line = refusal(load_linear, path, name)
        assert line == f"{path}: has no linear layer {name!r}; it has embed, fc"


def test_bfloat16_weights_come_in_as_float32(tensors, tmp_path):
    path = tmp_path / "bfloat16.safetensors"
    flax.save_file({name: jnp.asarray(t, jnp.bfloat16) for name, t in tensors.items()}, path)
    kernel = load_resnet(path)["params"]["conv1"]["kernel"]
    assert kernel.dtype == np.float32
    expected = tensors["conv1.weight"].transpose(2, 3, 1, 0)
    np.testing.assert_allclose(kernel, expected, rtol=1e-2, atol=1e-6)


def test_half_precision_weights_come_in_as_float32(tensors, tmp_path):
    path = tmp_path / "half.safetensors"
    save_file({name: tensor.astype(np.float16) for name, tensor in tensors.items()}, path)
    kernel = load_resnet(path, BASIC)["params"]["conv1"]["kernel"]
    assert kernel.dtype == np.float32
    expected = tensors["conv1.weight"].transpose(2, 3, 1, 0)
    np.testing.assert_allclose(kernel, expected, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (lambda t: t.pop("layer2.0.downsample.0.weight"), "missing: layer2.0.downsample.0.weight;"),
        (lambda t: t.update({"layer1.0.se": t["bn1.bias"]}), "surplus: layer1.0.se;"),
        (
            lambda t: t.update({"conv1.weight": t["conv1.weight"][:, :1].copy()}),
            "of another shape: conv1.weight is (8, 1, 7, 7), not (8, 3, 7, 7);",
        ),
    ],
)
def test_tensors_that_differ_are_named(tensors, tmp_path, change, line):
    change(tensors)
    path = tmp_path / "other.safetensors"
    save_file(tensors, path)
    with pytest.raises(UserError) as error:
        load_resnet(path, BASIC)
    assert f"{path}: is of another architecture; {line}" in str(error.value)
    assert "\n" not in str(error.value)


def test_many_differences_are_counted():
    deeper = ResNet((3, 4, 6, 3), False, width=16)
    with pytest.raises(UserError, match=r"missing: .* and 77 more; of another shape: .* more;"):
        load_resnet(GOLDEN / "resnet_basic.safetensors", deeper)


def saved(tensors, path):
    save_file({name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}, path)
    return path


ORIGINAL = GOLDEN / "resnet_basic.safetensors"


def test_an_explicit_empty_prefix_takes_plain_names_beside_a_copy(tensors, tmp_path):
    copy = {f"ema.{name}": tensor + 1 for name, tensor in tensors.items()}
    path = saved(tensors | copy, tmp_path / "copy.safetensors")
    line = refusal(load_resnet, path)
    assert "'' with torchvision's or timm's names and 'ema.' with" in line
    assert "leave the others out by weights.ignore" in line
    for options in ({"prefix": ""}, {"ignore": ("ema.",)}):
        same(load_resnet(path, **options), load_resnet(ORIGINAL))
        assert detect_resnet(path, **options) == BASIC
    found = load_resnet(path, prefix="ema.")["batch_stats"]["bn1"]["mean"]
    np.testing.assert_array_equal(found, tensors["bn1.running_mean"] + 1)


def test_a_copy_under_the_named_prefix_is_left_out(tensors, tmp_path):
    network = {f"model.{name}": tensor for name, tensor in tensors.items()}
    copy = {f"model.ema.{name}": tensor + 1 for name, tensor in tensors.items()}
    path = saved(network | copy, tmp_path / "nested.safetensors")
    same(load_resnet(path, prefix="model."), load_resnet(ORIGINAL))


@pytest.mark.parametrize("prefix", ["", "module.", "backbone."])
@pytest.mark.parametrize(
    ("beside", "ignore"),
    [
        ({"bottleneck.weight": 64, "bottleneck.running_mean": 64}, "('bottleneck.',)"),
        ({"projector.0.weight": 7, "predictor.2.bias": 3}, "('predictor.', 'projector.')"),
        ({"queue": 5}, "('queue',)"),
    ],
)
def test_tensors_beside_a_whole_network_are_named_and_ignored(
    tensors, tmp_path, prefix, beside, ignore
):
    tensors |= {name: np.ones(size) for name, size in beside.items()}
    named = {prefix + name: tensor for name, tensor in tensors.items()}
    path = saved(named, tmp_path / "neck.safetensors")
    line = refusal(load_resnet, path)
    first = f"{prefix}{min(beside)}"
    assert line.startswith(f"{path}: holds a whole ResNet, and beside it {first}")
    assert line.endswith(f"to leave these out, set weights.ignore to {ignore}")
    given = tuple(re.findall(r"'([^']+)'", ignore))
    same(load_resnet(path, ignore=given), load_resnet(ORIGINAL))
    same(load_resnet(path, ignore=[prefix + first for first in given]), load_resnet(ORIGINAL))
    same(load_weights(path, BASIC, image_shape=(32, 32, 3), ignore=given), load_resnet(ORIGINAL))


def test_ignoring_parts_of_the_network_itself_reports_them_missing(tmp_path):
    line = refusal(load_resnet, ORIGINAL, BASIC, ignore=("layer2.0.",))
    assert f"{ORIGINAL}: is of another architecture; missing: layer2.0." in line


@pytest.mark.parametrize(
    ("dtype", "shown"), [("int8", "I8"), ("uint8", "U8"), ("int64", "I64"), ("bool", "BOOL")]
)
def test_weights_of_integers_are_refused(tensors, tmp_path, dtype, shown):
    for name in ("conv1.weight", "layer1.0.conv1.weight"):
        tensors[name] = np.rint(100 * tensors[name]).astype(dtype)
    path = saved(tensors, tmp_path / "integers.safetensors")
    assert refusal(load_resnet, path).startswith(
        f"{path}: weights must be float16, bfloat16, float32 or float64 (got {shown} in "
        "conv1.weight, layer1.0.conv1.weight); convert them"
    )


def test_integers_in_tensors_that_are_not_read_do_no_harm(tensors, tmp_path):
    tensors |= {"fc.weight": np.ones((2, 64), np.int8), "steps": np.ones((), np.int64)}
    path = saved(tensors, tmp_path / "counts.safetensors")
    same(load_resnet(path, ignore=("steps",)), load_resnet(ORIGINAL))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", ["conv1.weight", "layer3.1.bn2.running_var", "bn1.bias"])
def test_weights_that_are_not_finite_are_refused(tensors, tmp_path, value, name):
    tensors[name].ravel()[-1] = value
    path = saved(tensors, tmp_path / "diverged.safetensors")
    assert refusal(load_resnet, path).startswith(
        f"{path}: weights must be finite (got NaN or infinity in {name}); give a file"
    )


def test_doubles_are_rounded_and_those_beyond_float32_refused(tensors, tmp_path):
    doubles = {name: tensor.astype(np.float64) for name, tensor in tensors.items()}
    path = saved(doubles, tmp_path / "doubles.safetensors")
    same(load_resnet(path), load_resnet(ORIGINAL))
    doubles["bn1.weight"][2] = 1e300
    assert "(got NaN or infinity in bn1.weight)" in refusal(load_resnet, saved(doubles, path))


def test_negative_variances_are_refused(tensors, tmp_path):
    tensors["layer1.0.bn1.running_var"][3] = -0.5
    path = saved(tensors, tmp_path / "negative.safetensors")
    assert refusal(load_resnet, path).startswith(
        f"{path}: variances must be at least 0 (got -0.5 in layer1.0.bn1.running_var); the file"
    )


def test_a_heads_integers_and_sizes_are_checked(tmp_path):
    layer = {"fc.weight": np.ones((2, 3), np.int8), "fc.bias": np.ones(2)}
    path = saved(layer, tmp_path / "head.safetensors")
    assert "(got I8 in fc.weight)" in refusal(load_linear, path, "fc")
    saved({"fc.weight": np.ones((2, 3)), "fc.bias": np.ones(3)}, path)
    assert "fc.bias must be of shape (2,) (got (3,))" in refusal(load_linear, path, "fc")
    saved({"fc.weight": np.ones((2, 3)), "fc.bias": np.array([0, np.nan])}, path)
    assert "(got NaN or infinity in fc.bias)" in refusal(load_linear, path, "fc")


@pytest.mark.parametrize("places", [1, 3, 11])
def test_position_embeddings_of_an_unknown_grid_are_refused(tmp_path, places):
    tensors = {
        "cls_token": np.ones((1, 1, 64)),
        "pos_embed": np.ones((1, places, 64)),
        "patch_embed.proj.weight": np.ones((64, 3, 8, 8)),
        "patch_embed.proj.bias": np.ones(64),
        "norm.weight": np.ones(64),
        "norm.bias": np.ones(64),
    }
    path = saved(tensors, tmp_path / "vit.safetensors")
    small = ViT(width=64, depth=0, patch=8)
    line = refusal(load_weights, path, small, image_shape=(32, 32, 3))
    assert line.startswith(
        f"{path}: pos_embed must be of a square of patches or of the image's 4 x 4 (got {places} "
        "positions, of which 1 of other tokens); give"
    )


def test_names_in_errors_hold_no_escape_sequences(tensors, tmp_path):
    path = saved({**tensors, "a\x1b]0;b\n.c": np.ones(1)}, tmp_path / "names.safetensors")
    line = refusal(load_resnet, path)
    assert r"beside it a\x1b]0;b\x0a.c; " in line
    assert line.isprintable()


def of_header(header, values=b"", size=None):
    """A file with a header as it is given, and the size that it claims."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if size is None else size) + text + values


def entry(dtype, shape, start, end):
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}


DAMAGED = {
    "missing": None,
    "empty": b"",
    "pickle": b"\x80\x04no safetensors",
    "no header": of_header(b""),
    "header of a terabyte": of_header(b"{}", size=10**12),
    "header of 2^63 bytes": of_header(b"{}", size=2**63),
    "list": of_header(b"[1]"),
    "half JSON": of_header(b'{"conv1'),
    "not UTF-8": of_header(b"\xff\xfe{}"),
    "overlap": of_header({"a": entry("F32", [1], 0, 4), "b": entry("F32", [1], 2, 6)}, b"123456"),
    "gap": of_header({"a": entry("F32", [1], 4, 8)}, bytes(8)),
    "cut": of_header({"a": entry("F32", [2], 0, 8)}, bytes(4)),
    "surplus bytes": of_header({"a": entry("F32", [1], 0, 4)}, bytes(8)),
    "exabytes": of_header({"a": entry("F32", [2**40, 2**40], 0, 4)}, bytes(4)),
    "negative": of_header({"a": entry("F32", [-2], 0, 8)}, bytes(8)),
    "unknown type": of_header({"a": entry("F31\n", [1], 0, 4)}, bytes(4)),
}


@pytest.mark.parametrize("state", DAMAGED)
def test_damaged_files_are_refused_in_one_line(tmp_path, state):
    path = tmp_path / "weights.safetensors"
    if DAMAGED[state] is not None:
        path.write_bytes(DAMAGED[state])
    for function, *arguments in ((load_resnet, BASIC), (detect_resnet,), (load_linear, "fc")):
        line = refusal(function, path, *arguments)
        assert line.startswith(f"{path}: cannot be read as safetensors (")
        assert line.isprintable()


def test_every_cut_of_a_file_is_refused_in_one_line(tmp_path):
    whole, path = ORIGINAL.read_bytes(), tmp_path / "cut.safetensors"
    for length in np.linspace(0, len(whole) - 1, 40).astype(int):
        path.write_bytes(whole[:length])
        assert "cannot be read as safetensors" in refusal(load_resnet, path)


def test_a_garbled_header_never_ends_in_a_traceback(tmp_path):
    whole, path = bytearray(ORIGINAL.read_bytes()), tmp_path / "garbled.safetensors"
    size, rng = struct.unpack("<Q", whole[:8])[0], np.random.default_rng(5)
    for place in rng.integers(8, 8 + size, 150):
        garbled = bytearray(whole)
        garbled[place] = rng.integers(256)
        path.write_bytes(garbled)
        assert outcome(load_resnet, path, BASIC).isprintable()


@pytest.mark.parametrize("dtype", ["F8_E4M3", "F8_E5M2", "F8_E8M0"])
def test_float8_is_refused_by_name(tmp_path, dtype):
    path = tmp_path / "float8.safetensors"
    path.write_bytes(of_header({"fc.weight": entry(dtype, [2, 3], 0, 6)}, bytes(6)))
    assert f"(got {dtype} in fc.weight); convert" in refusal(load_linear, path, "fc")


def test_tensors_of_any_number_of_axes_are_refused_by_shape(tmp_path):
    path = tmp_path / "axes.safetensors"
    path.write_bytes(of_header({"conv1.weight": entry("F32", [1] * 200, 0, 4)}, bytes(4)))
    line = refusal(load_resnet, path, BASIC)
    assert "is of another architecture; missing:" in line


def test_a_folder_is_refused(tmp_path):
    assert refusal(load_resnet, tmp_path) == (
        f"{tmp_path}: is a folder without model.safetensors; give the .safetensors file in it"
    )


def test_only_the_networks_own_tensors_are_read(tensors, tmp_path, monkeypatch):
    read = []

    class Counting:
        def __init__(self, *arguments, **options):
            self.file = safe_open(*arguments, **options)

        def __enter__(self):
            self.file.__enter__()
            return self

        def __exit__(self, *error):
            return self.file.__exit__(*error)

        def __getattr__(self, name):
            return getattr(self.file, name)

        def get_tensor(self, name):
            read.append(name)
            return self.file.get_tensor(name)

    others = {"optimizer.step": np.ones(9), "fc.weight": np.ones((4, 64))}
    path = saved(tensors | others, tmp_path / "more.safetensors")
    monkeypatch.setattr(weight_files, "safe_open", Counting)
    load_resnet(path, ignore=("optimizer.",))
    own = (name for name in tensors if not name.endswith("num_batches_tracked"))
    assert sorted(read) == sorted(name for name in own if not name.startswith("fc."))
