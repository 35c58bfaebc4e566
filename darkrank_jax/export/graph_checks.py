"""What an exported graph may hold, looked at before a runtime sees it: no calls, no other files."""

from collections.abc import Iterator
from typing import Any

# By jax.export, for shapes of any batch: compared while compiling, never run.
_CALLS = {"shape_assertion"}
_DIALECTS = {"builtin", "func", "stablehlo"}
# Talk to the host or to other devices.
_REFUSED = {
    f"stablehlo.{name}"
    for name in (
        *("infeed", "outfeed", "send", "recv", "custom_call", "partition_id", "replica_id"),
        *("all_gather", "all_reduce", "all_to_all", "collective_broadcast", "collective_permute"),
        *("reduce_scatter", "cross_replica_sum", "after_all", "create_token"),
    )
}
# ONNX, of which only what can name a file or other code is followed. Message -> number of a field
# -> message in it, or a text.
_FIELDS: dict[str, dict[int, str]] = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 11: "attribute"},
    "node": {5: "attribute", 7: "domain"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {13: "external"},
}
_GRAPH = 7
_DATA_LOCATION = 14
_DOMAINS = {b"", b"ai.onnx"}
_DEEPEST = 50


def stablehlo_fault(artifact: bytes) -> str:
    """What a StableHLO module holds that is not allowed, or nothing.

    Args:
      artifact: the portable artifact, as jax.export serializes a module.

    Returns:
      Half a sentence; empty where all is well.

    Raises:
      Exception: of MLIR, where the artifact is damaged or of a later version.
    """
    from jaxlib.mlir import ir
    from jaxlib.mlir.dialects import stablehlo

    found: list[str] = []

    def look(operation: Any) -> Any:
        name = operation.operation.name
        if name == "stablehlo.custom_call":
            target = str(operation.operation.attributes["call_target_name"]).strip('"')
            if target not in _CALLS:
                found.append(f"calls {target!r}")
        elif name in _REFUSED or name.split(".")[0] not in _DIALECTS:
            found.append(f"holds the operation {name!r}")
        return ir.WalkResult.ADVANCE

    with ir.Context() as context:
        # Or MLIR prints what the file holds to the terminal.
        context.attach_diagnostic_handler(lambda diagnostic: True)
        stablehlo.register_dialect(context)
        module = stablehlo.deserialize_portable_artifact(context, artifact)
        module.operation.walk(look)
    return found[0] if found else ""


def onnx_fault(model: bytes) -> str:
    """What an ONNX model holds that is not allowed, or nothing.

    Initializers whose data lie in other files, and operators of other domains, are looked for in
    all graphs, also those within operators, functions and training. ONNX Runtime alone need be
    installed.

    Args:
      model: of the file.

    Returns:
      Half a sentence; empty where all is well.

    Raises:
      ValueError: it is not a whole protocol buffer.

    Example:
      >>> onnx_fault(bytes([0x3A, 6, 0x2A, 4, 0x6A, 2, 0x0A, 0]))
      'reads data of another file'
    """
    return _fault("model", memoryview(model), _DEEPEST)


def onnx_graph(model: bytes) -> bytes:
    """The bytes of a model's graph, of which its checksum is made."""
    return b"".join(bytes(data) for number, data in _fields(memoryview(model)) if number == _GRAPH)


def _fault(kind: str, message: memoryview, deepest: int) -> str:
    """What a message of a kind holds that is not allowed, or nothing."""
    if not deepest:
        raise ValueError("graphs lie too deep in each other")
    for number, data in _fields(message):
        if kind == "tensor" and number == _DATA_LOCATION and data:
            return "reads data of another file"
        inner = _FIELDS[kind].get(number)
        if inner is None or isinstance(data, int):
            continue
        if inner == "external":
            return "reads data of another file"
        if inner == "domain":
            if bytes(data) not in _DOMAINS:
                return f"has an operator of {bytes(data).decode(errors='replace')!r}"
        elif fault := _fault(inner, data, deepest - 1):
            return fault
    return ""


def _fields(message: memoryview) -> Iterator[tuple[int, memoryview | int]]:
    """Number and content of each field of a protocol buffer; numbers of fixed size as 0."""
    place = 0
    while place < len(message):
        key, place = _varint(message, place)
        number, wire = key >> 3, key & 7
        if not number or key >= 2**32:
            raise ValueError("a field has no number")
        if wire == 0:
            value, place = _varint(message, place)
            yield number, value
            continue
        if wire == 2:
            size, place = _varint(message, place)
        elif wire in (1, 5):
            size = 8 if wire == 1 else 4
        else:
            raise ValueError(f"a field has the unknown kind {wire}")
        if place + size > len(message):
            raise ValueError("a field is cut off")
        yield number, message[place : place + size] if wire == 2 else 0
        place += size


def _varint(message: memoryview, place: int) -> tuple[int, int]:
    """A number of seven bits a byte, and the place after it."""
    value = 0
    for shift in range(0, 70, 7):
        if place >= len(message):
            break
        byte = message[place]
        value |= (byte & 0x7F) << shift
        place += 1
        if byte < 0x80:
            return value, place
    raise ValueError("a number is cut off")
