"""Share a network on the Hugging Face Hub."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from hub import HubError, load_state_dict
from hub.pretrained.sources import INDEX_SUFFIX, LocalFolder, read_index
from torch import nn

from hub_publish.saving import CARD, CONFIG, save_pretrained


def push_to_hub(
    model: nn.Module | str | Path,
    repo_id: str,
    *,
    token: str | None = None,
    private: bool = False,
    revision: str | None = None,
    commit_message: str = "Add model",
    **options: Any,
) -> str:
    """Save a network into a repository on the Hugging Face Hub, made if it is not there.

    Only configuration, weights and card are uploaded; a card that the repository has is kept.

    Args:
        model: the network, or a folder that `save_pretrained` wrote.
        repo_id: "org/name".
        token: access token; default: the one that `hf auth login` stored, or `HF_TOKEN`.
        private: make a new repository private.
        revision: branch to commit to.
        commit_message: first line of the commit.
        **options: of a network, labels and preprocessing, see `save_pretrained`.

    Returns:
        Address of the commit.

    Raises:
        HubError: as `save_pretrained`, or the Hub refused.
        TypeError: options that are not of a folder.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    with tempfile.TemporaryDirectory() as temporary:
        if isinstance(model, nn.Module):
            save_pretrained(model, temporary, **options)
            model = temporary
        elif options:
            raise TypeError(f"{', '.join(options)}: stated when a folder is saved, not when pushed")
        source = LocalFolder(str(model))
        source.config()
        weights = source.weights()
        shards = read_index(weights).values() if weights.name.endswith(INDEX_SUFFIX) else ()
        files = [weights.name, *sorted(set(shards)), CONFIG, CARD]
        load_state_dict(weights)  # nothing damaged leaves the house
        api = HfApi(token=token, library_name="hub")
        try:
            api.create_repo(repo_id, private=private, exist_ok=True)
            if api.file_exists(repo_id, CARD, revision=revision):
                files.remove(CARD)
            commit = api.upload_folder(
                repo_id=repo_id,
                folder_path=model,
                allow_patterns=files,
                revision=revision,
                commit_message=commit_message,
            )
        except (HfHubHTTPError, HFValidationError, OSError) as e:
            reason = str(e).strip().splitlines()[0]
            raise HubError(
                f"hf-hub:{repo_id} could not be written: {reason}. Check the name, that you may "
                "write there, and your token (`hf auth login` or HF_TOKEN)"
            ) from e
    return str(commit.commit_url)
