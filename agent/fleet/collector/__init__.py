"""The collector: holds a copy of every terminal's journal, proves its chain, and signs for what it holds durably."""
