"""What hub-data adds to hub: the command `hub predict`."""

from __future__ import annotations

from argparse import ArgumentParser, ArgumentTypeError, Namespace

from hub.hookspecs import Command, hookimpl

from hub_data import hookspecs
from hub_data.hookspecs import ReaderInfo


@hookimpl
def hub_addhooks() -> list[object]:
    """Return the hook through which readers come."""
    return [hookspecs]


@hookimpl
def hub_readers() -> list[ReaderInfo]:
    """Return the readers of hub-data itself."""
    return [
        ReaderInfo(
            scheme="folder",
            reader="hub_data.readers.folder:FolderReader",
            description="images in folders, one per class; the default",
        ),
        ReaderInfo(
            scheme="tar",
            reader="hub_data.readers.tar:TarReader",
            description="images in a tar archive, or in a folder of them",
        ),
        ReaderInfo(
            scheme="torch",
            reader="hub_data.readers.torchvision:TorchvisionReader",
            description="data sets of torchvision: torch/cifar10",
        ),
        ReaderInfo(
            scheme="csv",
            reader="hub_data.readers.table:CsvReader",
            description="paths and labels in a table: csv:labels.csv",
        ),
        ReaderInfo(
            scheme="parquet",
            reader="hub_data.readers.table:ParquetReader",
            description="the same from parquet, or the images themselves",
            requires=(("pyarrow", "pyarrow"),),
        ),
        ReaderInfo(
            scheme="wds",
            reader="hub_data.readers.webdataset:WebDatasetReader",
            description="shards of WebDataset",
            streams=True,
        ),
        ReaderInfo(
            scheme="hfds",
            reader="hub_data.readers.huggingface:HuggingFaceReader",
            description="data sets of the Hugging Face hub: hfds/org/name",
            requires=(("datasets", "datasets"),),
        ),
        ReaderInfo(
            scheme="hfids",
            reader="hub_data.readers.huggingface:HuggingFaceStream",
            description="the same, streamed",
            streams=True,
            requires=(("datasets", "datasets"),),
        ),
    ]


@hookimpl
def hub_commands() -> list[Command]:
    """Return `hub predict`."""
    return [
        Command(
            name="predict",
            help="name what is on images",
            add_arguments=add_predict_arguments,
            run=run_predict,
        )
    ]


def add_predict_arguments(parser: ArgumentParser) -> None:
    """Add the options of `hub predict`."""
    parser.add_argument("images", nargs="+", help="files, folders (searched in depth), patterns")
    parser.add_argument(
        "--model", required=True, help="resnet50.a1_in1k, hf_hub:org/name, local-dir:path"
    )
    parser.add_argument(
        "--topk", type=positive, default=5, metavar="K", help="answers per image (default 5)"
    )
    parser.add_argument("--device", help="cpu, cuda, cuda:1 ... (default: an accelerator, or cpu)")
    parser.add_argument(
        "--batch-size", type=positive, default=32, metavar="N", help="images at once (default 32)"
    )
    parser.add_argument("--json", action="store_true", help="one JSON document instead of lines")


def positive(text: str) -> int:
    """Return `text` as a whole number above 0, for argparse."""
    if not text.isdecimal() or int(text) < 1:
        raise ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)


def run_predict(args: Namespace) -> int:
    """Run `hub predict`; torch is imported only here."""
    from hub_data.predict import run

    return run(args)
