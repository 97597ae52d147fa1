"""Train a small ResNet of hub on handwritten digits and save it as a model folder.

From the root of the repository:

    uv run python docs/examples/digits/train.py     # about a minute on two CPU cores

It writes `model/` (config.json, model.safetensors) and `images/` beside this file, then loads the
folder again and prints the accuracy of what it loaded:

    uv run hub predict docs/examples/digits/images --model local-dir:docs/examples/digits/model

Data: the 1,797 scans of 8x8 that scikit-learn carries, of "Optical Recognition of Handwritten
Digits", E. Alpaydin and C. Kaynak, UCI Machine Learning Repository, CC BY 4.0.

* Every scan becomes a grey picture of 128x128 (`picture`); the PNG files are such pictures, and the
  network learns from the same ones, resized as its config.json says. One path for both.
* The split is fixed; the test part is looked at once, after the last epoch.
* CPU, two threads, fixed seeds: a second run on the same machine writes the same bytes.
"""

import math
import time
from pathlib import Path

import hub
import numpy as np
import torch
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor
from torch.nn import functional as F

# ----------------------------------------------------------------------------- options
ARCHITECTURE = "test_resnet"  # 0.37M parameters with one channel and ten classes
SIZE = 32  # side of the network's input, pixels; its last map is then 1x1
PICTURE = 128  # side of the PNG files, pixels
TEST_SHARE = 0.25  # 450 of 1,797 scans
EPOCHS = 60
BATCH = 64
LEARNING_RATE = 3e-3  # AdamW; highest, after a warm-up and before a cosine to zero
WARMUP = 3  # epochs
WEIGHT_DECAY = 0.05
SHIFT, TURN, ZOOM = 0.08, 12.0, 0.1  # augmentation, each way: share of the side, degrees, factor
SEED = 0
NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
HERE = Path(__file__).parent


# ----------------------------------------------------------------------------- data
def split() -> tuple[np.ndarray, np.ndarray]:
    """Return the indices of the training and of the test scans in `load_digits`."""
    labels = load_digits().target
    train, test = train_test_split(
        np.arange(len(labels)), test_size=TEST_SHARE, stratify=labels, random_state=SEED
    )
    return np.sort(train), np.sort(test)


def picture(scan: np.ndarray) -> Image.Image:
    """Return an 8x8 scan of values 0..16 as a grey picture, upscaled with Pillow's bicubic."""
    pixels = np.rint(scan * (255 / 16)).astype(np.uint8)
    return Image.fromarray(pixels).resize((PICTURE, PICTURE), Image.Resampling.BICUBIC)


def to_input(image: Image.Image) -> Tensor:
    """Return a picture as (1, SIZE, SIZE) in [0, 1]; config.json describes this step."""
    small = image.convert("L").resize((SIZE, SIZE), Image.Resampling.BICUBIC)
    return torch.from_numpy(np.array(small)).float().div(255).unsqueeze(0)


def augment(x: Tensor) -> Tensor:
    """Shift, turn and zoom each of (B, 1, H, W) by its own random amounts; outside is black."""
    shift = (torch.rand(len(x), 2) * 2 - 1) * 2 * SHIFT  # the grid goes from -1 to 1
    angle = (torch.rand(len(x)) * 2 - 1) * math.radians(TURN)
    zoom = 1 + (torch.rand(len(x)) * 2 - 1) * ZOOM
    cos, sin = angle.cos() * zoom, angle.sin() * zoom
    rows = torch.stack([cos, -sin, shift[:, 0], sin, cos, shift[:, 1]], dim=1)
    grid = F.affine_grid(rows.view(-1, 2, 3), list(x.shape), align_corners=False)
    return F.grid_sample(x, grid, align_corners=False)


def accuracy(model: torch.nn.Module, x: Tensor, labels: Tensor) -> str:
    """Return how many of (B, 1, H, W), normalised, a network in evaluation mode gets right."""
    with torch.inference_mode():
        correct = int((model(x).argmax(dim=1) == labels).sum())
    return f"{correct} of {len(labels)} correct, {correct / len(labels):.2%}"


def main() -> None:
    start = time.perf_counter()
    torch.manual_seed(SEED)
    torch.set_num_threads(2)
    torch.use_deterministic_algorithms(True)

    # ------------------------------------------------------------------------- input
    digits = load_digits()
    train, test = split()
    labels = torch.from_numpy(digits.target)
    inputs = torch.stack([to_input(picture(scan)) for scan in digits.images])  # (1797, 1, 32, 32)
    mean, std = round(inputs[train].mean().item(), 4), round(inputs[train].std().item(), 4)

    # ------------------------------------------------------------------------- network
    model = hub.create_model(ARCHITECTURE, num_classes=10, in_chans=1)
    parameters = sum(p.numel() for p in model.parameters())
    print(f"{ARCHITECTURE}: {parameters:,} parameters, {len(train)} + {len(test)} scans")

    # ------------------------------------------------------------------------- training
    optimizer = torch.optim.AdamW(model.parameters(), LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    steps = len(train) // BATCH  # the rest of an epoch is left out: batch norm wants full batches

    def rate(step: int) -> float:
        warm, done = step / (WARMUP * steps), step / (EPOCHS * steps)
        return min(warm, 0.5 * (1 + math.cos(math.pi * done)))

    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, rate)
    model.train()
    for epoch in range(1, EPOCHS + 1):
        total = 0.0
        order = torch.from_numpy(train)[torch.randperm(len(train))]
        for chosen in order[: steps * BATCH].split(BATCH):
            x = (augment(inputs[chosen]) - mean) / std
            loss = F.cross_entropy(model(x), labels[chosen])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.item()
        if epoch % 10 == 0:
            print(f"epoch {epoch}: loss {total / steps:.4f}, {time.perf_counter() - start:.0f} s")

    # ------------------------------------------------------------------------- model folder
    folder = HERE / "model"
    preprocessing = dict(
        tag="uci_digits",
        input_size=(1, SIZE, SIZE),
        interpolation="bicubic",
        crop_pct=1.0,
        mean=(mean,),
        std=(std,),
        pool_size=(1, 1),
        license="apache-2.0",
        origin_url=None,
    )
    hub.save_pretrained(model, folder, label_names=NAMES, preprocessing=preprocessing)

    # ------------------------------------------------------------------------- pictures
    (HERE / "images").mkdir(exist_ok=True)
    for old in (HERE / "images").glob("*.png"):
        old.unlink()
    for label in range(10):
        for index in test[digits.target[test] == label][:2]:
            path = HERE / "images" / f"{label}_{index:04d}.png"
            picture(digits.images[index]).save(path, optimize=True)

    # ------------------------------------------------------------------------- test
    loaded = hub.create_model(f"local-dir:{folder}", pretrained=True).eval()
    print("test scans:", accuracy(loaded, (inputs[test] - mean) / std, labels[test]))
    files = sorted((HERE / "images").glob("*.png"))
    x = torch.stack([to_input(Image.open(file)) for file in files])
    named = torch.tensor([int(file.name[0]) for file in files])
    print("PNG files:", accuracy(loaded, (x - mean) / std, named))
    print(f"{(folder / 'model.safetensors').stat().st_size:,} bytes in model.safetensors")
    print(f"{time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
