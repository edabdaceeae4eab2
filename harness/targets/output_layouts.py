"""Output layouts: which axis of a layer's output holds the units, and conversion to one layout.

Outputs are [B, units, h, w] (convolutions), [B, h, w, units] (Swin, ConvNeXt), [B, T, units]
(transformers) or [B, units]. Nothing is guessed: an ambiguous output is an error that names the setting
which resolves it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

from ..errors import InputError, nearest, one_of
from ..probe import Kind

if TYPE_CHECKING:
    from torch import Tensor, nn

Tokens = Literal["class", "mean", "grid"]
Layout = Literal["nchw", "nhwc"]

CLASS_TOKENS = ("cls_token", "class_token", "class_embedding")
OTHER_PREFIX_TOKENS = (
    "dist_token",
    "distillation_token",
    "reg_token",
    "register_tokens",
    "storage_tokens",
)


@dataclass(frozen=True)
class LayerSpec:
    """A requested layer, and how to read it where its output is ambiguous.

    Attributes:
        name: dotted path of the module.
        tokens: what to read of a token layer: the class token, the mean of the patch tokens, or their
            grid.
        layout: order of the axes of a four-dimensional output.
        grid: (h, w) of the patch tokens, if they are not a square.
        prefix_tokens: number of tokens before the patches (class, distillation, registers).
        call: which of its runs (from 0), for a module that runs several times in one forward pass.

    Raises:
        InputError: if a value has the wrong type or is out of range.
    """

    name: str
    tokens: Tokens | None = None
    layout: Layout | None = None
    grid: tuple[int, int] | None = None
    prefix_tokens: int | None = None
    call: int | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name:
            raise InputError(f"a layer needs a name, got {self.name!r}")
        for setting, choices in (("tokens", get_args(Tokens)), ("layout", get_args(Layout))):
            one_of(f"layer {self.name}: {setting}", getattr(self, setting), (None, *choices))
        for setting in ("prefix_tokens", "call"):
            value = getattr(self, setting)
            if value is not None and (not isinstance(value, int) or value < 0):
                raise InputError(
                    f"layer {self.name}: {setting} is {value!r}", "use an integer of at least 0"
                )
        if self.grid is not None:
            object.__setattr__(self, "grid", _pair(self.name, self.grid))

    @classmethod
    def of(cls, value: str | int | Mapping[str, Any] | LayerSpec) -> LayerSpec:
        """Returns the spec of a layer given by name, or by a mapping of this class's attributes.

        The modules of a `Sequential` have numbers for names, which may be given as integers.

        Raises:
            InputError: if the mapping has an unknown setting or an invalid value.
        """
        if isinstance(value, LayerSpec):
            return value
        if isinstance(value, (str, int, float)):
            return cls(_name(value))
        if not isinstance(value, Mapping) or "name" not in value:
            raise InputError(
                f"cannot read the layer {value!r}", "give a name, or a mapping with the key `name`"
            )
        known = [field.name for field in fields(cls)]
        for key in value:
            if key not in known:
                raise InputError(
                    f"layer {value['name']}: unknown setting {key!r}",
                    nearest(str(key), known) or f"use {', '.join(known)}",
                )
        return cls(**{**{str(key): item for key, item in value.items()}, "name": _name(value["name"])})


def _name(name: Any) -> Any:
    """Returns a layer's name as text; YAML and overrides read `4` as an integer, `1.10` as a float."""
    if isinstance(name, float):
        raise InputError(
            f"the layer {name} is read as a number, in which final zeros are lost",
            f"write it in quotes: layers=['{name}']",
        )
    return str(name) if isinstance(name, int) and not isinstance(name, bool) else name


def _pair(name: str, grid: Any) -> tuple[int, int]:
    if (
        isinstance(grid, Sequence)
        and len(grid) == 2
        and all(isinstance(side, int) and side > 0 for side in grid)
    ):
        return (grid[0], grid[1])
    raise InputError(f"layer {name}: grid is {grid!r}", "use two positive integers: grid=[h,w]")


@dataclass(frozen=True)
class LayerInfo:
    """A layer as it is read.

    Attributes:
        name: dotted path.
        module: class name of the module.
        kind: "spatial", "tokens" or "vector".
        n_units: number of units.
        map_shape: (h, w) of the maps; (1, 1) for vectors, the class token and the mean of tokens.
        layout: layout of the module's output.
        tokens: what is read of a token layer, else None.
        prefix_tokens: number of tokens before the patches.
        call: which of its runs in one forward pass is read.
        part: which part of the output is read, if it has several: "[0]", ".last_hidden_state"; else "".
    """

    name: str
    module: str
    kind: Kind
    n_units: int
    map_shape: tuple[int, int]
    layout: Literal["nchw", "nhwc", "tokens", "vector"]
    tokens: Tokens | None = None
    prefix_tokens: int = 0
    call: int = 0
    part: str = ""


@dataclass(frozen=True)
class Geometry:
    """What is known of the sizes of a network's inputs and tokens.

    Attributes:
        input_size: (H, W) of its inputs.
        prefix_tokens: number of tokens before the patches; None if unknown.
        class_token: whether the first token is a class token.
    """

    input_size: tuple[int, int]
    prefix_tokens: int | None
    class_token: bool

    @classmethod
    def of(cls, model: nn.Module, input_size: tuple[int, int]) -> Geometry:
        """Reads timm's `num_prefix_tokens`, or counts the class, distillation and register tokens."""
        counts: dict[str, int] = {}
        for name, parameter in model.named_parameters():
            leaf = name.rpartition(".")[2]
            if leaf in CLASS_TOKENS + OTHER_PREFIX_TOKENS:
                counts[leaf] = parameter.shape[-2] if parameter.ndim > 1 else 1
        declared = (getattr(module, "num_prefix_tokens", None) for module in model.modules())
        prefix = next((count for count in declared if isinstance(count, int)), None)
        if prefix is None and counts:
            prefix = sum(counts.values())
        return cls(input_size, prefix, class_token=any(name in counts for name in CLASS_TOKENS))

    def fits(self, h: int, w: int) -> bool:
        """Whether a map of h x w cells has the aspect ratio of the input, to within one cell."""
        height, width = self.input_size
        return abs(h - w * height / width) < 1 and abs(w - h * width / height) < 1

    def layout(self, shape: Sequence[int]) -> Layout | None:
        """Returns the layout of a [B, ., ., .] output; None if the aspect ratio of its maps fits both."""
        nchw, nhwc = self.fits(shape[2], shape[3]), self.fits(shape[1], shape[2])
        if nchw == nhwc:
            return None
        return "nchw" if nchw else "nhwc"


def first_tensor(output: Any) -> tuple[Tensor, str]:
    """Returns the first tensor of a module's output, and which part of the output it is ("": all).

    Raises:
        InputError: if the output has no tensor.
    """
    import torch

    if isinstance(output, torch.Tensor):
        return output, ""
    for part, value in _parts(output):
        if isinstance(value, torch.Tensor):
            return value, part
    raise InputError(f"its output is a {type(output).__name__} without a tensor")


def _parts(output: Any) -> list[tuple[str, Any]]:
    if isinstance(output, Mapping):
        return [(f".{key}", value) for key, value in output.items()]
    if isinstance(output, (tuple, list)):
        return [(f"[{i}]", value) for i, value in enumerate(output)]
    if is_dataclass(output):
        return [(f".{field.name}", getattr(output, field.name)) for field in fields(output)]
    return []


def recognise(
    spec: LayerSpec, module: str, shape: Sequence[int], part: str, geometry: Geometry
) -> LayerInfo:
    """Determines how a layer with an output of `shape` is read.

    Args:
        spec: the layer and its settings.
        module: class name of the module.
        shape: shape of the tensor, with the batch.
        part: which part of the output the tensor is.
        geometry: what is known of the network.

    Raises:
        InputError: if the output is ambiguous and `spec` does not resolve it, or contradicts it.
    """
    call = spec.call or 0
    if len(shape) != 3 and spec.tokens is not None:
        raise InputError(
            f"layer {spec.name} has no tokens: its output is {_text(shape)}", "leave out tokens="
        )
    if len(shape) == 2:
        return LayerInfo(spec.name, module, "vector", shape[1], (1, 1), "vector", call=call, part=part)
    if len(shape) == 3:
        tokens, prefix, grid = _read_tokens(spec, shape, geometry)
        return LayerInfo(
            spec.name, module, "tokens", shape[2], grid, "tokens", tokens, prefix, call=call, part=part
        )
    if len(shape) == 4:
        layout = spec.layout or geometry.layout(shape)
        if layout is None:
            raise InputError(
                f"layer {spec.name}: the axis of the units in the output {_text(shape)} is ambiguous",
                "set layout=nchw (units first) or layout=nhwc (units last) for this layer",
            )
        units, grid = (shape[1], shape[2:]) if layout == "nchw" else (shape[3], shape[1:3])
        return LayerInfo(
            spec.name, module, "spatial", units, (grid[0], grid[1]), layout, call=call, part=part
        )
    raise InputError(
        f"layer {spec.name} has an output of shape {_text(shape)}",
        "only outputs with 2 (vector), 3 (tokens) or 4 (maps) dimensions can be read",
    )


def _read_tokens(
    spec: LayerSpec, shape: Sequence[int], geometry: Geometry
) -> tuple[Tokens, int, tuple[int, int]]:
    """Returns the tokens to read, the number of prefix tokens, and the (h, w) of the result."""
    count = shape[1]
    prefix = _prefix(spec, count, geometry)
    tokens = spec.tokens
    if tokens is None:
        if not (prefix and geometry.class_token):
            raise InputError(
                f"layer {spec.name} has {count} tokens, and no class token is known",
                "set tokens=mean, tokens=grid or tokens=class for this layer",
            )
        tokens = "class"
    if prefix is None:
        raise InputError(
            f"layer {spec.name}: it is not known which of its {count} tokens are patches",
            "set prefix_tokens= (and grid=[h,w] if the patches are not a square) for this layer",
        )
    if tokens == "class":
        if prefix == 0:
            raise InputError(f"layer {spec.name} has no class token", "set tokens=mean or tokens=grid")
        return tokens, prefix, (1, 1)
    if prefix >= count:
        raise InputError(f"layer {spec.name} has no patch tokens: all {count} are prefix tokens")
    if tokens == "mean":
        return tokens, prefix, (1, 1)
    return tokens, prefix, _grid(spec, count - prefix, geometry)


def _prefix(spec: LayerSpec, count: int, geometry: Geometry) -> int | None:
    """Returns how many of `count` tokens come before the patches; None if that is ambiguous."""
    if spec.prefix_tokens is not None:
        return spec.prefix_tokens
    if spec.grid is not None:
        return count - spec.grid[0] * spec.grid[1]
    declared = geometry.prefix_tokens
    if geometry.fits(1, 1):  # square inputs have square grids
        # Layers before the one that adds the class token have no prefix.
        for prefix in (1, 0) if declared is None else (declared, 0):
            if count == prefix or math.isqrt(max(count - prefix, 0)) ** 2 == count - prefix:
                return prefix
    return declared


def _grid(spec: LayerSpec, patches: int, geometry: Geometry) -> tuple[int, int]:
    side = math.isqrt(patches)
    h, w = spec.grid or ((side, side) if geometry.fits(side, side) else (0, 0))
    if h * w != patches:
        raise InputError(
            f"layer {spec.name}: {patches} patch tokens do not make "
            + (f"a grid of {h} x {w}" if spec.grid else "a square grid"),
            "set grid=[h,w], and prefix_tokens= if the tokens before the patches were miscounted",
        )
    return h, w


def canonical(tensor: Tensor, info: LayerInfo) -> Tensor:
    """Returns a layer's output as float32 [B, units, h, w]; a view of it where that is possible."""
    if info.layout == "tokens":
        if info.tokens == "grid":
            tensor = tensor[:, info.prefix_tokens :].unflatten(1, info.map_shape).permute(0, 3, 1, 2)
        elif info.tokens == "mean":
            tensor = tensor[:, info.prefix_tokens :].float().mean(1)[:, :, None, None]
        else:
            tensor = tensor[:, 0, :, None, None]
    elif info.layout == "vector":
        tensor = tensor[:, :, None, None]
    elif info.layout == "nhwc":
        tensor = tensor.permute(0, 3, 1, 2)
    return tensor.float()


def _text(shape: Sequence[int]) -> str:
    return "[" + ", ".join(["B", *map(str, shape[1:])]) + "]"
