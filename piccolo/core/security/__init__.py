"""Who may do what: roles, join tokens, blocking, the records of the audit trail."""
