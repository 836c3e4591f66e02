"""Durable key-value storage with revisions: one interface (`base`), several engines, one suite."""
