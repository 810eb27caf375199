"""The settings of a run as typed keywords. Made by ``python scripts/reference.py``."""

# fmt: off
from __future__ import annotations

from typing import Any, Literal, TypedDict


class Settings(TypedDict, total=False):
    """Keywords of :func:`gclrec.fit`; all are optional."""

    dataset: str
    """Catalogue name (see `gclrec data list`), or a file or folder of interactions."""
    user_column: str | None
    """Column with user ids, where it cannot be guessed."""
    item_column: str | None
    """Column with item ids."""
    time_column: str | None
    """Column with timestamps."""
    weight_column: str | None
    """Column with ratings or other weights."""
    user_id_column: str | None
    """Column with ids in the table of user attributes, where it cannot be guessed."""
    item_id_column: str | None
    """Column with ids in the table of item attributes, where it cannot be guessed."""
    no_header: bool
    """CSV and TSV begin with the first row; the columns are called 1, 2 and so on."""
    quote: str
    """Character around fields of CSV and TSV; none if quotes have no meaning."""
    format: str
    """File format, where it is not recognised by suffix or content."""
    test_file: str | None
    """File of a published test part, beside a file of training pairs."""
    valid_file: str | None
    """File of a published validation part."""
    user_attributes: Any
    """File of user attributes. Default: those of the data set, where it has any."""
    item_attributes: Any
    """File of item attributes. Default: those of the data set, where it has any."""
    attribute_min_count: int
    """Users (or items) that must have an attribute value for it to be known; rarer ones read as missing."""
    min_rating: float | None
    """Keep interactions with at least this rating. Default: those with a rating above 0."""
    repeats: Literal["first", "last", "max", "sum"]
    """Which row of a repeated pair stays, after --min-rating: first or last by time, max or sum by
    weight."""
    k_core: int | None
    """Keep users and items with at least this many interactions, to a fixed point."""
    split_seed: int | None
    """Seed of the split. Default: --seed."""
    aug: str
    """How views are made: names from none, edge_drop, node_drop, edge_perturb, random_walk, feature_mask,
    degree_edge_drop, gca_edge_drop, layer_edge_drop, noise, svd. NAME:P sets a strength; A+B applies both
    in sequence; A,B makes a different one for each view; none is training without contrast."""
    aug_p: float
    """Strength of every augmentation that names none: mostly the share that is dropped."""
    views_every: Literal["batch", "epoch"]
    """Draw fresh views for every batch or epoch."""
    ssl_weight: float
    """Weight of the contrastive loss, beside 1 for the ranking loss (both are means)."""
    epochs: int | None
    """Passes over the training pairs, at most. Default: 30, or 1600 steps where that is less."""
    steps: int | None
    """Optimiser steps, at most, in place of epochs: batches grow with the data, their number does not."""
    batch_size: int | None
    """Training pairs in a batch. Default: 2048; with steps, more where they make fewer than 4 passes."""
    micro_batch: int
    """Pairs that are compared with each other, at most: larger batches are cut into equal parts, which
    share one propagation."""
    learning_rate: float
    """Step size of Adam."""
    start_from: str | None
    """Run folder whose vectors training starts from, and whose settings hold unless given, with a tenth of
    its epochs or steps. New users and items start from what their neighbours predict."""
    sample_edges: float
    """Share of the interactions that a training step propagates over, drawn anew and weighted so that the
    operator is right on average. Evaluation uses all."""
    warmup: float
    """Epochs (with steps: eighths of the run) in which the learning rate first rises from near 0."""
    l2_weight: float
    """Weight of L2 on the batch's layer-0 vectors."""
    patience: int
    """Stop after this many validations without a better one; 0 never stops early."""
    refit: bool
    """After choosing the length, train anew on training and validation pairs together."""
    pilot: float
    """Share of the steps that short trainings take first, which choose a recipe on validation; 0 trains
    with the settings as they are."""
    held: tuple[str, ...]
    """Settings that the pilot leaves as they are; those that are given are added."""
    seed: int
    """Seed of the start, of the batches and, by default, of the split."""
    precision: Literal["single", "half", "half_propagation"] | None
    """Of training: single, half, which is bfloat16 in propagation and the matrix products of losses and
    towers, or half_propagation. Default: single; beyond a million training pairs half_propagation."""
    device: Literal["auto", "cpu", "cuda"]
    """auto, cpu or cuda."""
    tensorboard: bool
    """Also write TensorBoard scalars into the run folder."""
    eval_every: int | None
    """Epochs (with steps: eighths of the run) between validations. Default: 1; with steps, beyond a million
    training pairs, 2."""
    valid_users: int | None
    """Users whose validation pairs are ranked: of more, so many are drawn, the same in all runs on a split.
    Default: 10000; 0 ranks all."""
    test_users: int | None
    """Users whose test pairs are ranked: of more, so many are drawn. Default: as many as take 10 billion
    scores with all items, which on most data is all users; 0 ranks all."""
    select: str
    """Validation figure that chooses the best epoch, METRIC@K or GROUP/METRIC@K as cold_items/recall@20."""
    goal: Literal["all", "warm", "cold_items", "cold_users", "balanced"] | None
    """Whom the figure of --select is of, where it names no group: all, warm, cold_items, cold_users,
    balanced. Warm and balanced, the mean of warm and cold, are of users where the split is cold_users,
    otherwise of items. Default: balanced where the split is cold_items or cold_users, otherwise all."""
    ks: tuple[int, ...]
    """Cut-offs of the ranked lists."""
    metrics: tuple[str, ...]
    """From recall, ndcg, precision, hit, mrr, map."""
    near_cold: int
    """Users and items with 1 to this many training interactions are called near-cold."""
    train_fraction: float
    """Share of the training interactions to train on (sparsity study)."""
    split: Literal["given", "random", "leave_one_out", "temporal", "cold_items", "cold_users"] | None
    """What is tested on: given (the published parts); random (a random share of each user's pairs);
    leave_one_out (each user's last pair); temporal (the latest pairs); cold_items (all pairs of some
    items); cold_users (all pairs of some users). Default: the data set's own."""
    valid_share: float
    """Share held out for validation, on which the best epoch is chosen; with 0 the last epoch stands."""
    test_share: float
    """Share held out for the test, which is read once; 0, with refit, trains on all the data."""
    cold_share: float
    """Share of items (or users) made cold by the cold splits."""
    shots: int
    """Training interactions that a cold item (or user) keeps; above 0 they are near-cold."""
    baseline: Literal[
        "popularity", "group_popularity", "item_knn", "content_knn", "linear_map", "pure_svd", "gf_cf",
        "rp3beta", "ease", "ials"
    ]
    """Fit one of popularity, group_popularity, item_knn, content_knn, linear_map, pure_svd, gf_cf, rp3beta,
    ease, ials instead of training an encoder."""
    group_fields: str
    """Categories of users that together make the groups of group_popularity, with commas between them.
    Default: each of the table in turn that leaves groups of 30 users on average."""
    group_smoothing: float
    """Interactions of users of all groups that count in each group of group_popularity."""
    neighbours: int
    """Items that item_knn and rp3beta keep of each item."""
    shrink: float
    """Added to the denominator of item_knn's cosine, against items with few shared users."""
    map_l2: float
    """L2 of linear_map: small fits the items of training, large comes close to content_knn."""
    dim: int
    """Length of an embedding."""
    rank: int
    """Singular vectors of gf_cf's low-pass filter (pure_svd takes dim)."""
    low_pass: float
    """Weight of gf_cf's low-pass filter, beside 1 for its linear filter."""
    walk_exponent: float
    """Power of rp3beta's transition probabilities; above 1 likely steps count for more."""
    popularity_damping: float
    """Power of an item's degree that rp3beta divides its score by."""
    ease_l2: float
    """Weight of ease's L2 on the weights between items."""
    unobserved_weight: float
    """Weight of a pair without interaction in ials, beside 1 for one with."""
    ials_l2: float
    """Weight of L2 in ials."""
    l2_exponent: float
    """Power of a node's weight of pairs in the L2 of ials: 0 for all nodes alike, 1 by what they weigh."""
    iterations: int
    """Rounds of ials: users, then items."""
    start_scale: float
    """Length of ials' vectors at the start."""
    encoder: Literal["lightgcn", "mf", "egcf", "two_tower", "sage", "gat"]
    """What makes the embeddings: lightgcn (the average of linear propagation steps); mf (a free vector for
    each user and item); egcf (propagation with a tanh from item vectors alone); two_tower (a perceptron for
    each side, from ids, attributes and histories); sage (sage convolutions of PyTorch Geometric); gat (gat
    convolutions of PyTorch Geometric)."""
    num_layers: int
    """Propagation steps."""
    layer_weights: Literal["mean", "mean_without_0", "last", "learned"]
    """One of mean, mean_without_0, last, learned."""
    degree_exponent: float
    """Exponent a of lightgcn's edge weights (d_u d_i)^-a; below the paper's 0.5 popular nodes spread
    more."""
    user_vectors: Literal["free", "items"]
    """What a user of lightgcn is before the first layer: free, a vector of its own; items, what its items
    make of it (fewer parameters, cheaper steps)."""
    init_std: float
    """Standard deviation of the normal start."""
    attributes: Literal["none", "input", "nodes", "map"]
    """What attributes do: none leaves them aside, input adds them to the ids before the first layer, nodes
    makes each of their values a node of the graph, map gives users and items without interactions the
    vectors that a linear map, fitted to those of the others, makes of their attributes."""
    id_dropout: float
    """Probability that a node with attributes is trained as a cold one: without its id and interactions."""
    refiner: Literal["none", "senet", "masknet", "contextnet"]
    """How two_tower sees fields in context: none, senet, masknet, contextnet."""
    tower_layers: int
    """Layers of two_tower's perceptron; 0 adds the fields up."""
    history: Literal["none", "mean", "attention"]
    """What two_tower makes of the items a user took last: none leaves them aside; mean, attention."""
    history_length: int
    """Items of a history, at most: the newest ones."""
    init: Literal["normal", "xavier", "spectral"]
    """Start of the free vectors: normal (normal, with standard deviation init_std); xavier (normal, short);
    spectral (singular directions of the graph)."""
    score: Literal["dot", "cosine", "calibrated"]
    """What items are ranked by, in evaluation, index and recommendations: dot (the inner product); cosine
    (the cosine: the vectors are written at unit length); calibrated (cosine times the item's length to a
    power that validation chooses)."""
    loss: Literal["bpr", "softmax", "bsl", "ccl", "directau", "none"]
    """What the ranking loss asks for: bpr (positive above negative); softmax (the positive among the
    negatives); bsl (softmax with a second temperature); ccl (cosines with a margin); directau (alignment
    and uniformity); none (the contrast alone)."""
    loss_score: Literal["dot", "cosine"] | None
    """What the loss compares by, dot or cosine. Default: dot for bpr, else cosine."""
    loss_temperature: float | str
    """Temperature of softmax and bsl: a number; learned[:START] (softmax), trained with the rest; or
    adaptive[:START] (softmax, bsl), one for each user, found anew at each epoch."""
    loss_power: float
    """Power of bsl's sum over negatives (its second temperature); 1 weighs both sides alike."""
    loss_margin: float
    """Cosine above which ccl pushes a negative away."""
    negative_weight: float
    """Weight of ccl's mean over negatives, beside 1 for the positive."""
    uniformity_weight: float
    """Weight of directau's uniformity, beside 1 for its alignment."""
    negatives: Literal["uniform", "popularity", "shared", "in_batch", "mixed", "exposed", "queue"]
    """Where negatives come from: uniform (all items alike); popularity (popular items more often); shared
    (uniform items, the same for the whole batch); in_batch (the batch's other items); mixed (in_batch and
    shared together); exposed (items shown and not clicked); queue (the items of the last batches)."""
    num_negatives: int | None
    """Negatives of a pair (uniform, popularity, exposed; default 1) or drawn for a whole batch (shared;
    default 1024; mixed: uniform ones, default as many as the batch has pairs)."""
    logq: bool
    """Correct softmax and bsl for how often a negative is drawn, so that they aim at the whole
    catalogue."""
    popularity_alpha: float
    """Exponent of the item degree in popularity negatives."""
    logq_positive: bool
    """With logq, correct the positive's score of softmax like those of the negatives (Yi et al., 2019)."""
    exposed: str | None
    """File of pairs that were shown and not clicked, for exposed negatives; raw ids, columns named as in
    the data."""
    exposed_share: float | None
    """Share of shown pairs in exposed negatives, beside uniform ones. Default 0.5."""
    queue_size: int
    """Training pairs whose items queue negatives keep; keys in each of moco's queues."""
    ssl: str
    """What is contrasted: none (nothing); infonce (two views of a node); cross_layer (the final embedding
    and one layer of a single view); moco (a view and a momentum twin's of another, against a queue); swav
    (a view and the cluster of another); concat (a user and the cluster of its item, and the reverse); ncl
    (an even layer and layer 0 of a node, and its layer 0 and its k-means prototype); byol (a user's
    prediction and its item's target, and the other way round, without negatives); neighbour (the two ends
    of an interaction); nearest (two views of a node, one of its neighbour in the batch and one of a similar
    node); features (two views of a node's attributes); histories (two views of what a user took last);
    content (the vector of a node and what its attributes alone make of it). A+B:W adds up A and W times
    B."""
    temperature: float | str
    """Temperature of the contrastive loss: a number, or learned[:START], trained with the rest."""
    ssl_negatives: Literal["batch", "all"]
    """What infonce compares a node with: batch is the batch's other nodes, all is all others."""
    head_layers: int
    """Layers of a projection head (0 to 3) whose output the contrast compares in place of the
    embeddings."""
    ssl_layer: int | None
    """Layer that cross_layer (default 1) or ncl (an even one, default 2) contrasts with; 0 is the input."""
    momentum: float
    """Share of itself that the twin of moco, or the target of byol, keeps when it follows the encoder."""
    num_prototypes: int
    """Clusters of users, and as many of items, of swav and concat."""
    prototype_queue: int
    """Rows of former batches that swav and concat balance codes with, for batches of fewer nodes than
    prototypes; 0 for none."""
    item_weight: float
    """Weight of ncl's layers of items, beside 1 for those of users."""
    prototype_weight: float
    """Weight of ncl's prototypes, beside 1 for its layers."""
    clusters: int
    """Prototypes that ncl makes of each side by k-means, at most a quarter of its nodes."""
    cluster_after: int
    """Epochs before ncl first makes prototypes."""
    ssl_target: Literal["momentum", "history"]
    """Targets of byol: momentum (a slow twin of the encoder, BUIR) or history (what was last seen of a
    node, SelfCF)."""
    neighbour_form: Literal["unseen", "egcf", "lightccf", "sccf"]
    """What neighbour compares a pair with, as in unseen, egcf, lightccf, sccf."""
    nearest: int
    """Nearest users and items of each, of which nearest draws one."""
    feature_views: str
    """How features sees fields twice: dropout, random, correlated, or the fields of each view by name, as
    title,brand|price,category."""
    feature_drop: float
    """Share of values (and, for dropout, of fields with one value) that views of features drop."""
    ssl_sides: Literal["items", "users", "both"]
    """Whose fields features contrasts: items, users or both."""
    history_views: str
    """How histories change a history: names from history_crop, history_mask, history_reorder, with commas
    between them; each user gets one of them at random."""
    history_drop: float
    """Share of a history that views of histories cut off, hide or shuffle."""
    content_share: float
    """Probability that the ranking loss sees what content makes of attributes in place of a node's
    vector."""
    content_hidden: int
    """Hidden units of content's encoder of attributes; 0 makes it linear."""
    schedule: Literal["constant", "cosine", "linear"]
    """Course of the learning rate: constant (the same throughout); cosine (falls along half a cosine);
    linear (falls along a line)."""
