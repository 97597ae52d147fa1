"""What hub-data adds to hub: `hub predict`, `hub data`, and the hook for readers with its own."""

from __future__ import annotations

from argparse import ArgumentParser, ArgumentTypeError, Namespace

from hub import Command, hookimpl

from hub_data import hookspecs
from hub_data.hookspecs import ReaderInfo


@hookimpl
def hub_addhooks() -> list[object]:
    """Return the hook through which readers come."""
    return [hookspecs]


@hookimpl
def hub_attributes() -> dict[str, str]:
    """Offer `hub.preprocessing`."""
    return {"preprocessing": "hub_data.preprocessing:preprocessing"}


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
        ReaderInfo(
            scheme="tfds",
            reader="hub_data.readers.tfds:TfdsReader",
            description="TensorFlow Datasets: tfds/imagenet2012",
            streams=True,
            requires=(
                ("tensorflow_datasets", "tensorflow-datasets"),
                ("array_record", "array-record"),
            ),
        ),
    ]


@hookimpl
def hub_commands() -> list[Command]:
    """Return `hub predict` and `hub data`."""
    return [
        Command(
            name="data",
            help="check and look at data sets; say which backend prepares images",
            add_arguments=add_data_arguments,
            run=run_data,
        ),
        Command(
            name="predict",
            help="name what is on images",
            add_arguments=add_predict_arguments,
            run=run_predict,
        ),
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
    parser.add_argument(
        "--input-range",
        type=float,
        nargs=2,
        metavar=("BLACK", "WHITE"),
        help="of images of other types than 8 bits, such as 0 4095",
    )
    parser.add_argument(
        "--optimize",
        action="store_true",
        help="run a faster copy of the model (hub.optimize, of hub-inference)",
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


def add_data_arguments(parser: ArgumentParser) -> None:
    """Add `hub data check` and `hub data preview`."""
    from hub_data.check import add_check_arguments
    from hub_data.preview import add_preview_arguments

    actions = parser.add_subparsers(dest="action", metavar="ACTION")
    for name, text, add in (
        ("check", "read a whole data set and report what is wrong with it", add_check_arguments),
        ("preview", "write a contact sheet of what a pipeline does", add_preview_arguments),
        ("readers", "list where samples can come from", None),
    ):
        action = actions.add_parser(name, help=text, description=text)
        if add is not None:
            add(action)


def run_data(args: Namespace) -> int:
    """Run `hub data`; without an action, say which backend prepares images and why."""
    if args.action == "check":
        from hub_data.check import run_check

        return run_check(args)
    if args.action == "preview":
        from hub_data.preview import run_preview

        return run_preview(args)
    if args.action == "readers":
        return list_data_readers()
    from hub_data.backends import explain_backends

    print(explain_backends())
    return 0


def list_data_readers() -> int:
    """Print every reader with what it needs; return 0."""
    from hub import table

    from hub_data.readers import list_readers, missing_libraries

    rows = []
    for scheme, info in list_readers().items():
        missing = missing_libraries(info)
        state = f"pip install {' '.join(missing)}" if missing else "ready"
        rows.append((scheme, info.description, state))
    print(table(rows, ("scheme", "samples", "state")))
    return 0
