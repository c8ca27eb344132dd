"""The operator's side, on another machine: keys, signed orders over the broker, and watching what comes of them."""
