"""The data room: what happens to people, and which rows each phone holds.

Read in this order: `contacts` (who meets whom), `outbreak` (who falls ill when), `sensors` (what a phone records of
it), `table` (the user's own rows instead), `dataset` (what is known of prepared rows without opening them), `writing`
and `reading` (Parquet), `sources` (from an experiment's `data` section to a data set). Other rooms need `shards`, the
front door. No torch and no Ray here.
"""
