"""Floor 4: the link to the broker. One MQTT session, its own truth on every connection, and what waits to be sent."""
