"""The page at `/`: the browser client that clients/web builds, shipped in `dist`."""
