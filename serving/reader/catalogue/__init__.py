"""What is known of the key systems that a reader names, beside what it reads: data, each with its source."""

from serving.reader.catalogue.catalogue import Fact, KeyCatalogue, System, SystemEntry, load_keys

__all__ = ["Fact", "KeyCatalogue", "System", "SystemEntry", "load_keys"]
