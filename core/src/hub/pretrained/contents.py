"""What a file holds, told by its first bytes: names and suffixes lie."""

from __future__ import annotations

HEAD = 512  # bytes that tell

_PAGE = (b"<!doctype html", b"<html", b"<?xml")


def not_the_file(head: bytes) -> str | None:
    """Say what lies in place of the file that was meant, if its first bytes betray it."""
    if not head:
        return "is empty: its download or its saving broke off. Fetch or save it again"
    if head.startswith(b"version https://git-lfs"):
        return (
            "is a Git LFS pointer, not the file it stands for: run `git lfs pull` in the "
            "repository, or download the file itself"
        )
    if head.lstrip(b"\xef\xbb\xbf \t\r\n").lower().startswith(_PAGE):
        return (
            "is a web page, not the file that was asked for: download the address of the file "
            "itself (on huggingface.co it has /resolve/ where the page has /blob/)"
        )
    return None
