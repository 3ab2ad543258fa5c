"""What everything stands on: errors, files, locks, memory, random streams, types. Imports nothing of ours."""
