"""Plots of data sets and runs."""
