"""Views: how the two sides of a contrast are made."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gclrec.common.lazy import lazy

if TYPE_CHECKING:
    from gclrec.views.augment import augment
    from gclrec.views.transform import Augment
    from gclrec.views.views import VIEWS, make_view, parse_augmentations

__all__ = ["VIEWS", "Augment", "augment", "make_view", "parse_augmentations"]

__getattr__, __dir__ = lazy(
    __name__,
    {
        "Augment": "gclrec.views.transform",
        "augment": "gclrec.views.augment",
        **dict.fromkeys(("VIEWS", "make_view", "parse_augmentations"), "gclrec.views.views"),
    },
)
