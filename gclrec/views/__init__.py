"""Views: how the two sides of a contrast are made."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gclrec.common.lazy import lazy

if TYPE_CHECKING:
    from gclrec.views.augment import augment as augment
    from gclrec.views.transform import Augment as Augment
    from gclrec.views.views import VIEWS as VIEWS
    from gclrec.views.views import make_view as make_view
    from gclrec.views.views import parse_augmentations as parse_augmentations

__all__, __getattr__, __dir__ = lazy(
    __name__,
    {
        "gclrec.views.augment": "augment",
        "gclrec.views.transform": "Augment",
        "gclrec.views.views": "VIEWS make_view parse_augmentations",
    },
)
