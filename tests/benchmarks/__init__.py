"""Measurements, never tests: ratios taken side by side in one run.

python -m tests.benchmarks scalar
"""
