"""Reading pictures into JSON: a vision-language model's graphs, many requests at a time, without torch."""
