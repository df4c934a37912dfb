"""Prompt files: boxes found elsewhere, which take the place of the detector's.

`json_rows.py` and `folders.py` read every form into the same columns (`rows.py`); `joining.py` finds the image of each
row, `sizes.py` compares what is said of its size, `classes.py` finds its class, `reading.py` decides what its numbers
mean, `prompts.py` puts it together; `writing.py` writes the seed's form.
"""
