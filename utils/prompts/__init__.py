"""Prompt files: boxes found elsewhere, which take the place of the detector's.

`readers.py` reads each format into one table of rows (`table.py`) and lists the formats. `matching.py` finds the image
and the class of each row, `interpretation.py` decides what its numbers mean, and `prompts.py` puts this together.
`writer.py` writes the native format.
"""
