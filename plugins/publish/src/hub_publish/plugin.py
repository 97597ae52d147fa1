"""What hub-publish adds to hub: `hub.save_pretrained`, `hub.push_to_hub`, two commands."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

import hub
from hub import Command, hookimpl


@hookimpl
def hub_attributes() -> dict[str, str]:
    """Offer what saves and shares a network."""
    return {
        "push_to_hub": "hub_publish.pushing:push_to_hub",
        "save_pretrained": "hub_publish.saving:save_pretrained",
    }


@hookimpl
def hub_commands() -> list[Command]:
    """Return `hub download` and `hub push`."""
    return [
        Command(
            name="download",
            help="fetch a model into a folder that works without a network",
            add_arguments=_download_arguments,
            run=_download,
        ),
        Command(
            name="push",
            help="upload such a folder to the Hugging Face Hub",
            add_arguments=_push_arguments,
            run=_push,
        ),
    ]


def _download_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("name", help="resnet50.a1_in1k, hf_hub:org/name[@revision], ...")
    parser.add_argument("--to", required=True, metavar="FOLDER", help="made if it is not there")
    parser.add_argument("--cache-dir", help="where downloads are kept")


def _download(args: Namespace) -> int:
    from hub_publish.saving import save_pretrained

    model = hub.create_model(args.name, pretrained=True, cache_dir=args.cache_dir)
    save_pretrained(model, args.to)
    print(f"{args.name} is in {args.to}: use it as local-dir:{args.to}")
    return 0


def _push_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("folder", help="what `hub download` or hub.save_pretrained wrote")
    parser.add_argument("repository", help="org/name on the Hugging Face Hub")
    parser.add_argument("--private", action="store_true", help="make a new repository private")
    parser.add_argument("--revision", help="branch to commit to")
    parser.add_argument("--message", default="Add model", help="first line of the commit")


def _push(args: Namespace) -> int:
    from hub_publish.pushing import push_to_hub

    print(
        push_to_hub(
            args.folder,
            args.repository,
            private=args.private,
            revision=args.revision,
            commit_message=args.message,
        )
    )
    return 0
