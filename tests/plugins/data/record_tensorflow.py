"""Compare `tf_preprocessing` with TensorFlow itself, through timm, and record what it gives.

    uv run --group reference --with tensorflow-cpu python tests/plugins/data/record_tensorflow.py

It writes golden_tensorflow.json; the tests need no TensorFlow.
"""

from __future__ import annotations

import io
import itertools
import json
import sys
from pathlib import Path

import numpy as np
from hub_data.tf_preprocessing import TfPreprocessTransform, _draw_part, resize
from timm.data.tf_preprocessing import TfPreprocessTransform as Reference
from timm.data.tf_preprocessing import tf
from training_cases import picture, seed

GOLDEN = Path(__file__).with_name("golden_tensorflow.json")
IMAGES = [(101, 77), (63, 150), (333, 257), (20, 17)]


def compare_resizing(recorded: list[dict]) -> float:
    worst = 0.0
    for image, size, name in itertools.product(
        IMAGES, [(40, 56), (120, 90)], ["bicubic", "bilinear"]
    ):
        pixels = np.asarray(picture(*image))
        method = getattr(tf.image.ResizeMethod, name.upper())
        with tf.Graph().as_default(), tf.Session() as session:
            want = session.run(tf.image.resize(tf.constant(pixels[None]), size, method)[0])
        worst = max(worst, float(np.abs(want - resize(pixels, *size, name)).max()))
        probes = want.reshape(-1)[np.linspace(0, want.size - 1, 9).astype(int)]
        recorded.append(
            dict(image=image, size=size, filter=name, probes=[round(float(p), 3) for p in probes])
        )
    print(f"resizing: {len(recorded)} cases, largest difference {worst:.2g} of 255 levels")
    return worst


def compare_evaluation() -> float:
    """Return the mean difference from JPEG, which TensorFlow decodes with its fast, rougher DCT."""
    worst, means = 0, []
    for image, size, name in itertools.product(IMAGES[:3], [96, 160], ["bicubic", "bilinear"]):
        stream = io.BytesIO()
        picture(*image).save(stream, "JPEG", quality=95)
        theirs = Reference(size=size, interpolation=name)(stream.getvalue())
        ours = TfPreprocessTransform(size=size, interpolation=name)(stream.getvalue()).numpy()
        differences = np.abs(theirs.astype(int) - ours.astype(int))
        worst = max(worst, int(differences.max()))
        means.append(float(differences.mean()))
    print(f"evaluation from JPEG: largest {worst}, mean {max(means):.2f} of 255 levels")
    return max(means)


def compare_parts(recorded: dict) -> None:
    boxes = tf.constant([[[0.0, 0.0, 1.0, 1.0]]])
    with tf.Graph().as_default(), tf.Session() as session:
        boxes = tf.constant([[[0.0, 0.0, 1.0, 1.0]]])
        begin, size, _ = tf.image.sample_distorted_bounding_box(
            [300, 400, 3], boxes, 3, 7, 0.1, (3 / 4, 4 / 3), (0.08, 1.0), 10, True
        )
        drawn = np.array([np.concatenate(session.run([begin, size])) for _ in range(4000)])
    theirs = drawn[:, [0, 1, 3, 4]]
    theirs = theirs[(theirs[:, 2] < 300) | (theirs[:, 3] < 400)]
    seed(0)
    ours = np.array([part for part in (_draw_part(300, 400) for _ in range(4000)) if part])
    for name, values in (("tensorflow", theirs), ("hub", ours)):
        area, ratio = values[:, 2] * values[:, 3] / 120000, values[:, 3] / values[:, 2]
        stats = [area.mean(), area.std(), ratio.mean(), ratio.std(), values[:, 0].mean()]
        stats += [values[:, 1].mean(), len(values) / 4000]
        print(name, [round(float(value), 3) for value in stats])
        if name == "tensorflow":
            recorded["parts"] = [round(float(value), 4) for value in stats]


def main() -> int:
    golden: dict = {"resizing": []}
    worst = compare_resizing(golden["resizing"])
    jpeg = compare_evaluation()
    compare_parts(golden)
    rows = ",\n".join("  " + json.dumps(row) for row in golden["resizing"])
    parts = json.dumps(golden["parts"])
    GOLDEN.write_text(f'{{\n "resizing": [\n{rows}\n ],\n "parts": {parts}\n}}\n')
    return int(worst > 0.01 or jpeg > 2)


if __name__ == "__main__":
    sys.exit(main())
