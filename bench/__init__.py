"""Benchmarks: ratios taken in one run, samples in turn, medians of many. See bench/README.md."""
