"""What is wrong with a text that is not JSON, in words that name no term of Python."""

import json

# How the library's messages begin -> what is wrong there
FAULTS = {
    "Expecting value": "no JSON value begins here",
    "Expecting property name": "no key in double quotes begins here",
    "Expecting ':' delimiter": "a colon is missing",
    "Expecting ',' delimiter": "a comma or a closing bracket is missing",
    "Illegal trailing comma": "a comma follows the last entry",
    "Extra data": "the JSON value has ended, but more follows",
    "Unterminated string": "a string begins here and is not closed",
    "Invalid control character": "a string has a line break, a tab or another control character",
    "Invalid \\uXXXX escape": "\\u is not followed by four hexadecimal digits",
    "Invalid \\escape": "a backslash is followed by none of the characters that JSON knows there",
}


def fault_of(error: json.JSONDecodeError) -> str:
    """Return what the library finds wrong."""
    return next((words for start, words in FAULTS.items() if error.msg.startswith(start)), error.msg)
