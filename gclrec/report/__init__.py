"""Plots of data sets, and the HTML pages of runs and comparisons."""
