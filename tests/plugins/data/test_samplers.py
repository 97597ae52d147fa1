import random
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from hub_data import (
    EpochSampler,
    OrderedDistributedSampler,
    RepeatAugSampler,
    ScheduledBatchSampler,
)
from hub_data.draws import mix, numpy_draws, python_draws, seeded, torch_generator


def test_an_epoch_shows_each_sample_once_and_each_epoch_another_order() -> None:
    sampler = EpochSampler(range(50), shuffle=True, seed=3)
    first = list(sampler)
    assert sorted(first) == list(range(50)) and list(sampler) == first
    sampler.set_epoch(1)
    assert sorted(sampler) == list(range(50)) and list(sampler) != first
    assert list(EpochSampler(range(5), shuffle=False)) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(("length", "ranks"), [(10, 3), (12, 3), (2, 4), (7, 1), (1, 3)])
def test_in_evaluation_each_sample_counts_once(length: int, ranks: int) -> None:
    samplers = [OrderedDistributedSampler(range(length), ranks, rank) for rank in range(ranks)]
    assert len({len(list(sampler)) for sampler in samplers}) == 1
    counted = [i for sampler in samplers for i in list(sampler)[: sampler.num_valid_samples]]
    assert sorted(counted) == list(range(length))


@pytest.mark.parametrize("repeats", [3, 2, 1.5])
def test_ranks_share_the_repeats_of_a_sample(repeats: float) -> None:
    ranks = [RepeatAugSampler(range(600), 3, rank, num_repeats=repeats) for rank in range(3)]
    shown = [list(sampler) for sampler in ranks]
    assert {len(rank) for rank in shown} == {512 // 3}
    counts = Counter(i for rank in shown for i in rank)
    assert sum(counts.values()) / len(counts) == pytest.approx(repeats, abs=0.05)
    if repeats == 3:
        assert shown[0] == shown[1] == shown[2]
    ranks[0].set_epoch(1)
    assert list(ranks[0]) != shown[0]


def test_repeats_cover_short_sets_too() -> None:
    sampler = RepeatAugSampler(range(10), 2, 0, shuffle=False, num_repeats=3)
    assert list(sampler) == [0, 0, 1, 2, 2]
    assert len(sampler) == 5


def test_samplers_without_a_process_group_say_what_to_do() -> None:
    with pytest.raises(RuntimeError, match="init_process_group first, or give"):
        OrderedDistributedSampler(range(3))
    with pytest.raises(ValueError, match="rank=3 of num_replicas=3"):
        OrderedDistributedSampler(range(3), 3, 3)
    with pytest.raises(ValueError, match="num_repeats=0"):
        RepeatAugSampler(range(3), 1, 0, num_repeats=0)


def draw() -> tuple:
    noise = torch.rand(2, generator=torch_generator()).tolist()
    return python_draws.random(), numpy_draws.randint(1000), noise, python_draws.gauss(0, 1)


def test_draws_of_a_sample_depend_on_its_seed_alone() -> None:
    with seeded(5):
        want = draw()
    with seeded(6):
        other = draw()
        with seeded(5):
            assert draw() == want
    assert all(a != b for a, b in zip(want, other, strict=True))
    with ThreadPoolExecutor(4) as pool:

        def one(seed: int) -> tuple:
            with seeded(seed):
                return draw()

        assert list(pool.map(one, [5, 6] * 50)) == [want, other] * 50


def test_draws_leave_the_global_generators_alone_and_are_theirs_outside() -> None:
    for generator in (random.seed, np.random.seed, torch.manual_seed):
        generator(4)
    want = random.random(), np.random.rand(), float(torch.rand(1))
    for generator in (random.seed, np.random.seed, torch.manual_seed):
        generator(4)
    with seeded(1):
        draw()
    got = python_draws.random(), numpy_draws.rand(), float(torch.rand(1, generator=None))
    assert got == want and torch_generator() is None


def test_neighbouring_seeds_are_unrelated() -> None:
    seeds = {mix(a, b) for a in range(40) for b in range(40)}
    assert len(seeds) == 1600 and mix(1, 2) != mix(2, 1)
    bits = np.array([[s >> k & 1 for k in range(64)] for s in seeds]).mean(0)
    assert np.abs(bits - 0.5).max() < 0.06


def test_scheduled_batches_use_each_sample_once_and_agree_between_ranks() -> None:
    ranks = [
        ScheduledBatchSampler(EpochSampler(range(100), shuffle=True, seed=rank), (4, 7, 9), seed=2)
        for rank in (0, 1)
    ]
    batches = [list(rank) for rank in ranks]
    places = [[(len(batch), batch[0][1]) for batch in rank] for rank in batches]
    assert places[0] == places[1] and all((4, 7, 9)[c] == size for size, c in places[0])
    samples = [sample for batch in batches[0] for sample, _ in batch]
    assert len(samples) == len(set(samples)) > 96 and len(ranks[0]) == len(batches[0])
    ranks[0].set_epoch(1)
    assert [len(batch) for batch in ranks[0]] != [size for size, _ in places[0]]
    all_used = ScheduledBatchSampler(range(100), (7, 9), drop_last=False)
    assert sum(map(len, all_used)) == 100


def test_a_progressive_schedule_goes_from_the_first_size_to_the_last() -> None:
    sampler = ScheduledBatchSampler(
        range(80), (8, 4), choice_schedule="progressive", schedule_epochs=5, schedule_random_mix=0.0
    )
    chosen = []
    for epoch in range(5):
        sampler.set_epoch(epoch)
        assert sampler.choice_weights_for_epoch(epoch).sum() == pytest.approx(1)
        chosen.append(np.mean([batch[0][1] for batch in sampler]))
    assert chosen[0] < 0.5 < chosen[-1] and len(list(sampler)) == len(sampler)
    fixed = ScheduledBatchSampler(range(5), (4,), num_batches=7)
    assert [len(batch) for batch in fixed] == [4] * 7
    far = ScheduledBatchSampler(
        range(50), (2,) * 3, [0, 0, 1], choice_schedule="progressive", schedule_epochs=9,
        schedule_spread=0.01,
    )  # fmt: skip
    assert far.choice_weights_for_epoch(0).tolist() == [0, 0, 1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(batch_sizes=()), "give one or more"),
        (dict(choice_weights=[1, -1]), "none below 0"),
        (dict(choice_schedule="sudden"), "'sudden': choose from constant, progressive"),
        (dict(choice_schedule="progressive"), "needs schedule_epochs"),
        (dict(schedule_random_mix=2), "schedule_random_mix=2 within"),
        (dict(batch_sizes=(50, 60)), "20 samples make no batch"),
    ],
)
def test_impossible_schedules_are_named(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ScheduledBatchSampler(range(20), **(dict(batch_sizes=(2, 3)) | options))
