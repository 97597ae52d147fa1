"""Make the tensors of a checkpoint fit a network of other channels, classes or names."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from hub.backbone import Backbone
from hub.errors import WeightsError
from hub.family import Weights
from hub.pretrained.checkpoint import StateDict, clean_state_dict, renamed

log = logging.getLogger("hub")


def adapt_input_conv(in_chans: int, conv_weight: Tensor, base_chans: int = 3) -> Tensor:
    """Return a kernel for another number of input channels with the same mean response.

    Args:
        in_chans: channels wanted.
        conv_weight: (out, base_chans, kh, kw) kernel; behind a space-to-depth stem, whose pixels
            lie one after another, (out, pixels * base_chans, kh, kw).
        base_chans: channels of the images it was trained on.

    Returns:
        (out, in_chans, kh, kw), or (out, pixels * in_chans, kh, kw): per pixel the sum over
        channels for one, else the channels repeated in turn and scaled by base_chans / in_chans.

    Raises:
        ValueError: a number of channels below 1, or a kernel that is not of `base_chans`.
    """
    if in_chans < 1 or base_chans < 1:
        raise ValueError(f"in_chans={in_chans}, base_chans={base_chans}: both must be at least 1")
    if conv_weight.ndim != 4 or not conv_weight.shape[1] or conv_weight.shape[1] % base_chans:
        raise ValueError(
            f"a kernel of shape {tuple(conv_weight.shape)} does not see {base_chans} channels: its "
            "shape must be (out, n * base_chans, kh, kw)"
        )
    if in_chans == base_chans:
        return conv_weight
    out, _, *size = conv_weight.shape
    kernel = conv_weight.float().view(out, -1, base_chans, *size)
    if in_chans == 1:
        kernel = kernel.sum(dim=2)
    else:
        source = torch.arange(in_chans) % base_chans
        kernel = (kernel[:, :, source] * (base_chans / in_chans)).flatten(1, 2)
    return kernel.to(conv_weight.dtype)


def adapt_stem(
    state: StateDict, own: StateDict, paths: Sequence[str], base: int, in_chans: int | None
) -> None:
    """Fit the convolutions that see the image, of `base` channels in the file, to the network's."""
    for name in (f"{path}.weight" for path in paths):
        kernel, wanted = state.get(name), own.get(name)
        if kernel is None or wanted is None or kernel.ndim != 4 or wanted.ndim != 4:
            continue
        channels = in_chans or wanted.shape[1]
        pixels = wanted.shape[1] // channels  # more than one behind a space-to-depth stem
        shapes = (kernel.shape[1], wanted.shape[1])
        if channels != base and shapes == (pixels * base, pixels * channels):  # else shapes tell
            state[name] = adapt_input_conv(channels, kernel, base)
            log.info("%s: adapted from %d to %d input channels", name, base, channels)


def adapt_classifier(
    state: StateDict, own: StateDict, paths: Sequence[str], weights: Weights, classes: int
) -> set[str]:
    """Fit the classifiers to the network's classes; return the names where those of the file go.

    Args:
        state: the tensors by name, changed in place.
        own: those that the network has.
        paths: of its classifiers.
        weights: what is said about the file.
        classes: of the network.
    """
    gone: set[str] = set()
    for path in paths:
        names = {f"{path}.weight", f"{path}.bias"}
        if not names & own.keys():
            gone |= names | {n for n in state if n.startswith(f"{path}.")} - own.keys()
        elif classes != weights.num_classes:
            gone |= names
        elif weights.label_offset:
            state.update({n: state[n][weights.label_offset :] for n in names & state.keys()})
    for name in gone:
        state.pop(name, None)
    if gone & own.keys():
        log.info(
            "classifier made anew for %d classes: the weights have %d", classes, weights.num_classes
        )
    return gone


def layers_to_adapt(model: nn.Module, weights: Weights) -> tuple[Sequence[str], Sequence[str]]:
    """Return the paths of what sees the image, and of what names the classes.

    A `Backbone` states them itself; the description of a file may add to them, and is what there
    is of any other network.
    """
    stems, classifiers = _as_tuple(weights.first_conv), _as_tuple(weights.classifier)
    if isinstance(model, Backbone):
        stems += _as_tuple(getattr(model, "first_conv", None))
        # Without classes there are no layers, but a place where a file may have some.
        layers = getattr(model, "classifier_layers", None) or model.classifier_path
        classifiers += _as_tuple(layers)
    return tuple(dict.fromkeys(stems)), tuple(dict.fromkeys(classifiers))


def with_names_of(model: nn.Module, state: StateDict, paths: Sequence[str]) -> StateDict:
    """Take off what stands before the names of a network, where that makes them all fit.

    Args:
        model: the network.
        state: the tensors by name; those of other parts may be among them, and stay as they are.
        paths: of its classifier, which a file of a pretraining has not.

    Raises:
        WeightsError: it holds several such networks, a teacher and a student say.
    """
    heads = tuple(f"{path}." for path in paths)
    needed = [name for name, _ in model.named_parameters() if not name.startswith(heads)]
    bare = clean_state_dict(state)
    if sum(name in bare for name in needed) > sum(name in state for name in needed):
        state = bare
    if all(name in state for name in needed):
        return state
    ends = (name.removesuffix(needed[0]) for name in state if name.endswith(f".{needed[0]}"))
    fitting = [prefix for prefix in ends if all(prefix + name in state for name in needed)]
    if len(fitting) > 1:
        raise WeightsError(
            f"the checkpoint holds {len(fitting)} such networks, under {', '.join(fitting)}: "
            f"hand over one of them, pretrained_cfg_overlay=dict(state_dict={{k.removeprefix("
            f"{fitting[0]!r}): v for k, v in hub.load_state_dict(FILE).items() if "
            f"k.startswith({fitting[0]!r})}})"
        )
    if not fitting:
        return state
    log.info("%r is taken off the names of the weights", fitting[0])
    return renamed(state, lambda name: name.removeprefix(fitting[0]))


def tied_names(model: nn.Module) -> list[list[str]]:
    """Return the groups of names under which one Parameter is registered more than once."""
    names: dict[int, list[str]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        names.setdefault(id(parameter), []).append(name)
    return [group for group in names.values() if len(group) > 1]


def _as_tuple(value: str | Sequence[str] | None) -> tuple[str, ...]:
    """Return the paths that one path, several or none stand for."""
    return () if value is None else (value,) if isinstance(value, str) else tuple(value)
