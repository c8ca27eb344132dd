"""Floor 3: who may order what. Envelopes, keys, policy, and whether the clock can be believed. Alone uses PyNaCl."""
