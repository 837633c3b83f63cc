"""The agent: pulls models, trains where the data is, and delivers updates until they are answered for."""
