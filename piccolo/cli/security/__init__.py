"""Who may do what: the authority, tokens, contexts, secrets, the audit trail."""
