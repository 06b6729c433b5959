"""What happened, recorded once: typed events, and their subscribers (log, status, ledger, followers)."""
