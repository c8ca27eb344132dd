"""The entries of the fault catalogue, one file a domain. Codes are stable and never reused; a code whose finder is not
built yet stands here all the same, so that nobody gives its number away."""
