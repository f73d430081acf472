"""What is told of the service to those who run it: figures for Prometheus, traces for OpenTelemetry. Never any content."""
