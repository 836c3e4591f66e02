"""Every decoder that faces the network or a file, fed with what nobody should send.

The same targets run twice: a few fixed examples of each in `./dev test` (`test_fuzz`), and as many
as there is time for, with new seeds, in `./dev fuzz` (`__main__`).
"""
