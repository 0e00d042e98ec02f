"""The front door of the data room: prepare a data set, know what it is unopened, read rows by range of phones.

A shard is the rows of one phone. A data set holds the shards of all phones, in two splits, as Parquet files in one
directory named by the digest of all that the rows depend on; or just what the rows of an outbreak are made from.
"""

from __future__ import annotations

from fedray.data.copies import check_place, copied_to, refuse_unreachable
from fedray.data.dataset import SPLITS, DataFile, Dataset
from fedray.data.export import summary, write_outbreak
from fedray.data.making import MadeShards
from fedray.data.outbreak import first_empty_day
from fedray.data.reading import ParquetShards, Rows, ShardReader
from fedray.data.sources import is_prepared, prepare

__all__ = [
    "SPLITS",
    "DataFile",
    "Dataset",
    "MadeShards",
    "ParquetShards",
    "Rows",
    "ShardReader",
    "check_place",
    "copied_to",
    "first_empty_day",
    "is_prepared",
    "prepare",
    "reader_of",
    "refuse_unreachable",
    "summary",
    "write_outbreak",
]


def reader_of(dataset: Dataset) -> ShardReader:
    """What reads a data set's rows, or makes them anew."""
    return MadeShards(dataset) if dataset.made else ParquetShards(dataset)
