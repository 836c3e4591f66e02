"""Measurements of PICCOLO, by `./dev bench`. They judge nothing but what they print."""
