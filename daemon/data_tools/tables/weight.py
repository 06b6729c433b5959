"""Estimate how much memory an Arrow array takes as Python's objects, before any of them is made.

Null, dictionary and run-end encoded columns, and views, repeat in a few bytes what Python's objects repeat in
full. Knows the layouts of Arrow, and makes no object for each value unless the layout leaves no other way.
"""

from itertools import pairwise
from typing import Any

BYTES_OF_A_VALUE = 32  # about what a small object takes, with its place in a list
VIEW_INTS = 4  # a view of a text has 16 bytes, and the first four are its length


def weight(pyarrow: Any, array: Any) -> int:
    """Return about how many bytes the values of an array take as Python's objects."""
    return len(array) * BYTES_OF_A_VALUE + _content(pyarrow, array)


def _content(pyarrow: Any, array: Any) -> int:
    """Return what the values of an array take beside their places in it."""
    types, type = pyarrow.types, array.type
    if isinstance(type, pyarrow.BaseExtensionType):
        return _content(pyarrow, array.storage)
    if types.is_dictionary(type):
        return _of_dictionary(pyarrow, array)
    if types.is_run_end_encoded(type):
        return _of_runs(pyarrow, array)
    if types.is_struct(type):
        return sum(weight(pyarrow, array.field(place)) for place in range(type.num_fields))
    if types.is_union(type):  # any of its values may repeat one of a field
        return len(array) * sum(weight(pyarrow, array.field(place)) for place in range(type.num_fields))
    if types.is_nested(type):
        return _of_lists(pyarrow, array)
    if types.is_string_view(type) or types.is_binary_view(type):
        return _of_views(array)
    return _of_texts(pyarrow, array) if _has_texts(types, type) else 0


def _has_texts(types: Any, type: Any) -> bool:
    tests = (types.is_string, types.is_binary, types.is_large_string, types.is_large_binary)
    return any(test(type) for test in tests)


def _of_texts(pyarrow: Any, array: Any) -> int:
    import pyarrow.compute as compute

    return compute.sum(compute.binary_length(array).cast("int64")).as_py() or 0


def _of_views(array: Any) -> int:
    views = memoryview(array.buffers()[1]).cast("i")
    first = array.offset * VIEW_INTS
    return sum(max(0, length) for length in views[first : first + len(array) * VIEW_INTS : VIEW_INTS])


def _of_dictionary(pyarrow: Any, array: Any) -> int:
    import pyarrow.compute as compute

    values = array.dictionary
    if _has_texts(pyarrow.types, values.type):
        lengths = compute.binary_length(values).cast("int64")
        return compute.sum(lengths.take(array.indices)).as_py() or 0
    counts = array.indices.drop_null().value_counts()
    return sum(
        count.as_py() * weight(pyarrow, values.slice(place.as_py(), 1))
        for place, count in zip(counts.field("values"), counts.field("counts"), strict=True)
    )


def _of_runs(pyarrow: Any, array: Any) -> int:
    first, num_runs = array.find_physical_offset(), array.find_physical_length()
    last = array.offset + len(array)
    ends = [min(end.as_py(), last) for end in array.run_ends.slice(first, num_runs)]
    return sum(
        (end - start) * weight(pyarrow, array.values.slice(first + run, 1))
        for run, (start, end) in enumerate(pairwise([array.offset, *ends]))
    )


def _of_lists(pyarrow: Any, array: Any) -> int:
    types, type = pyarrow.types, array.type
    if types.is_fixed_size_list(type):
        size = type.list_size
        return weight(pyarrow, array.values.slice(array.offset * size, len(array) * size))
    if types.is_list_view(type) or types.is_large_list_view(type):
        return sum(
            weight(pyarrow, array.values.slice(start.as_py(), size.as_py()))
            for start, size in zip(array.offsets, array.sizes, strict=True)
        )
    first, last = array.offsets[0].as_py(), array.offsets[-1].as_py()
    return weight(pyarrow, array.values.slice(first, last - first))
