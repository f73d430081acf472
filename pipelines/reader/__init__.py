"""The stages of readers: pictures that are drawn, records that are prepared, and what comes after."""
