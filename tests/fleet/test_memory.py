"""What phones keep from round to round outlives their actor, and a repeated order starts from the same state."""

from __future__ import annotations

import itertools
import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch import Tensor

from fedray.errors import RunFailed
from fedray.fleet import memory
from fedray.fleet.memory import Memory, Range
from fedray.storage import storage

WIDTH = 5


def vectors(seed: int, phones: int = 3) -> Tensor:
    return torch.randn(phones, WIDTH, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "run" / "phones"


def of(folder: Path | str, first: int = 10, last: int = 13) -> Memory:
    return Memory(folder, first, last, WIDTH)


def test_before_the_first_round_there_is_nothing(folder):
    assert torch.equal(of(folder).before(1), torch.zeros(3, WIDTH))
    assert not folder.exists()


def test_what_was_kept_comes_back_to_the_bit(folder):
    mine = of(folder)
    mine.keep(1, vectors(1))
    assert torch.equal(mine.before(2), vectors(1))
    assert torch.equal(of(folder).before(2), vectors(1))  # another object: an actor that replaces this one


def test_another_process_reads_it_too(folder):
    of(folder).keep(1, vectors(1))
    script = (
        "import sys, pathlib; from fedray.fleet.memory import Memory; "
        f"print(Memory(pathlib.Path(sys.argv[1]), 10, 13, {WIDTH}).before(2).tolist() == {vectors(1).tolist()})"
    )
    done = subprocess.run([sys.executable, "-c", script, str(folder)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "True"


def test_a_repeated_order_starts_from_the_same_state(folder):
    mine = of(folder)
    mine.keep(1, vectors(1))
    mine.before(2).zero_()  # a round works on a copy
    assert torch.equal(mine.before(2), vectors(1))
    mine.keep(2, vectors(2))
    assert torch.equal(mine.before(2), vectors(1))  # the report was lost: the order comes again
    mine.keep(2, vectors(2))
    assert torch.equal(of(folder).before(2), vectors(1))
    assert torch.equal(of(folder).before(3), vectors(2))
    assert torch.equal(mine.before(1), torch.zeros(3, WIDTH))


def test_ranges_of_phones_do_not_meet(folder):
    of(folder, 0, 3).keep(1, vectors(1))
    of(folder, 3, 6).keep(1, vectors(2))
    assert torch.equal(of(folder, 0, 3).before(2), vectors(1))
    assert torch.equal(of(folder, 3, 6).before(2), vectors(2))


def test_files_that_no_repeated_order_needs_are_removed(folder):
    mine = of(folder)
    for number in range(1, 8):
        mine.keep(number, vectors(number))
        assert len(list(folder.iterdir())) == min(number, 2)
    assert torch.equal(of(folder).before(7), vectors(6))
    assert torch.equal(of(folder).before(8), vectors(7))


def test_a_state_that_is_gone_is_named(folder):
    with pytest.raises(RunFailed, match="phones 10 to 12 have no state after round 4"):
        of(folder).before(5)


@contextmanager
def no_file_larger_than(count: int) -> Iterator[None]:
    """The system cuts every write off there, as a full disk does."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (count, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_what_cannot_be_written_is_kept_in_the_process_and_leaves_nothing(folder, capfd):
    mine = of(folder)
    mine.keep(1, vectors(1))
    mine.keep(2, vectors(2))
    with no_file_larger_than(200):
        mine.keep(3, vectors(3))
    assert "private vectors of phones 10 to 12 after round 3 not written" in capfd.readouterr().err
    assert torch.equal(mine.before(4), vectors(3))
    assert torch.equal(of(folder).before(3), vectors(2))
    assert len(list(folder.iterdir())) == 2
    with pytest.raises(RunFailed):
        of(folder).before(4)


def test_rounds_that_cannot_be_written_can_be_repeated_all_the_same(folder):
    """Their orders come again if their reports are lost."""
    mine = of(folder)
    mine.keep(1, vectors(1))
    with no_file_larger_than(200):
        for number in (2, 3, 4):
            before = mine.before(number)
            mine.keep(number, vectors(number))
            assert torch.equal(mine.before(number), before)
            assert torch.equal(before, vectors(number - 1))
            mine.keep(number, vectors(number))
    mine.keep(5, vectors(5))
    assert torch.equal(mine.before(5), vectors(4))
    mine.keep(5, vectors(5))
    mine.keep(6, vectors(6))
    assert list(mine._held) == [6]  # and no more than one round is held once files are written again
    assert torch.equal(mine.before(6), vectors(5))


def test_the_store_is_opened_once(folder, monkeypatch):
    opened = []
    monkeypatch.setattr(memory, "storage", lambda place: opened.append(place) or storage(place))
    mine = of(folder)
    for number in range(1, 5):
        mine.before(number)
        mine.keep(number, vectors(number))
    assert opened == [folder]


def test_files_of_a_checkpoints_round_stay(folder):
    mine = Memory(folder, 10, 13, WIDTH, kept_every=3)
    for number in range(1, 9):
        mine.keep(number, vectors(number))
    assert [Range.of(path.name).round for path in sorted(folder.iterdir())] == [3, 6, 7, 8]


def test_files_that_somebody_else_wrote_stay(folder):
    of(folder).keep(1, vectors(1))  # an actor of a driver that was killed: a checkpoint may name it
    mine = of(folder)
    for number in range(2, 5):
        mine.keep(number, vectors(number))
    assert [Range.of(path.name).round for path in sorted(folder.iterdir())] == [1, 3, 4]


@given(st.data())
def test_phones_that_moved_take_their_vectors_along(data):
    phones = 12
    whole = vectors(3, phones)
    cuts = sorted({0, phones, *data.draw(st.lists(st.integers(1, phones - 1), max_size=6))})
    first = data.draw(st.integers(0, phones - 1))
    last = data.draw(st.integers(first + 1, phones))
    with tempfile.TemporaryDirectory() as folder:
        for low, high in itertools.pairwise(cuts):
            of(Path(folder), low, high).keep(4, whole[low:high])
        assert torch.equal(of(Path(folder), first, last).before(5), whole[first:last])


def test_a_gap_between_the_files_is_named(folder):
    of(folder, 0, 3).keep(1, vectors(1))
    of(folder, 4, 6).keep(1, vectors(2, 2))
    with pytest.raises(RunFailed, match="phones 0 to 5 have no state after round 1"):
        of(folder, 0, 6).before(2)


def test_a_damaged_file_is_found(folder):
    of(folder).keep(1, vectors(1))
    (file,) = folder.iterdir()
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    with pytest.raises(RunFailed, match="its checksum is wrong"):
        of(folder).before(2)


def test_at_a_uri_it_is_the_same():
    of("memory://memory-test/phones").keep(1, vectors(1))
    assert torch.equal(of("memory://memory-test/phones", 11, 13).before(2), vectors(1)[1:])


def test_who_reads_while_it_is_written_anew_reads_the_old_one_whole(folder):
    mine = of(folder)
    mine.keep(1, vectors(1))
    (file,) = folder.iterdir()
    whole = file.read_bytes()
    with file.open("rb") as reading:
        mine.keep(1, vectors(2))
        assert reading.read() == whole
    assert file.read_bytes() != whole


def test_without_memory_nothing_is_read(folder):
    assert Memory(folder, 0, 4, 0).before(9).shape == (4, 0)


def test_the_file_is_no_pickle(folder):
    of(folder).keep(1, vectors(1))
    (file,) = folder.iterdir()
    assert file.name == "phones-000000010-000000013-round-000001.safetensors"
    assert torch.equal(load_file(file)["memory"], vectors(1))
