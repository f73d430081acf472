"""What the benchmarks share: pictures, a service that is pinned to its own cores, timed requests, statistics."""
