"""Methods beside what their authors publish."""

from __future__ import annotations

from pathlib import Path

import pytest

from gclrec.encoders import HISTORIES, REFINERS
from gclrec.losses.temperature import TEMPERATURES
from gclrec.settings.methods import DEPARTURES, METHODS
from gclrec.views.views import VIEWS

PUBLISHED = {
    # config/gowalla/supccl-gowalla.yaml of the authors: add_initial_embedding False, aug_type 0 (nodes),
    # ssl_ratio 0.3, ssl_temp 0.1, k 5, n_layers 3 (the default here), train_data_step 4096
    "nescl": {
        "layer_weights": "mean_without_0",
        "aug": "node_drop:0.3",
        "temperature": 0.1,
        "nearest": 5,
        "batch_size": 4096,
    },
    # the authors' command for Movielens: num_neg 128, lr_lambda 0.5 (equal weights), temp_value 2, num_sample
    # 0.5, batch_size 256; model_CLCRec.py: 256 hidden units, inner products between users and items
    "clcrec": {
        "loss_score": "dot",
        "loss_temperature": 2.0,
        "num_negatives": 128,
        "ssl_weight": 1.0,
        "temperature": 2.0,
        "content_share": 0.5,
        "content_hidden": 256,
        "batch_size": 256,
    },
    # the authors' log of ml-1m: context_hops 1, temperature 0.15, temperature_2 1.1, n_negs 800 (uniform),
    # generate_mode cosine
    "bsl_lightgcn": {
        "num_layers": 1,
        "loss_temperature": 0.15,
        "loss_power": 1.1,
        "num_negatives": 800,
        "score": "cosine",
    },
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_settings_are_those_of_the_authors(name: str) -> None:
    assert PUBLISHED[name].items() <= METHODS[name].settings.items()


def test_departures_name_what_there_is() -> None:
    """Each stands under a method or a component, once, and in docs/reference/methods.md."""
    known = {*METHODS, *VIEWS, *TEMPERATURES, *REFINERS, *HISTORIES}
    assert DEPARTURES.keys() <= known
    expected = {"lightgcl", "buir", "selfcf", "egcf", "ccl", "graphcl", "swav", "sgl", "bsl_lightgcn"}
    assert expected | {"masknet", "attention", "feature_mask", "gca_edge_drop"} <= DEPARTURES.keys()
    page = (Path(__file__).parents[2] / "docs" / "reference" / "methods.md").read_text(encoding="utf-8")
    for name, departures in DEPARTURES.items():
        for departure in departures:
            assert f"| `{name}` | {departure.here} |" in page
