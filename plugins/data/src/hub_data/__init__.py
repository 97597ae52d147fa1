"""hub-data: images for vision backbones: preprocessing, label names and `hub predict`.

The names are timm's. Importing this package is cheap: each name loads its module on first use.

>>> from hub_data import create_transform, resolve_data_config
>>> config = resolve_data_config({"img_size": 160}, {"mean": (0.5, 0.5, 0.5), "crop_pct": 0.9})
>>> config["input_size"], config["mean"], config["crop_pct"]
((3, 160, 160), (0.5, 0.5, 0.5), 0.9)
>>> from PIL import Image
>>> create_transform(**config)(Image.new("RGB", (101, 77))).shape
torch.Size([3, 160, 160])
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hub_data.augment import AugmentOp
    from hub_data.augmix import AugMixAugment, augment_and_mix_transform
    from hub_data.auto_augment import AutoAugment, auto_augment_policy, auto_augment_transform
    from hub_data.backends import Backend, explain_backends, get_backend
    from hub_data.class_map import load_class_map
    from hub_data.collate import fast_collate
    from hub_data.config import (
        DEFAULT_CROP_MODE,
        DEFAULT_CROP_PCT,
        IMAGENET_DEFAULT_MEAN,
        IMAGENET_DEFAULT_STD,
        IMAGENET_DPN_MEAN,
        IMAGENET_DPN_STD,
        IMAGENET_INCEPTION_MEAN,
        IMAGENET_INCEPTION_STD,
        OPENAI_CLIP_MEAN,
        OPENAI_CLIP_STD,
        resolve_data_config,
        resolve_model_data_config,
    )
    from hub_data.dataset import ImageDataset, IterableImageDataset, create_dataset
    from hub_data.dataset_info import (
        CustomDatasetInfo,
        DatasetInfo,
        DatasetInfoLabelMapper,
        LabelMappingCoverage,
    )
    from hub_data.decode import decode_image
    from hub_data.erasing import RandomErasing
    from hub_data.extensions import (
        IMAGE_EXTENSIONS,
        add_img_extensions,
        del_img_extensions,
        get_img_extensions,
        is_img_extension,
        set_img_extensions,
    )
    from hub_data.faults import DamagedSampleError, FaultReport
    from hub_data.image_steps import (
        CenterCropOrPad,
        Compose,
        MaybePILToTensor,
        MaybeToTensor,
        Normalize,
        Resize,
        ResizeKeepRatio,
        ToNumpy,
        ToTensor,
        TrimBorder,
        center_crop_or_pad,
        crop_or_pad,
        interp_mode_to_str,
        str_to_interp_mode,
        str_to_pil_interp,
    )
    from hub_data.imagenet_info import ImageNetInfo, imagenet_indices, infer_imagenet_subset
    from hub_data.images import find_images, load_image
    from hub_data.labels import imagenet_labels, label_names
    from hub_data.loader import Loader, MultiEpochsDataLoader
    from hub_data.loader_factory import create_loader
    from hub_data.mixup import FastCollateMixup, Mixup
    from hub_data.predict import Classifier, Prediction, Result
    from hub_data.prefetch import PrefetchLoader
    from hub_data.rand_augment import RandAugment, rand_augment_ops, rand_augment_transform
    from hub_data.random_crops import RandomCropOrPad, RandomPad, RandomResizedCropAndInterpolation
    from hub_data.readers import create_reader, list_readers
    from hub_data.real_labels import RealLabelsImagenet
    from hub_data.samplers import EpochSampler, OrderedDistributedSampler, RepeatAugSampler
    from hub_data.scheduled import ScheduledBatchSampler, ScheduledTransformDataset
    from hub_data.tf_preprocessing import TfPreprocessTransform
    from hub_data.to_image import ToImage
    from hub_data.transforms import create_transform
    from hub_data.workers import LoaderError
    from hub_data.wrapping import AugMixDataset

__all__ = [
    "DEFAULT_CROP_MODE",
    "DEFAULT_CROP_PCT",
    "IMAGENET_DEFAULT_MEAN",
    "IMAGENET_DEFAULT_STD",
    "IMAGENET_DPN_MEAN",
    "IMAGENET_DPN_STD",
    "IMAGENET_INCEPTION_MEAN",
    "IMAGENET_INCEPTION_STD",
    "IMAGE_EXTENSIONS",
    "OPENAI_CLIP_MEAN",
    "OPENAI_CLIP_STD",
    "AugMixAugment",
    "AugMixDataset",
    "AugmentOp",
    "AutoAugment",
    "Backend",
    "CenterCropOrPad",
    "Classifier",
    "Compose",
    "CustomDatasetInfo",
    "DamagedSampleError",
    "DatasetInfo",
    "DatasetInfoLabelMapper",
    "EpochSampler",
    "FastCollateMixup",
    "FaultReport",
    "ImageDataset",
    "ImageNetInfo",
    "IterableImageDataset",
    "LabelMappingCoverage",
    "Loader",
    "LoaderError",
    "MaybePILToTensor",
    "MaybeToTensor",
    "Mixup",
    "MultiEpochsDataLoader",
    "Normalize",
    "OrderedDistributedSampler",
    "Prediction",
    "PrefetchLoader",
    "RandAugment",
    "RandomCropOrPad",
    "RandomErasing",
    "RandomPad",
    "RandomResizedCropAndInterpolation",
    "RealLabelsImagenet",
    "RepeatAugSampler",
    "Resize",
    "ResizeKeepRatio",
    "Result",
    "ScheduledBatchSampler",
    "ScheduledTransformDataset",
    "TfPreprocessTransform",
    "ToImage",
    "ToNumpy",
    "ToTensor",
    "TrimBorder",
    "add_img_extensions",
    "augment_and_mix_transform",
    "auto_augment_policy",
    "auto_augment_transform",
    "center_crop_or_pad",
    "create_dataset",
    "create_loader",
    "create_reader",
    "create_transform",
    "crop_or_pad",
    "decode_image",
    "del_img_extensions",
    "explain_backends",
    "fast_collate",
    "find_images",
    "get_backend",
    "get_img_extensions",
    "imagenet_indices",
    "imagenet_labels",
    "infer_imagenet_subset",
    "interp_mode_to_str",
    "is_img_extension",
    "label_names",
    "list_readers",
    "load_class_map",
    "load_image",
    "rand_augment_ops",
    "rand_augment_transform",
    "resolve_data_config",
    "resolve_model_data_config",
    "set_img_extensions",
    "str_to_interp_mode",
    "str_to_pil_interp",
]

_MODULES = {
    "hub_data.augment": "AugmentOp",
    "hub_data.augmix": "AugMixAugment augment_and_mix_transform",
    "hub_data.auto_augment": "AutoAugment auto_augment_policy auto_augment_transform",
    "hub_data.backends": "Backend explain_backends get_backend",
    "hub_data.class_map": "load_class_map",
    "hub_data.collate": "fast_collate",
    "hub_data.config": (
        "DEFAULT_CROP_MODE DEFAULT_CROP_PCT IMAGENET_DEFAULT_MEAN IMAGENET_DEFAULT_STD "
        "IMAGENET_DPN_MEAN IMAGENET_DPN_STD IMAGENET_INCEPTION_MEAN IMAGENET_INCEPTION_STD "
        "OPENAI_CLIP_MEAN OPENAI_CLIP_STD resolve_data_config resolve_model_data_config"
    ),
    "hub_data.dataset": "ImageDataset IterableImageDataset create_dataset",
    "hub_data.dataset_info": (
        "CustomDatasetInfo DatasetInfo DatasetInfoLabelMapper LabelMappingCoverage"
    ),
    "hub_data.decode": "decode_image",
    "hub_data.erasing": "RandomErasing",
    "hub_data.extensions": (
        "IMAGE_EXTENSIONS add_img_extensions del_img_extensions get_img_extensions "
        "is_img_extension set_img_extensions"
    ),
    "hub_data.faults": "DamagedSampleError FaultReport",
    "hub_data.image_steps": (
        "CenterCropOrPad Compose MaybePILToTensor MaybeToTensor Normalize Resize "
        "ResizeKeepRatio ToNumpy ToTensor TrimBorder center_crop_or_pad crop_or_pad "
        "interp_mode_to_str str_to_interp_mode str_to_pil_interp"
    ),
    "hub_data.imagenet_info": "ImageNetInfo imagenet_indices infer_imagenet_subset",
    "hub_data.images": "find_images load_image",
    "hub_data.labels": "imagenet_labels label_names",
    "hub_data.loader": "Loader MultiEpochsDataLoader",
    "hub_data.loader_factory": "create_loader",
    "hub_data.mixup": "FastCollateMixup Mixup",
    "hub_data.predict": "Classifier Prediction Result",
    "hub_data.prefetch": "PrefetchLoader",
    "hub_data.rand_augment": "RandAugment rand_augment_ops rand_augment_transform",
    "hub_data.random_crops": "RandomCropOrPad RandomPad RandomResizedCropAndInterpolation",
    "hub_data.readers": "create_reader list_readers",
    "hub_data.real_labels": "RealLabelsImagenet",
    "hub_data.samplers": "EpochSampler OrderedDistributedSampler RepeatAugSampler",
    "hub_data.scheduled": "ScheduledBatchSampler ScheduledTransformDataset",
    "hub_data.tf_preprocessing": "TfPreprocessTransform",
    "hub_data.to_image": "ToImage",
    "hub_data.transforms": "create_transform",
    "hub_data.workers": "LoaderError",
    "hub_data.wrapping": "AugMixDataset",
}
_HOME = {name: module for module, names in _MODULES.items() for name in names.split()}


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'hub_data' has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_HOME[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted(_HOME)
