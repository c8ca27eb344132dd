"""Floor 4: who is selling now: sale leases, and what each payment application last said of itself."""
