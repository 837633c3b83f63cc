"""Antiphon: asynchronous federated learning over any MQTT broker."""
