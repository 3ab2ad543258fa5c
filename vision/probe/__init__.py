"""The position probe, which reads how much position features hold; shared by position and padding."""
