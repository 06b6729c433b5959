"""Read files that are not JSON Lines as if they were: CSV, TSV, JSON arrays, Parquet and Arrow.

Rows come out one by one, each with the number by which an error names it. Knows no formats of rows.
"""
