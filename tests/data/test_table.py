"""The user's own table comes out as it went in, grouped by phone; and everything that is wrong with it is said."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from fedray.config import TableData
from fedray.data.shards import Dataset, ParquetShards, prepare
from fedray.data.sources import NAMES_FILE
from fedray.errors import Problem, UserMistake

DIARY = {
    "patient": ["eva", "bob", "eva", "bob", "ann", "eva"],
    "day": [3, 1, 1, 2, 5, 2],
    "pulse": [70.5, 80.0, 71.0, 81.0, 60.0, 72.0],
    "steps": [100, 200, 110, 210, 300, 120],
    "smokes": [False, True, False, True, False, False],
}


def parquet(directory: Path, columns: Any, name: str = "diary.parquet") -> Path:
    pq.write_table(columns if isinstance(columns, pa.Table) else pa.table(columns), directory / name)
    return directory / name


def csv(directory: Path, text: str) -> Path:
    (directory / "diary.csv").write_text(text)
    return directory / "diary.csv"


def table(path: Path, **knobs: Any) -> TableData:
    return TableData(**{"source": "table", "path": path, "phone": "patient", "time": "day", "test_share": 0.0, **knobs})


def rows_of(dataset: Dataset, split: str, *columns: str) -> list[list[Any]]:
    """A phone a list of its rows; a row alone if only one column is asked for."""
    read = ParquetShards(dataset).read(0, dataset.phones, split, columns)
    values = [read.columns[name].tolist() for name in columns]
    rows = values[0] if len(columns) == 1 else list(zip(*values, strict=True))
    return [rows[first:last] for first, last in zip(read.offsets[:-1], read.offsets[1:], strict=True)]


def names_of(dataset: Dataset) -> list[Any]:
    return pq.read_table(dataset.path / NAMES_FILE).column("name").to_pylist()


def mistakes(home: Path, data: TableData, columns: list[str] | None = None) -> tuple[Problem, ...]:
    """What is wrong; and that nothing was written."""
    with pytest.raises(UserMistake) as caught:
        prepare(data, 1, home / "home", columns=columns)
    assert not (home / "home").exists()
    return caught.value.problems


class TestGoodTables:
    def test_rows_are_grouped_by_phone_in_order_of_name_and_of_time(self, tmp_path):
        dataset = prepare(table(parquet(tmp_path, DIARY)), 1, tmp_path)
        assert names_of(dataset) == ["ann", "bob", "eva"]
        assert rows_of(dataset, "train", "day", "pulse", "steps", "smokes") == [
            [(5, 60.0, 300, False)],
            [(1, 80.0, 200, True), (2, 81.0, 210, True)],
            [(1, 71.0, 110, False), (2, 72.0, 120, False), (3, 70.5, 100, False)],
        ]
        assert dataset.columns == ("phone", "day", "pulse", "steps", "smokes", "split")
        assert (dataset.source, dataset.time, dataset.series) == ("table", "day", {})
        assert dataset.rows == {"train": 6, "test": 0}
        assert dataset.longest == {"train": 3, "test": 0}

    def test_types_stay_as_they_are(self, tmp_path):
        types = {"a": np.float32, "b": np.uint8, "c": np.int16, "d": np.bool_, "e": np.float64}
        columns = {name: np.ones(2, dtype=kind) for name, kind in types.items()}
        dataset = prepare(table(parquet(tmp_path, {"patient": [1, 2], "day": [0, 0], **columns})), 1, tmp_path)
        expected = {name: np.dtype(kind) for name, kind in types.items()}
        read = ParquetShards(dataset).read(0, 2, "train", list(types)).columns
        assert {name: values.dtype for name, values in read.items()} == expected
        empty = ParquetShards(dataset).read(0, 2, "test", list(types)).columns
        assert {name: values.dtype for name, values in empty.items()} == expected

    def test_a_csv_file_gives_what_parquet_gives(self, tmp_path):
        pd.DataFrame(DIARY).to_csv(tmp_path / "diary.csv", index=False)
        one, other = (prepare(table(tmp_path / n), 1, tmp_path) for n in ("diary.csv", parquet(tmp_path, DIARY).name))
        wanted = ("day", "pulse", "steps", "smokes")
        assert rows_of(one, "train", *wanted) == rows_of(other, "train", *wanted)
        assert names_of(one) == names_of(other)

    @pytest.mark.parametrize(
        ("spelt", "names"),
        [
            (["10", "9", "-1"], [-1, 9, 10]),
            (["10", "9", "x"], ["10", "9", "x"]),
            (["007", "7", "8"], ["007", "7", "8"]),
            (["99999999999999999999", "1", "2"], ["1", "2", "99999999999999999999"]),
            (["NA", "b", "ä"], ["NA", "b", "ä"]),
        ],
    )
    def test_phones_of_a_csv_file_are_integers_only_if_all_are_spelt_as_such(self, tmp_path, spelt, names):
        text = "patient,day,x\n" + "".join(f"{name},1,1\n" for name in spelt)
        assert names_of(prepare(table(csv(tmp_path, text)), 1, tmp_path)) == names

    @pytest.mark.parametrize("kind", [pa.large_string(), pa.dictionary(pa.int32(), pa.string()), pa.string_view()])
    def test_text_may_be_stored_in_any_way(self, tmp_path, kind):
        columns = {
            **DIARY,
            "patient": pa.array(DIARY["patient"]).cast(kind),
            "fold": pa.array(["train"] * 6).cast(kind),
        }
        dataset = prepare(table(parquet(tmp_path, columns), split="fold"), 1, tmp_path)
        assert names_of(dataset) == ["ann", "bob", "eva"]

    def test_without_time_rows_stay_in_the_order_of_the_file(self, tmp_path):
        dataset = prepare(table(parquet(tmp_path, DIARY), time=None), 1, tmp_path)
        assert rows_of(dataset, "train", "day") == [[5], [1, 2], [3, 1, 2]]
        assert dataset.time is None

    @pytest.mark.parametrize(
        ("share", "tests"), [(0.0, [0, 0, 0]), (0.2, [0, 0, 1]), (0.5, [0, 1, 2]), (0.99, [0, 1, 2])]
    )
    def test_the_last_share_of_a_phones_rows_is_its_test_rows_but_never_all(self, tmp_path, share, tests):
        dataset = prepare(table(parquet(tmp_path, DIARY), test_share=share), 1, tmp_path)
        train, test = (rows_of(dataset, split, "day") for split in ("train", "test"))
        assert [len(phone) for phone in test] == tests
        assert [first + last for first, last in zip(train, test, strict=True)] == [[5], [1, 2], [1, 2, 3]]

    def test_a_split_column_decides_and_the_same_days_may_stand_in_both(self, tmp_path):
        columns = {
            "patient": [1, 1, 2, 1],
            "day": [0, 0, 0, 1],
            "x": [1, 2, 3, 4],
            "fold": ["train", "test", "test", "train"],
        }
        dataset = prepare(table(parquet(tmp_path, columns), split="fold"), 1, tmp_path)
        assert rows_of(dataset, "train", "x") == [[1, 4], []]
        assert rows_of(dataset, "test", "x", "split") == [[(2, "test")], [(3, "test")]]
        assert dataset.columns == ("phone", "day", "x", "split")

    def test_chosen_phones_are_random_and_nested_over_sizes(self, tmp_path):
        path = parquet(tmp_path, {"patient": np.arange(100, 200), "day": np.zeros(100, int), "x": np.arange(100)})
        few, many, others = (
            prepare(table(path, phones=phones), seed, tmp_path) for phones, seed in ((5, 1), (20, 1), (5, 2))
        )
        assert (few.phones, many.phones) == (5, 20)
        assert names_of(few) == names_of(many)[:5]
        assert names_of(few) != names_of(others)
        assert len(set(names_of(many))) == 20
        assert [100 + phone[0] for phone in rows_of(many, "train", "x")] == names_of(many)

    def test_columns_that_are_no_numbers_are_left_out_and_named(self, tmp_path):
        columns = {**DIARY, "note": list("abcdef"), "when": pa.array([0] * 6, pa.date32())}
        dataset = prepare(table(parquet(tmp_path, columns)), 1, tmp_path)
        assert "note" not in dataset.columns
        assert dataset.provenance["left_out"] == {
            "note": "string, not a number",
            "when": "date32[day], not a number",
        }

    def test_only_the_named_columns_are_checked_and_stored(self, tmp_path):
        columns = {**DIARY, "note": list("abcdef"), "weight": [None, 1, 2, 3, 4, 5]}
        dataset = prepare(table(parquet(tmp_path, columns)), 1, tmp_path, columns=["steps"])
        assert dataset.columns == ("phone", "day", "steps", "split")

    def test_a_phone_with_more_rows_than_a_row_group_is_read_whole(self, tmp_path):
        count = np.array([70_000, 3, 40_000])
        columns = {"patient": np.repeat([1, 2, 3], count), "day": np.concatenate([np.arange(n) for n in count])}
        dataset = prepare(table(parquet(tmp_path, {**columns, "x": np.arange(count.sum())})), 1, tmp_path)
        assert dataset.longest == {"train": 70_000, "test": 0}
        shards = ParquetShards(dataset)
        for phone, (first, last) in enumerate([(0, 70_000), (70_000, 70_003), (70_003, 110_003)]):
            read = shards.read(phone, phone + 1, "train", ["x", "day"])
            assert_array_equal(read.columns["x"], np.arange(first, last))
        groups = pq.ParquetFile(dataset.path / "train-00000.parquet").metadata
        assert max(groups.row_group(n).num_rows for n in range(groups.num_row_groups)) <= 1 << 15

    @settings(max_examples=40, deadline=None)
    @given(
        phones=st.lists(st.sampled_from("abcdef"), min_size=1, max_size=40),
        share=st.sampled_from([0.0, 0.2, 0.5]),
        shuffled=st.randoms(use_true_random=False),
    )
    def test_any_table_comes_out_complete_and_in_order(self, tmp_path_factory, phones, share, shuffled):
        home = tmp_path_factory.mktemp("any")
        day = list(range(len(phones)))
        shuffled.shuffle(day)
        path = parquet(home, {"patient": phones, "day": day, "x": [10 * value for value in day]})
        dataset = prepare(table(path, test_share=share), 1, home)
        expected = [sorted(d for d, p in zip(day, phones, strict=True) if p == name) for name in sorted(set(phones))]
        train, test = (rows_of(dataset, split, "day", "x") for split in ("train", "test"))
        found = [first + last for first, last in zip(train, test, strict=True)]
        assert found == [[(value, 10 * value) for value in phone] for phone in expected]


class TestReuse:
    def digest(self, home: Path, data: TableData, seed: int = 1, columns: list[str] | None = None) -> str:
        return prepare(data, seed, home, columns=columns).digest

    def test_the_digest_is_that_of_the_content_and_of_what_makes_a_difference(self, tmp_path):
        columns = {**DIARY, "fold": ["train"] * 6}
        path = parquet(tmp_path, columns)
        base = self.digest(tmp_path, table(path))
        same = [
            self.digest(tmp_path, table(parquet(tmp_path, columns, "moved.parquet"))),
            self.digest(tmp_path, table(path), seed=2),
        ]
        others = [
            self.digest(tmp_path, table(path, time=None)),
            self.digest(tmp_path, table(path, phone="steps")),
            self.digest(tmp_path, table(path, test_share=0.5)),
            self.digest(tmp_path, table(path, split="fold")),
            self.digest(tmp_path, table(path, phones=2)),
            self.digest(tmp_path, table(path, phones=2), seed=2),
            self.digest(tmp_path, table(path), columns=["pulse"]),
            self.digest(tmp_path, table(parquet(tmp_path, {**columns, "steps": [1] * 6}, "b.parquet"))),
        ]
        assert set(same) == {base}
        assert len({base, *others}) == 9
        assert self.digest(tmp_path, table(path, split="fold", test_share=0.5)) == others[3]


FOLD = {"split": "fold"}


def changed(column: str, values: Any) -> dict[str, Any]:
    return {**DIARY, column: values}


class TestBadTables:
    """Each mistake gets one message, which names the place and the mend."""

    @pytest.mark.parametrize(
        ("columns", "knobs", "place", "value", "allowed"),
        [
            ({}, {"phone": "pateint"}, "data.phone", "pateint", "has no such column"),
            ({}, {"time": "days"}, "data.time", "days", "has no such column"),
            ({}, {"split": "fold"}, "data.split", "fold", "has no such column"),
            ({}, {"time": "patient"}, "data", "patient, patient", "three different columns"),
            (changed("pulse", [1, 2, None, 4, 5, 6]), {}, "column 'pulse', row 3", "missing", "finite number"),
            (changed("pulse", [1, 2, 3, np.nan, np.nan, 6.0]), {}, "'pulse', row 4", "NaN (2 such rows)", "finite"),
            (changed("pulse", [1, 2, 3, 4, -np.inf, 6.0]), {}, "column 'pulse', row 5", "infinite", "finite number"),
            (changed("smokes", [True, None] * 3), {}, "column 'smokes', row 2", "missing (3 such rows)", "finite"),
            (changed("patient", ["a", None, "b", "", "c", "d"]), {}, "row 2", "missing (2 such rows)", "name"),
            (changed("patient", [1, 2, 3, 4, 5, None]), {}, "column 'patient', row 6", "missing", "name its phone"),
            (changed("patient", [1.0, 2, 3, 4, 5, 6]), {}, "column 'patient'", "double", "integer or text"),
            (changed("patient", DIARY["smokes"]), {}, "column 'patient'", "bool", "integer or text"),
            (changed("day", [1.5] * 6), {}, "column 'day'", "double", "integer"),
            (changed("day", list("abcdef")), {}, "column 'day'", "string", "integer"),
            (changed("day", [1, 2, 3, 4, 5, None]), {}, "column 'day', row 6", "missing", "finite number"),
            (changed("day", [3, 1, 1, 2, 5, 3]), {}, "column 'day', row 6", "the same time again", "one row at a time"),
            (changed("fold", ["train", "test", "X"] * 2), FOLD, "row 3", "something else (2 such rows)", "test"),
            (changed("fold", ["train", None] * 3), FOLD, "'fold', row 2", "something else (3 such rows)", "'train'"),
            (changed("fold", [0, 1] * 3), FOLD, "column 'fold'", "int64", "'train' or 'test'"),
            (changed("fold", ["test"] * 6), FOLD, "diary.parquet", "no training rows", "training rows"),
            ({**DIARY, "split": ["train"] * 6}, {}, "column 'split'", "", "is taken"),
            ({**DIARY, "phone": [1] * 6}, {}, "column 'phone'", "", "is taken"),
            ({}, {"phones": 4}, "data.phones", "4", "3 phones only"),
            ({name: [] for name in DIARY}, {}, "diary.parquet", "0 rows", "at least one row"),
        ],
    )  # fmt: skip
    def test_one_mistake(self, tmp_path, columns, knobs, place, value, allowed):
        (problem,) = mistakes(tmp_path, table(parquet(tmp_path, columns or DIARY), **knobs))
        assert problem.place.endswith(place)
        assert problem.value == value
        assert allowed in problem.allowed
        assert problem.mend

    @pytest.mark.parametrize(
        ("wanted", "place", "value"),
        [
            (["note"], "column 'note'", "string"),
            (["mixed"], "column 'mixed', row 3", "text"),
            (["plse"], "diary.parquet", "plse"),
        ],
    )
    def test_a_wanted_column_that_is_text_or_not_there(self, tmp_path, wanted, place, value):
        columns = {**DIARY, "note": list("abcdef"), "mixed": ["1", "-2.5e3", "three", "4", "5", "6"]}
        (problem,) = mistakes(tmp_path, table(parquet(tmp_path, columns)), wanted)
        assert (problem.place.endswith(place), problem.value) == (True, value)

    def test_the_nearest_column_is_the_mend(self, tmp_path):
        (problem,) = mistakes(tmp_path, table(parquet(tmp_path, DIARY), phone="pateint"))
        assert problem.mend == "did you mean 'patient'?"
        (problem,) = mistakes(tmp_path, table(parquet(tmp_path, DIARY), phone="zzz"))
        assert problem.mend == "columns are 'patient', 'day', 'pulse', 'steps', 'smokes'"

    def test_the_same_time_across_training_and_test_rows_of_one_series(self, tmp_path):
        columns = {"patient": [1] * 4, "day": [0, 1, 2, 2], "x": [1] * 4}
        (problem,) = mistakes(tmp_path, table(parquet(tmp_path, columns), test_share=0.25))
        assert problem.place.endswith("column 'day', row 4")

    def test_a_column_named_twice(self, tmp_path):
        twice = pa.table([[1], [1], [2.0], [3.0]], names=["patient", "day", "x", "x"])
        (problem,) = mistakes(tmp_path, table(parquet(tmp_path, twice)))
        assert problem.allowed == "a column's name must be unique"
        (problem,) = mistakes(tmp_path, table(csv(tmp_path, "patient,day,x,x\n1,1,2,3\n")))
        assert problem.allowed == "a column's name must be unique"

    def test_everything_is_said_at_once(self, tmp_path):
        columns = {
            **DIARY,
            "pulse": [np.inf] * 6,
            "steps": [None] + [1] * 5,
            "day": [0.5] * 6,
            "patient": [None, *"abcde"],
        }
        problems = mistakes(tmp_path, table(parquet(tmp_path, columns)))
        assert [problem.place.split("column ")[1] for problem in problems] == [
            "'patient', row 1",
            "'day'",
            "'pulse', row 1",
            "'steps', row 1",
        ]
        assert all(str(tmp_path / "diary.parquet") in problem.place for problem in problems)

    def test_several_missing_columns_at_once(self, tmp_path):
        problems = mistakes(tmp_path, table(parquet(tmp_path, DIARY), phone="a", time="b", split="c"), ["d"])
        assert [problem.value for problem in problems] == ["a", "b", "c", "d"]

    def test_no_message_shows_what_a_row_holds(self, tmp_path):
        text = "patient,day,x,fold\nsecret-name,1,12345.5,secret-fold\nsecret-name,1,nan,train\n"
        with pytest.raises(UserMistake) as caught:
            prepare(table(csv(tmp_path, text), split="fold"), 1, tmp_path)
        assert "secret" not in str(caught.value)
        assert "12345" not in str(caught.value)


class TestBadFiles:
    def test_a_file_that_is_not_there_and_its_neighbour(self, tmp_path):
        parquet(tmp_path, DIARY)
        (problem,) = mistakes(tmp_path, table(tmp_path / "dairy.parquet"))
        assert (problem.place, problem.allowed) == ("data.path", "there is no such file")
        assert problem.mend == f"did you mean {tmp_path / 'diary.parquet'}?"

    def test_a_directory_or_a_foreign_kind(self, tmp_path):
        (problem,) = mistakes(tmp_path, table(tmp_path))
        assert problem.allowed == "there is no such file"
        (tmp_path / "diary.xlsx").write_text("x")
        (problem,) = mistakes(tmp_path, table(tmp_path / "diary.xlsx"))
        assert "must end in one of .parquet, .pq, .csv" in problem.allowed

    def test_parquet_that_is_none_or_was_cut_short(self, tmp_path):
        path = parquet(tmp_path, DIARY)
        for content in (b"patient,day\n1,2\n", path.read_bytes()[:-20], b""):
            path.write_bytes(content)
            (problem,) = mistakes(tmp_path, table(path))
            assert problem.allowed == "it can't be read as Parquet"

    @pytest.mark.parametrize(
        ("text", "allowed"),
        [
            ("", "can't be read as CSV"),
            ("patient,day,x\n1,1,1\n1,2\n1,3\n", "row 2 doesn't have as many values as the header (2 such rows)"),
            ("patient,day,x\n", "at least one row"),
            ('patient,day,x\n1,1,"1\n', "odd number of quotation marks"),
            ('patient,day,x,note\n1,1,1,"a\n1,2,1,b\n', "odd number of quotation marks"),
        ],
    )
    def test_csv_that_is_none(self, tmp_path, text, allowed):
        (problem,) = mistakes(tmp_path, table(csv(tmp_path, text)))
        assert allowed in problem.allowed

    def test_csv_that_is_not_utf8(self, tmp_path):
        path = tmp_path / "diary.csv"
        path.write_bytes(b"patient,d\xe4y,x\n1,1,1\n")
        assert mistakes(tmp_path, table(path, time=None))

    @pytest.mark.parametrize("missing", ["", "NaN", "NA", "null"])
    def test_what_is_missing_in_csv_is_found_with_its_row(self, tmp_path, missing):
        (problem,) = mistakes(tmp_path, table(csv(tmp_path, f"patient,day,x\na,1,1.5\n\na,2,{missing}\n")))
        assert problem.place.endswith("column 'x', row 2")

    def test_text_among_the_numbers_of_a_csv_file(self, tmp_path):
        path = csv(tmp_path, "patient,day,x\na,1,1.5\na,2,high\na,3,2\n")
        (problem,) = mistakes(tmp_path, table(path), ["x"])
        assert (problem.place.endswith("column 'x', row 2"), problem.value) == (True, "text")
        assert prepare(table(path), 1, tmp_path).provenance["left_out"] == {"x": "string, not a number"}
