"""Certificates, keys and what keeps them: the authority, requests, TLS contexts, private files.

What the long-running agent imports (`tls`, `files`) needs the standard library only; `authority`,
`request` and `keyring` import `cryptography`, which would cost an agent 18 MB.
"""
