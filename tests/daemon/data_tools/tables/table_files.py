"""Write tables as other programs do."""

import json

import pyarrow
from pyarrow import parquet

COLUMNS = {"prompt": ["1 + 1?", 'Say "x,\ny".'], "completion": ["2", "x,\ny"]}
ROWS = [dict(zip(COLUMNS, cells, strict=True)) for cells in zip(*COLUMNS.values(), strict=True)]
CSV = b'prompt,completion\r\n1 + 1?,2\r\n"Say ""x,\ny"".","x,\ny"\r\n'


def write_parquet(path, columns=None):
    parquet.write_table(pyarrow.table(columns or COLUMNS), path)
    return path


def write_arrow(path, columns=None, *, as_stream=False):
    table = pyarrow.table(columns or COLUMNS)
    make = pyarrow.ipc.new_stream if as_stream else pyarrow.ipc.new_file
    with make(str(path), table.schema) as writer:
        writer.write_table(table)
    return path


def write_dataset(folder, parts=1):
    """Write a folder as the library datasets does with save_to_disk."""
    folder.mkdir(parents=True)
    names = [f"data-{part:05}-of-{parts:05}.arrow" for part in range(parts)]
    for name in names:
        write_arrow(folder / name, as_stream=True)
    (folder / "state.json").write_text(json.dumps({"_data_files": [{"filename": name} for name in names]}))
    (folder / "dataset_info.json").write_text("{}")
    return folder
