"""The notation of mobile networks, as data: "ir_r2_k3_s2_e6_c24_se0.25".

A string describes one or more blocks. It starts with the kind of block; the other tokens are a
letter code and a value, in any order, joined by underscores. A network is a list of stages, each
a list of strings.

| kind | block |
|---|---|
| `ds`, `dsa` | `DepthwiseSeparableConv`; `dsa` activates its output and never skips |
| `ir` | `InvertedResidual`, or `CondConvResidual` with `cc` |
| `er` | `EdgeResidual` |
| `cn` | `ConvBnAct` |
| `uir` | `UniversalInvertedResidual` |
| `mqa`, `mha` | `MobileAttention` with shared, with own keys and values per head |

`CODES` says what each letter code means, `KINDS` which of them each kind takes and needs.
"""

import dataclasses
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from hub_layers import make_divisible

Kernel = int | tuple[int, ...]
"""One kernel size, or several for a mixed convolution."""

ACTIVATIONS = {
    "re": "relu",
    "r6": "relu6",
    "hs": "hard_swish",
    "sw": "silu",
    "mi": "mish",
}


class BlockStringError(ValueError):
    """A block string that cannot be read; the message shows it, the token and what is allowed."""


@dataclass(frozen=True, kw_only=True)
class BlockArgs:
    """What a block string says about one block; widths are those before any multiplier.

    Args:
        kind: a key of `KINDS`.
        out_chs: channels of the output.
        stride: 1 or 2.
        kernel_size: of the depthwise convolution, of the only one (cn), of the expanding one (er),
            of the middle one (uir; 0 for none), or of the downsampling of keys and values.
        exp_kernel_size: of the expansion (ir); of a depthwise convolution before it (uir; 0: none).
        pw_kernel_size: of the projection; of a depthwise convolution after it (uir; 0 for none).
        exp_ratio: hidden channels per input channel.
        se_ratio: width of squeeze-and-excitation per input channel; 0 for none.
        act_layer: name of the activation; None for the network's.
        skip: add the input where the shapes allow it.
        group_size: channels per group of the spatial convolution; None for the block's own, 0 for
            one group.
        num_experts: kernels of conditional convolutions; 0 for plain ones.
        force_in_chs: count hidden channels from this width instead of the input's; 0 for the
            input's.
        s2d: start a region in space-to-depth form (four times the channels, half the size).
        num_heads: of the attention.
        key_dim: width per head of keys, and of values.
        kv_stride: downsampling of keys and values.

    Raises:
        ValueError: another kind or stride.
    """

    kind: str
    out_chs: int
    stride: int = 1
    kernel_size: Kernel = 3
    exp_kernel_size: Kernel = 1
    pw_kernel_size: Kernel = 1
    exp_ratio: float = 1.0
    se_ratio: float = 0.0
    act_layer: str | None = None
    skip: bool = True
    group_size: int | None = None
    num_experts: int = 0
    force_in_chs: int = 0
    s2d: bool = False
    num_heads: int = 0
    key_dim: int = 0
    kv_stride: int = 1

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"kind={self.kind!r}: give one of {', '.join(KINDS)}")
        if self.stride not in (1, 2):
            raise ValueError(f"stride={self.stride}: a block has the stride 1 or 2")


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError
    return number


def _stride(text: str) -> int:
    return {"1": 1, "2": 2}[text]


def _flag(text: str) -> bool:
    return int(text) > 0


def _kernel(text: str) -> Kernel:
    sizes = tuple(int(size) for size in text.split("."))
    if len(sizes) > 1 and 0 in sizes:
        raise ValueError
    return sizes if len(sizes) > 1 else sizes[0]


def _ratio(text: str) -> float:
    ratio = float(text)
    if not (math.isfinite(ratio) and ratio >= 0):
        raise ValueError
    return ratio


@dataclass(frozen=True)
class Code:
    """What a letter code fills and how its value is read.

    Args:
        field: of `BlockArgs`, or "repeats".
        read: value -> what the field holds; raises ValueError or KeyError.
        allowed: values in words, for messages.
    """

    field: str
    read: Callable[[str], Any]
    allowed: str


CODES: dict[str, Code] = {
    "r": Code("repeats", _count, "blocks like this, r1 or more"),
    "k": Code("kernel_size", _kernel, "a kernel size (k3), or several for a mixed one (k3.5.7)"),
    "s": Code("stride", _stride, "the stride, s1 or s2"),
    "e": Code("exp_ratio", _ratio, "hidden channels per input channel (e6, e2.5)"),
    "c": Code("out_chs", _count, "output channels (c24)"),
    "se": Code("se_ratio", _ratio, "squeeze width per input channel (se0.25)"),
    "n": Code("act_layer", ACTIVATIONS.__getitem__, f"an activation: n{', n'.join(ACTIVATIONS)}"),
    "gs": Code("group_size", int, "channels per group (gs64), gs0 for one group"),
    "cc": Code("num_experts", _count, "experts of conditional convolutions (cc4)"),
    "fc": Code("force_in_chs", _count, "the width that is expanded (fc24)"),
    "a": Code("exp_kernel_size", _kernel, "a kernel size before or in the expansion (a3)"),
    "p": Code("pw_kernel_size", _kernel, "a kernel size in or after the projection (p1.1)"),
    "h": Code("num_heads", _count, "attention heads (h8)"),
    "v": Code("kv_stride", _count, "the stride of keys and values (v2)"),
    "d": Code("key_dim", _count, "width of keys and values per head (d64)"),
    "skip": Code("skip", lambda _: True, "the word alone"),
    "noskip": Code("skip", lambda _: False, "the word alone"),
}

# In blocks without attention the letter is free, and means space-to-depth.
SPACE_TO_DEPTH = Code("s2d", _flag, "d1, the start of a space-to-depth region, or d0")


@dataclass(frozen=True)
class Kind:
    """A kind of block.

    Args:
        needs: codes that must stand in its string.
        takes: codes that may.
        defaults: fields whose default is not that of `BlockArgs`.
    """

    needs: tuple[str, ...]
    takes: tuple[str, ...]
    defaults: dict[str, Any] = dataclasses.field(default_factory=dict)

    def code(self, letters: str) -> Code | None:
        """What these letters mean in this kind, or None."""
        if letters == "d" and "d" in self.takes:
            return SPACE_TO_DEPTH
        return CODES[letters] if letters in self.needs + self.takes else None


_SKIPS = ("skip", "noskip")
_SEPARABLE = Kind(("r", "k", "s", "c"), ("e", "se", "n", "p", "d", "gs", *_SKIPS))
_ATTENTION = Kind(("r", "k", "s", "c", "h", "d"), ("v", "n", "gs", *_SKIPS))

KINDS: dict[str, Kind] = {
    "ds": _SEPARABLE,
    "dsa": Kind(_SEPARABLE.needs, _SEPARABLE.takes, dict(skip=False)),
    "ir": Kind(("r", "k", "s", "e", "c"), ("se", "n", "a", "p", "cc", "d", "gs", *_SKIPS)),
    "er": Kind(("r", "k", "s", "e", "c"), ("se", "n", "p", "fc", "gs", *_SKIPS)),
    "cn": Kind(("r", "k", "s", "c"), ("e", "n", "gs", *_SKIPS), dict(skip=False)),
    "uir": Kind(
        ("r", "k", "s", "e", "c"),
        ("a", "p", "se", "n", "gs", *_SKIPS),
        dict(exp_kernel_size=0, pw_kernel_size=0),
    ),
    "mqa": _ATTENTION,
    "mha": _ATTENTION,
}

_TOKEN = re.compile(r"(skip|noskip)|(n)(.+)|([a-z]+)(\d.*)")


def decode_block_str(block: str) -> tuple[BlockArgs, int]:
    """Read a block string: what one block is, and how many of it there are.

    >>> args, repeats = decode_block_str("ir_r2_k3_s2_e6_c24_se0.25")
    >>> args.kind, args.kernel_size, args.out_chs, repeats
    ('ir', 3, 24, 2)

    Raises:
        BlockStringError: an unknown kind or token, a value out of range, a token that is missing
            or stands twice.
    """
    name, *tokens = block.split("_")
    if name not in KINDS:
        raise _error(block, name, f"no kind of block. Known kinds: {', '.join(KINDS)}")
    kind = KINDS[name]
    fields: dict[str, Any] = {}
    for token in tokens:
        letters, value = _split(token)
        code = kind.code(letters)
        if code is None:
            known = ", ".join(kind.needs + kind.takes)
            raise _error(block, token, f"no token of {name}. Known codes of {name}: {known}")
        if code.field in fields:
            raise _error(block, token, "said twice; leave one of them out")
        try:
            fields[code.field] = code.read(value)
        except (ValueError, KeyError):
            what = f"not a value of {letters!r}, which is {code.allowed}"
            raise _error(block, token, what) from None
    for letters in kind.needs:
        if CODES[letters].field not in fields:
            what = f"{name} needs {letters!r}, {CODES[letters].allowed}"
            raise BlockStringError(f"block string {block!r}: {what}; add it")
    _check(block, name, fields)
    repeats: int = fields.pop("repeats")
    return BlockArgs(kind=name, **kind.defaults | fields), repeats


def _split(token: str) -> tuple[str, str]:
    match = _TOKEN.fullmatch(token)
    if not match:
        return token, ""
    word, n, act, letters, value = match.groups()
    return (word, "") if word else (n, act) if n else (letters, value)


def _check(block: str, name: str, fields: dict[str, Any]) -> None:
    kernels = (fields.get(f"{place}kernel_size") for place in ("", "exp_", "pw_"))
    if name != "uir" and 0 in kernels:
        raise BlockStringError(f"block string {block!r}: only uir has kernels of size 0, for none")
    if name in ("ds", "dsa", "cn") and fields.get("exp_ratio", 1) != 1:
        what = f"{name} does not expand; write e1 or nothing, or take ir"
        raise BlockStringError(f"block string {block!r}: {what}")


def _error(block: object, token: str, what: str) -> BlockStringError:
    return BlockStringError(f"block string {block!r}: {token!r} is {what}")


def scale_repeats(
    repeats: Sequence[int], multiplier: float = 1.0, trunc: str = "ceil"
) -> list[int]:
    """Blocks per string of a stage after depth scaling; every string keeps one or more.

    The scaled total is shared out in proportion from the last string to the first, so that the
    first, which usually strides, is the last to be repeated.

    Args:
        repeats: blocks per string.
        multiplier: of their sum.
        trunc: how the sum becomes whole: "ceil" or "round".

    Raises:
        ValueError: another `trunc`.
    """
    left = sum(repeats)
    if trunc not in ("ceil", "round"):
        raise ValueError(f"depth_trunc={trunc!r}: give 'ceil' or 'round'")
    wanted = left * multiplier
    budget = math.ceil(wanted) if trunc == "ceil" else max(1, round(wanted))
    shares: list[int] = []
    for count in reversed(repeats):
        shares.append(max(1, round(count / left * budget)))
        left, budget = left - count, budget - shares[-1]
    return shares[::-1]


Arch = tuple[tuple[BlockArgs, ...], ...]
"""Blocks by stage."""


def decode_arch_def(
    arch_def: Sequence[Sequence[str]],
    depth_multiplier: float | Sequence[float] = 1.0,
    depth_trunc: str = "ceil",
    experts_multiplier: int = 1,
    fix_first_last: bool = False,
    group_size: int | None = None,
) -> Arch:
    """Read the strings of a network, scale its depth, and write out every block.

    The first block of a stage keeps its stride, all others have 1.

    Args:
        arch_def: block strings by stage.
        depth_multiplier: of the blocks in a stage; or one per stage.
        depth_trunc: "ceil" or "round", see `scale_repeats`.
        experts_multiplier: of the experts of conditional convolutions.
        fix_first_last: leave the depth of the first and of the last stage alone.
        group_size: of blocks whose string does not say one.

    Raises:
        BlockStringError: a string that cannot be read, with its place.
        ValueError: a stage without strings; multipliers that do not fit the stages.
    """
    last = len(arch_def) - 1
    multipliers = (
        [float(depth_multiplier)] * (last + 1)
        if isinstance(depth_multiplier, int | float)
        else list(depth_multiplier)
    )
    if len(multipliers) != len(arch_def):
        raise ValueError(
            f"depth_multiplier has {len(multipliers)} entries for {last + 1} stages; "
            "give one number, or one per stage"
        )
    stages = []
    for index, (strings, multiplier) in enumerate(zip(arch_def, multipliers, strict=True)):
        if isinstance(strings, str) or not strings:
            raise ValueError(f"stage {index} is {strings!r}: give a list of block strings")
        decoded = [_decode_at(index, string) for string in strings]
        fixed = fix_first_last and index in (0, last)
        counts = scale_repeats([n for _, n in decoded], 1.0 if fixed else multiplier, depth_trunc)
        blocks: list[BlockArgs] = []
        for (args, _), count in zip(decoded, counts, strict=True):
            blocks += [_adjust(args, experts_multiplier, group_size)] * count
        rest = (dataclasses.replace(args, stride=1) for args in blocks[1:])
        stages.append((blocks[0], *rest))
    return tuple(stages)


def _decode_at(stage: int, block: str) -> tuple[BlockArgs, int]:
    try:
        return decode_block_str(block)
    except BlockStringError as error:
        error.add_note(f"in stage {stage} of the network")
        raise


def _adjust(args: BlockArgs, experts_multiplier: int, group_size: int | None) -> BlockArgs:
    return dataclasses.replace(
        args,
        num_experts=args.num_experts * experts_multiplier,
        group_size=group_size if args.group_size is None else args.group_size,
    )


def round_channels(
    channels: float,
    multiplier: float = 1.0,
    divisor: int = 8,
    channel_min: int | None = None,
    round_limit: float = 0.9,
) -> int:
    """A width after the multiplier, rounded to a multiple of `divisor`; see `make_divisible`.

    Args:
        channels: width before.
        multiplier: of the width.
        divisor: of the result.
        channel_min: smallest result; `divisor` if not given.
        round_limit: a result below this share of the wished width is raised by one `divisor`.
    """
    return make_divisible(channels * multiplier, divisor, channel_min, round_limit)
