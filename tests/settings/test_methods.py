"""Methods beside what their authors publish."""

from __future__ import annotations

import pytest

from gclrec.settings.methods import METHODS

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
