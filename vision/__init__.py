"""The vision study: the supervised coordinate tasks of Liu et al. 2018, with and without coordinates."""
