"""Data: readers, the catalogue of data sets, splits; raw ids outward, row numbers inward."""
