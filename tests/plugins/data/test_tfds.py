"""TensorFlow Datasets, prepared here by their own library; TensorFlow is not needed."""

import io
from pathlib import Path

import numpy as np
import pytest
from hub_data import create_dataset
from make_images import encoded, expected, pixels, targets_of

pytest.importorskip("array_record")
tfds = pytest.importorskip("tensorflow_datasets")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")

COUNT = 7


class Tiny(tfds.core.GeneratorBasedBuilder):
    VERSION = tfds.core.Version("1.0.0")
    pkg_dir_path = Path(__file__).parent

    def _info(self):
        features = {
            "image": tfds.features.Image(encoding_format="jpeg"),
            "label": tfds.features.ClassLabel(num_classes=COUNT),
            "id": tfds.features.Text(),
        }
        return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples()}

    def _generate_examples(self):
        for n in range(COUNT):
            yield n, {"image": io.BytesIO(encoded(n)), "label": n, "id": f"id{n}"}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tfds")
    tfds.disable_progress_bar()
    Tiny(data_dir=folder, file_format="array_record").download_and_prepare()
    return folder


# The threads of array_record do not survive a fork, and this process has read: ranks stand for
# workers here.
@pytest.mark.parametrize("ranks", [1, 3, 9])
def test_evaluation_yields_each_sample_once(root, ranks):
    found = []
    for rank in range(ranks):
        data = create_dataset("tfds/tiny", root, "train")
        data.reader.rank, data.reader.num_ranks = rank, ranks
        found += targets_of(data)
    assert sorted(found) == list(range(COUNT))
    assert sorted(data.filenames()) == [f"id{n}" for n in range(COUNT)]


def test_images_are_those_of_the_files(root):
    for image, target in create_dataset("tfds/tiny", root, "train"):
        assert np.array_equal(pixels(image), expected(target))


def test_training_fills_batches_and_depends_on_the_epoch(root):
    data = create_dataset("tfds/tiny", root, "train", is_training=True, batch_size=4)
    found = targets_of(data, batch_size=4)
    assert len(found) == len(data) == 8 and set(found) == set(range(COUNT))
    assert targets_of(data, batch_size=4) == found
    data.set_epoch(1)
    assert targets_of(data, batch_size=4) != found


def test_part_of_a_split_and_class_map(root):
    part = create_dataset(
        "tfds/tiny", root, "train[:3]", class_map={str(n): n + 10 for n in range(7)}
    )
    assert len(part) == 3 and all(target >= 10 for _, target in part)


def test_mistakes_are_named(root):
    with pytest.raises(ValueError, match="no split 'val': there are train"):
        create_dataset("tfds/tiny", root, "val")
    with pytest.raises(ValueError, match=r"no field 'lable'. Did you mean label"):
        create_dataset("tfds/tiny", root, "train", target_key="lable")
