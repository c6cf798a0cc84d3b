"""The demo at the command line: a day's orders from a CSV file to tracking numbers, followed live."""
