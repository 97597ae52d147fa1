"""Positions of feature levels."""

import pickle

import pytest
from hub.features import FeatureInfo, take_indices


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (None, [0, 1, 2, 3, 4]),
        (2, [3, 4]),
        ([0, -1], [0, 4]),
        ((-1, 0), [0, 4]),
        ([3, 3, -2], [3]),
    ],
)
def test_indices_count_from_either_end(given, expected):
    assert take_indices(5, given) == expected


@pytest.mark.parametrize("given", [0, 6, -1, [5], (-6,)])
def test_indices_that_do_not_exist_are_refused(given):
    with pytest.raises(ValueError, match="5"):
        take_indices(5, given)


def test_table_answers_for_the_levels_handed_out():
    rows = [dict(num_chs=8 << i, reduction=2 << i, module=f"layer{i}") for i in range(4)]
    info = FeatureInfo(rows, (-1, 1))
    assert info.out_indices == (1, 3)
    assert info.channels() == [16, 64]
    assert info.reduction() == [4, 16]
    assert info.module_name() == ["layer1", "layer3"]
    assert info.channels(0) == 8
    assert info.channels([0, 2]) == [8, 32]
    assert info.get_dicts(keys=["num_chs"]) == [dict(num_chs=16), dict(num_chs=64)]
    assert info[2] == dict(num_chs=32, reduction=8, module="layer2", index=2)
    assert info.info is info
    assert info.from_other([0]).channels() == [8]
    copy = pickle.loads(pickle.dumps(info))
    assert copy == info
    assert copy.out_indices == (1, 3)


@pytest.mark.parametrize("given", [(), [], [1.0], (0, 1.5), "12", "1", 1.0, [None], object()])
def test_what_is_no_level_is_named_as_out_indices(given):
    with pytest.raises(ValueError, match=r"out_indices=.*: give the numbers .* levels are 0 to 4"):
        take_indices(5, given)


def test_whole_numbers_of_any_type_are_levels():
    class Whole:
        def __index__(self):
            return 2

    assert take_indices(5, [Whole(), 0]) == [0, 2]
