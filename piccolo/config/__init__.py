"""Configuration: files, environment and command line → validated settings.

This package imports nothing by itself: the lean agent process reads `settings` and `address`
without paying for pydantic and YAML, which `master`, `agent` and `yaml_file` need.
"""
