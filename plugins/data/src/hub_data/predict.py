"""`hub predict`: images in, class names and probabilities out.

Images are prepared as in the evaluation of the weights: at their test size, upright (a camera's
EXIF orientation is applied when the file is read), then with the evaluation transform. An image
that cannot be answered costs one line on stderr and the exit code 1; the others are answered.
"""

from __future__ import annotations

import json
import sys
from argparse import Namespace
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any, cast

import hub
import torch
from hub import HubError, table
from tqdm import tqdm  # type: ignore[import-untyped]

from hub_data.config import resolve_model_data_config
from hub_data.image_steps import Compose
from hub_data.images import Found, find_images, load_image
from hub_data.labels import label_names
from hub_data.pixel_range import Range
from hub_data.preprocessing import with_channels
from hub_data.transforms import create_transform

MANY = 16  # images from which on a progress bar is worth its line


@dataclass(frozen=True)
class Prediction:
    """One answer.

    Args:
        label: name of the class, or "class 17" where the model has no names.
        index: output that stands for the class.
        score: probability, 0 to 1.
    """

    label: str
    index: int
    score: float


@dataclass(frozen=True)
class Result:
    """What came of one image.

    Args:
        image: the file.
        predictions: answers, most probable first.
        error: why there are none; empty where there are.
    """

    image: str
    predictions: tuple[Prediction, ...] = ()
    error: str = ""

    def to_dict(self) -> dict[str, object]:
        """Return `image` with `predictions` or with `error`, JSON-able."""
        if self.error:
            return {"image": self.image, "error": self.error}
        return {"image": self.image, "predictions": [asdict(p) for p in self.predictions]}


class Classifier:
    """A pretrained model with its preprocessing and its class names.

    Args:
        model: name for `hub.create_model`.
        device: where to run; None for an accelerator if there is one.
        optimize: run a copy made by `hub.optimize`, for batches of this many images.
        input_range: see `load_image`.

    Raises:
        HubError: there is no such model or device, the model has no classifier, or hub-inference,
            which optimises, is not installed.
    """

    def __init__(
        self,
        model: str,
        *,
        device: str | None = None,
        optimize: int = 0,
        input_range: Range | None = None,
    ) -> None:
        make_faster = _optimize() if optimize else None  # before any weights are fetched
        self.input_range = input_range
        self.device = _available_device(device)
        self.model = hub.create_model(model, pretrained=True).eval().to(self.device)
        if getattr(self.model, "num_classes", None) == 0:
            raise HubError(f"{model} has no classifier (num_classes=0): name a model that has one")
        config = resolve_model_data_config(self.model, use_test_size=True)
        self.in_chans = getattr(self.model, "in_chans", config["input_size"][0])
        if self.in_chans not in (1, 3):
            raise HubError(f"{model} takes {self.in_chans} channels; image files give 1 or 3")
        fitted = with_channels(config, self.in_chans)
        self.transform = cast(Compose, create_transform(**fitted))
        self.names = label_names(self.model)
        if make_faster:
            example = torch.rand(optimize, *config["input_size"], device=self.device)
            self.model = make_faster(self.model, example)

    def prepare(self, path: str) -> torch.Tensor | str:
        """Return the image as (C, H, W), or why it cannot be read."""
        try:
            image = load_image(path, self.in_chans, input_range=self.input_range)
            return self.transform(image)
        except Exception as error:  # PIL raises whatever a damaged file provokes in its decoders
            reason = str(error) or type(error).__name__
            return "not a readable image: " + " ".join(reason.split())

    @torch.inference_mode()
    def predict(self, images: torch.Tensor, topk: int = 5) -> list[tuple[Prediction, ...]]:
        """Return the most probable classes of each image.

        Args:
            images: (B, C, H, W), prepared.
            topk: answers per image; all classes where there are fewer.

        Raises:
            HubError: the model does not return (B, K), or the batch does not fit into memory.
        """
        try:
            logits = self.model(images.to(self.device))
        except torch.OutOfMemoryError as error:
            raise HubError(
                f"{len(images)} images do not fit into the memory of {self.device}: "
                "try a smaller --batch-size"
            ) from error
        if not isinstance(logits, torch.Tensor) or logits.ndim != 2:
            raise HubError("the model is no classifier: it does not return one score per class")
        scores, indices = logits.float().softmax(-1).topk(min(topk, logits.shape[1]))  # (B, topk)
        return [
            tuple(Prediction(self._name(i), i, s) for i, s in zip(*row, strict=True))
            for row in zip(indices.tolist(), scores.tolist(), strict=True)
        ]

    def answer(
        self, files: Sequence[Found], *, topk: int = 5, batch_size: int = 32
    ) -> Iterator[Result]:
        """Yield a result for each file, in order, also for those that cannot be read."""
        queue = iter(files)
        with ThreadPoolExecutor() as pool:
            while batch := list(islice(queue, batch_size)):
                inputs = list(pool.map(lambda f: f.problem or self.prepare(f.path), batch))
                tensors = [x for x in inputs if isinstance(x, torch.Tensor)]
                answers = iter(self.predict(torch.stack(tensors), topk) if tensors else ())
                for file, x in zip(batch, inputs, strict=True):
                    if isinstance(x, str):
                        yield Result(file.path, error=x)
                    else:
                        yield Result(file.path, next(answers))

    def _name(self, index: int) -> str:
        return self.names[index] if self.names else f"class {index}"


def run(args: Namespace) -> int:
    """Run `hub predict` and return its exit code: 0 when every image was answered, else 1."""
    files = list(find_images(args.images))
    results: list[Result] = []
    try:
        for result in _results(files, args):
            results.append(result)
            if result.error:
                _complain(f"{result.image}: {result.error}")
            elif not args.json and not sys.stdout.isatty():
                print("\n".join(_tab_separated(result)), flush=True)
    except HubError as error:
        _complain(" ".join(str(error).split()))
        return 1
    if args.json:
        print(json.dumps([result.to_dict() for result in results], indent=2, ensure_ascii=False))
    elif sys.stdout.isatty() and any(result.predictions for result in results):
        print(table(_rows(results), ("image", "label", "score")))
    return int(any(result.error for result in results))


def _results(files: Sequence[Found], args: Namespace) -> Iterable[Result]:
    if all(file.problem for file in files):  # no model is loaded for nothing
        return [Result(file.path, error=file.problem) for file in files]
    batch = min(args.batch_size, len(files)) if args.optimize else 0
    classifier = Classifier(
        args.model, device=args.device, optimize=batch, input_range=args.input_range
    )
    if args.optimize:
        tqdm.write(f"hub: {classifier.model.optimization}", file=sys.stderr)
    results = classifier.answer(files, topk=args.topk, batch_size=args.batch_size)
    quiet = len(files) < MANY or not sys.stderr.isatty()
    return tqdm(results, total=len(files), unit="image", disable=quiet, leave=False)


def _optimize() -> Callable[..., Any]:
    """Return `hub.optimize`, which another plugin brings."""
    try:
        return hub.optimize
    except AttributeError as error:  # says which, and how to get it
        raise HubError(str(error)) from error


def _available_device(name: str | None) -> torch.device:
    accelerator = torch.accelerator.current_accelerator(check_available=True)
    if name is None:
        return accelerator or torch.device("cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).cpu()  # "meta" fails here, as do devices that are not there
    except (RuntimeError, AssertionError, NotImplementedError, ImportError) as error:
        names = ["cpu"]
        if accelerator:
            names += [f"{accelerator.type}:{i}" for i in range(torch.accelerator.device_count())]
        raise HubError(f"device {name!r} is not available here: use {', '.join(names)}") from error
    return device


def _complain(message: str) -> None:
    tqdm.write(f"hub: error: {message}", file=sys.stderr)


def _tab_separated(result: Result) -> Iterator[str]:
    for answer in result.predictions:
        yield f"{result.image}\t{answer.label}\t{answer.score:.4f}"


def _rows(results: Iterable[Result]) -> Iterator[tuple[str, str, str]]:
    """Yield file, label and probability; a file is named in its first row only."""
    for result in results:
        for rank, answer in enumerate(result.predictions):
            yield "" if rank else result.image, answer.label, f"{answer.score:7.2%}"
