"""The command line: one module per noun, imported only when it is needed."""
