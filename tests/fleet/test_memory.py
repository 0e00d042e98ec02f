"""What phones keep from round to round outlives their actor, and a repeated order starts from the same state."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

from fedray.errors import RunFailed
from fedray.fleet import memory as room
from fedray.fleet.memory import Memory

WIDTH = 5


def vectors(seed: int, phones: int = 3) -> Tensor:
    return torch.randn(phones, WIDTH, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "run" / "phones"


def of(folder: Path, first: int = 10, last: int = 13) -> Memory:
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


def test_a_torn_write_is_never_seen(folder, monkeypatch):
    mine = of(folder)
    mine.keep(1, vectors(1))
    mine.keep(2, vectors(2))

    def torn(tensors, path):
        Path(path).write_bytes(b"half")
        raise OSError("the node lost its power here")

    with monkeypatch.context() as patched:
        patched.setattr(room, "save_file", torn)
        for number in (2, 3):
            with pytest.raises(OSError, match="power"):
                mine.keep(number, vectors(9))
    assert torch.equal(of(folder).before(2), vectors(1))
    assert torch.equal(of(folder).before(3), vectors(2))
    with pytest.raises(RunFailed):
        of(folder).before(4)


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
    header = file.read_bytes()
    assert header[8 : 8 + int.from_bytes(header[:8], "little")].startswith(b'{"memory"')
